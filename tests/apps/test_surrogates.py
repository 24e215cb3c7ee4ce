"""Surrogates: data without leaks, networks that step, losses that know the equation, solvers that cost, runs, files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer

from integrand.apps.application import load
from integrand.apps.cli import main
from integrand.apps.physics.surrogate import TASK
from integrand.apps.physics.surrogate.baselines import LinearMap, LinearStep, Persistence
from integrand.apps.physics.surrogate.costs import coarse_solver, solve
from integrand.apps.physics.surrogate.data import SurrogateData
from integrand.apps.physics.surrogate.models.fno import FNOSurrogate
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.apps.physics.surrogate.scores import score
from integrand.core.errors import InputError
from integrand.datasets.fields import FieldTask, FieldWindows
from integrand.datasets.simulations import Simulations
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.well_files import write_simulations

SMALL = {
    "fno": {"modes": 4, "width": 8, "depth": 2},
    "factorized_fno": {"modes": 4, "width": 8, "depth": 2},
    "unet": {"width": 8, "groups": 4, "multipliers": (1, 2)},
    "deeponet": {"basis": 8, "width": 16, "depth": 2},
    "graph_operator": {"radius": 0.15, "width": 8, "depth": 2, "hidden": 8},
    "neural_pde": {"width": 8, "substeps": 2},
    "semilinear_pde": {"hidden": (8,)},
}
"""Options that make every network small."""


def heat_data(**options) -> SurrogateData:
    """Heat conduction on 16 points: cheap, exact, and linear."""
    given = {"samples": (12, 3, 4), "points": 16, "span": 0.5, "interval": 0.1, "batch_size": 4, **options}
    return SurrogateData("heat", **given)


def steady(samples: int = 12, points: int = 17) -> Simulations:
    """A steady problem between walls, linear in what is given: u'' = -a, u(0) = u(1) = 0, with a a sum of sines."""
    x = torch.linspace(0, 1, points, dtype=torch.float64)
    waves = torch.arange(1, 4, dtype=torch.float64)
    heights = torch.randn(samples, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shapes = (math.pi * waves[:, None] * x).sin()
    return Simulations(
        name="string",
        values=(heights / (math.pi * waves) ** 2 @ shapes)[:, None, None],
        times=torch.zeros(1, dtype=torch.float64),
        channels=("u",),
        coordinates=(x,),
        lengths=(1.0,),
        periodic=(False,),
        constants=(heights @ shapes)[:, None],
        constant_names=("load",),
    )


def built(name: str, task: FieldTask) -> Surrogate:
    torch.manual_seed(0)
    network = load(TASK.models[name])(**SMALL[name])
    network.build(task)
    return network


def trained(data: SurrogateData, module: SurrogateModule, epochs: int = 1) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    data.setup()
    module.build(data)
    trainer.fit(module, data)
    return trainer


# Data


def test_test_samples_stay_the_same_and_no_sample_is_in_two_parts():
    few, many = heat_data(), heat_data(samples=(20, 5, 4))
    few.setup()
    many.setup()
    assert torch.equal(few.test.values, many.test.values)
    starts = torch.cat([few.windows(part).values[:, 0].flatten(1) for part in ("train", "validation", "test")])
    assert len(torch.unique(starts, dim=0)) == 19


def test_statistics_and_noise_leave_the_test_part_alone():
    clean, noisy = heat_data(), heat_data(noise=0.1)
    clean.setup()
    noisy.setup()
    assert torch.equal(clean.windows("test").values, noisy.windows("test").values)
    assert torch.equal(clean.test.values, noisy.test.values)
    train = clean.windows("train").values.double()
    assert clean.task.location[0] == pytest.approx(float(train[:, :-1].mean()), abs=1e-6)
    added = noisy.windows("train").values - clean.windows("train").values
    # 12 x 6 x 16 values: their deviation is known to one in sqrt(2 x 1152), four of which are 8 %
    assert float(added.std()) == pytest.approx(0.1 * clean.task.target_scale[0], rel=4 / math.sqrt(2 * added.numel()))


def test_training_data_are_the_solution_thinned():
    fine, coarse = heat_data(points=64), heat_data(points=64, train_every=4)
    fine.setup()
    coarse.setup()
    assert torch.equal(coarse.windows("train").values, fine.windows("train").values[..., ::4])
    assert torch.equal(coarse.test_at(32).values, fine.test.values[..., ::2])
    assert coarse.test_at().shape == (16,)


def test_another_resolution_is_simulated_again_from_the_same_starts():
    """24 points hold not those of 64: the same samples are solved for anew. They agree where both grids have points."""
    data = SurrogateData("burgers", samples=(2, 1, 3), points=64, parameters={"viscosity": 0.5})
    data.setup()
    again = data.test_at(48)
    assert again.shape == (48,)
    # Thinned to the 16 points that both have; what is left is what 48 points do not resolve of a rough start.
    torch.testing.assert_close(again.values[:, 0, 0, ::3], data.test.values[:, 0, 0, ::4], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": (0, 1, 1)}, r"data\.samples"),
        ({"horizon": 9}, r"data\.horizon=9 is out of range: .* 1 to 5"),
        ({"train_span": 0.05}, r"train_span=0\.05 holds no step of 0\.1"),
        ({"parameters": {"difusivity": 1.0}}, "did you mean 'diffusivity'"),
        ({"train_every": 3}, "cannot be thinned by 3"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        heat_data(**options).setup()


def test_unknown_data_and_systems_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="did you mean 'burgers'"):
        SurrogateData("burger").setup()
    with pytest.raises(InputError, match="--task dynamics"):
        SurrogateData("pendulum").setup()
    with pytest.raises(InputError, match="is not there"):
        SurrogateData(str(tmp_path / "none.h5")).setup()


def test_times_beyond_the_trained_ones_are_flagged():
    data = heat_data(train_span=0.2)
    data.setup()
    assert data.task.steps == 2
    assert data.windows("train").values.shape[1] == 3
    assert data.windows("test").values.shape[1] == 6
    assert any("beyond the trained time" in notice for notice in data.notices)


# Networks


@pytest.mark.parametrize("name", TASK.models)
def test_every_network_rolls_out_and_learns_by_all_its_parameters(name: str):
    drawn = {} if name == "semilinear_pde" else {"parameters": {"diffusivity": (0.05, 0.2)}}  # one equation for all
    data = heat_data(horizon=2, **drawn)
    data.setup()
    module = SurrogateModule(built(name, data.task))
    batch = data.windows("train").__getitems__(range(4))
    loss, _ = module.loss(batch)
    loss.backward()
    still = [own for own, p in module.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert not still
    states = module.network.roll(batch.values[:, 0], batch.constants, batch.parameters, 3)
    assert states.shape == (4, 4, 1, 16)
    assert torch.equal(states[:, 0], batch.values[:, 0])


@pytest.mark.parametrize("name", TASK.models)
def test_other_resolutions_are_answered(name: str):
    data = heat_data(points=32, train_every=2)
    data.setup()
    network = built(name, data.task)
    fine = data.test_at(32)
    batch = FieldWindows(fine).batch()
    assert network(batch.values[:, 0], None, batch.parameters).shape == (4, 1, 32)


def test_a_network_that_answers_nothing_leaves_the_state_or_returns_the_mean():
    data = heat_data()
    data.setup()
    state = data.windows("test").values[:, 0]
    for residual, expected in ((True, state), (False, torch.full_like(state, data.task.target_location[0]))):
        network = FNOSurrogate(modes=4, width=4, depth=1, residual=residual)
        network.build(data.task)
        torch.nn.init.zeros_(network.operator.projection[-1].weight)  # pyright: ignore[reportIndexIssue, reportArgumentType, reportAttributeAccessIssue]
        torch.nn.init.zeros_(network.operator.projection[-1].bias)  # pyright: ignore[reportIndexIssue, reportArgumentType, reportAttributeAccessIssue]
        torch.testing.assert_close(network(state, None, {}), expected)


def test_the_graph_joins_the_ends_of_a_circle():
    """Without a coordinate to tell points apart a shifted input gives the shifted answer, if edges wrap around."""
    data = heat_data()
    data.setup()
    network = built("graph_operator", data.task)
    network(data.windows("test").values[:, 0], None, {})
    (edges,) = network.operator.edges.values()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    pairs = {(int(a), int(b)) for a, b in edges.T}
    assert (0, 15) in pairs
    assert {(a + 1) % 16 * 100 + (b + 1) % 16 for a, b in pairs} == {a * 100 + b for a, b in pairs}


def test_waves_above_nyquist_are_refused_with_the_cure():
    data = heat_data()
    data.setup()
    with pytest.raises(InputError, match=r"modes=9: .* 16 points along X: take at most 8 modes"):
        FNOSurrogate(modes=9).build(data.task)
    with pytest.raises(InputError, match="give one number for each of 1 axes"):
        FNOSurrogate(modes=(4, 4)).build(data.task)
    network = built("fno", data.task)
    with pytest.raises(InputError, match="too small for 4 modes"):
        network(torch.randn(1, 1, 6), None, {})


def test_a_grid_that_is_no_power_of_two_works():
    data = heat_data(points=15)
    data.setup()
    assert math.isfinite(float(SurrogateModule(built("fno", data.task)).loss(data.windows("train")[0])[0].detach()))


def test_data_between_walls_are_noted_for_periodic_networks_and_padding_silences_it():
    task = FieldTask.of(steady())
    plain, padded = FNOSurrogate(modes=4), FNOSurrogate(modes=4, padding=0.125)
    assert "not periodic along X" in (plain.notice(task) or "")
    assert "--model.network.padding" in (plain.notice(task) or "")
    assert padded.notice(task) is None
    assert built("unet", task).notice(task) is None


def test_a_resolution_that_a_file_does_not_have_is_refused_before_the_training(tmp_path: Path):
    path = tmp_path / "heat.h5"
    write_simulations(path, simulator("heat").simulate(10, points=(20,), times=[0.0, 0.1, 0.2]))
    data = SurrogateData(str(path), train_every=1, resolutions=(10, 256))
    with pytest.raises(InputError, match=r"resolution=256: the data have 20 points .* a divisor of 20"):
        data.setup()
    SurrogateData(str(path), train_every=1, resolutions=(10, 5)).setup()


def test_deeponet_refuses_points_without_its_sensors():
    data = heat_data()
    data.setup()
    network = built("deeponet", data.task)
    assert network(torch.randn(2, 1, 48), None, {}).shape == (2, 1, 48)
    with pytest.raises(InputError, match="sensors at the 16 points"):
        network(torch.randn(2, 1, 24), None, {})


# Training


def test_the_losses_of_one_step_agree_however_it_is_unrolled():
    """With a horizon of one the pushforward, the curriculum and the plain rollout are the same."""
    data = heat_data()
    data.setup()
    batch = data.windows("train").__getitems__(range(8))
    losses = []
    for pushforward in (False, True):
        module = SurrogateModule(built("fno", data.task), pushforward=pushforward)
        losses.append(module.loss(batch)[0])
    torch.testing.assert_close(losses[0], losses[1])


def test_the_pushforward_has_the_gradient_of_one_step_from_states_the_network_makes():
    data = heat_data(horizon=3)
    data.setup()
    batch = data.windows("train").__getitems__(range(4))
    module = SurrogateModule(built("fno", data.task), pushforward=True)
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        module.zero_grad()
        module.loss(batch)[0].backward()
        made = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        matches = []
        for before in range(3):
            with torch.no_grad():
                start = module.network.roll(batch.values[:, 0], None, batch.parameters, before)[:, -1]
            one = replace(batch, values=torch.stack([start, batch.values[:, before + 1]], dim=1))
            plain = SurrogateModule(module.network)
            plain.zero_grad()
            plain.loss(one)[0].backward()
            own = [p.grad for p in plain.parameters() if p.grad is not None]
            matches.append(all(torch.allclose(a, b, atol=1e-7) for a, b in zip(made, own, strict=True)))
        assert sum(matches) == 1
        seen.add(matches.index(True))
    assert seen == {0, 1, 2}


def test_the_curriculum_grows_from_one_step_to_the_horizon():
    data = heat_data(horizon=4)
    module = SurrogateModule(FNOSurrogate(modes=4, width=4, depth=1), horizon_growth=0.5)
    lengths: list[int] = []
    roll = module.network.roll

    def recorded(start, constants, parameters, steps):
        if module.training:
            lengths.append(steps)
        return roll(start, constants, parameters, steps)

    module.network.roll = recorded  # pyright: ignore[reportAttributeAccessIssue]
    trained(data, module, epochs=3)  # 24 windows in batches of 4: 18 steps, over nine of which the horizon grows
    assert lengths == [1, 1, 1, 2, 2, 3, 3, 4, 4, *[4] * 9]


@pytest.mark.parametrize("interval", [0.02, 0.01])
def test_the_residual_of_the_truth_falls_with_the_square_of_the_interval(interval: float):
    """Central differences in time are all that the exact solution of the heat equation is wrong by."""
    data = heat_data(span=4 * interval, interval=interval, horizon=4)
    data.setup()
    module = SurrogateModule(FNOSurrogate(modes=4, width=4), residual=1.0)
    module.build(data)
    batch = data.windows("train").batch()
    wave = 2 * math.pi / data.task.lengths[0] * 8  # the fastest of 16 points; the Nyquist wave itself counts
    rate = float(batch.parameters["diffusivity"][0]) * wave**2
    # |sinh(z) / z - 1| <= z^2 / 6 cosh(z), of the fastest wave at most
    bound = (rate * interval) ** 2 / 6 * math.cosh(rate * interval)
    assert float(module._residual(batch.values, batch)) < bound + 1e-3


def test_conservation_counts_the_change_of_what_is_conserved():
    """Mass shifted by half its root mean square is a half; truth has none but rounding."""
    data = heat_data(horizon=2)
    data.setup()
    module = SurrogateModule(FNOSurrogate(modes=4, width=4), conservation=1.0)
    module.build(data)
    batch = data.windows("train").batch()
    assert module.equation is not None
    names = list(module.equation.invariants)
    mass = batch.values[:, 0].mean((1, 2))
    assert float(module._conservation(batch.values, batch)) < 1e-5
    shifted = batch.values.clone()
    shifted[:, 1:] += 0.5 * mass.square().mean().sqrt()
    expected = 0.5 * math.sqrt(2 / 3)  # the first of three states is not shifted
    if names == ["mass"]:
        assert float(module._conservation(shifted, batch)) == pytest.approx(expected, rel=1e-5)


def test_terms_that_the_data_do_not_allow_are_refused(tmp_path: Path):
    write_simulations(tmp_path / "string.h5", steady())
    file, data = SurrogateData(str(tmp_path / "string.h5")), heat_data()
    file.setup()
    data.setup()
    with pytest.raises(InputError, match="needs an equation"):
        SurrogateModule(FNOSurrogate(modes=4), conservation=1.0).build(file)
    with pytest.raises(InputError, match=r"--data\.horizon 2"):
        SurrogateModule(FNOSurrogate(modes=4), residual=1.0).build(data)
    with pytest.raises(InputError, match=r"unknown model\.loss 'relative_l3'"):
        SurrogateModule(FNOSurrogate(), loss="relative_l3")  # pyright: ignore[reportArgumentType]


def test_training_lowers_the_error():
    data = heat_data(samples=(48, 4, 4))
    trainer = trained(data, SurrogateModule(FNOSurrogate(modes=4, width=8, depth=2)), epochs=6)
    rested = score(Persistence().predict(data.test), data.test, None).samples["relative_l2"].mean()
    assert float(trainer.callback_metrics["validation/relative_l2"]) < 0.5 * rested


# Baselines and costs


@pytest.mark.parametrize("name", ["heat", "advection"])
def test_the_linear_step_solves_linear_equations_to_the_precision_of_the_data(name: str):
    data = SurrogateData(name, samples=(20, 2, 3), points=32, span=0.4, interval=0.1)
    data.setup()
    step = LinearStep()
    step.fit(data.windows("train"), data.windows("validation"))
    errors = score(step.predict(data.test), data.test, None).samples["relative_l2"]
    assert errors.max() < 1e-4  # float32 of the training data, amplified where a wave has next to no energy


def test_the_linear_map_solves_a_linear_steady_problem():
    given = steady(20)
    fit = FieldWindows(given.select(range(12))), FieldWindows(given.select(range(12, 15)))
    linear = LinearMap(FieldTask.of(given.select(range(12))))
    linear.fit(*fit)
    test = given.select(range(15, 20))
    assert score(linear.predict(test), test, None).samples["relative_l2"].max() < 1e-4


def test_a_coarse_solver_of_an_exact_equation_errs_by_what_its_grid_does_not_hold():
    """Starts of one wave are as exact on 16 points as on 32; within a budget without end the first coarser is taken."""
    equation = simulator("heat")
    assert isinstance(equation, Equation)
    given = equation.simulate(3, points=(32,), times=[0.0, 0.1, 0.2])
    x = given.coordinates[0] * (2 * math.pi / given.lengths[0])
    start = torch.stack([(k * x + k).sin() for k in (1, 2, 3)])[:, None, None]
    exact = replace(given, values=solve(equation, replace(given, values=start.expand_as(given.values)), 1, None))
    coarse = coarse_solver(equation, exact, math.inf)
    assert coarse is not None
    assert coarse.shape == (16,)
    torch.testing.assert_close(coarse.values, exact.values, rtol=0, atol=1e-13)
    cheapest = coarse_solver(equation, exact, 0.0)
    assert cheapest is not None
    assert cheapest.shape == (8,)


def test_persistence_conserves_and_the_truth_has_no_error():
    equation = simulator("heat")
    assert isinstance(equation, Equation)
    given = equation.simulate(3, points=(32,), times=[0.0, 0.1, 0.2, 0.3])
    rested = score(Persistence().predict(given), given, equation)
    assert rested.samples["mass_drift"].max() < 1e-12
    right = score(given.values, given, equation)
    assert right.samples["relative_l2"].max() == 0
    assert np.allclose(right.samples["correlation_time_0.8"], 0.3)
    lost = score(torch.full_like(given.values, math.nan), given, equation)
    assert (lost.samples["relative_l2"] == 1e3).all()
    assert (lost.samples["correlation_time_0.8"] < 0.3).all()


# Runs and files


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on Burgers' equation at several viscosities. Tests must not change its checkpoint."""
    root = tmp_path_factory.mktemp("runs")
    code = main([
        *("train", "physics", "--recipe", "burgers", "--runs", str(root), "--data.samples", "[12,3,4]"),
        *("--data.points", "64", "--data.train_every", "2", "--data.resolutions", "[64]", "--data.span", "0.6"),
        *("--data.interval", "0.2", "--data.train_span", "0.4", "--data.parameters.viscosity", "[0.2,0.5]"),
        *("--model.network.width", "8", "--model.network.modes", "6", "--trainer.max_epochs", "2"),
        *("--trainer.check_val_every_n_epoch", "1", "--trainer.accelerator", "cpu"),
    ])  # fmt: skip
    assert code == 0
    return root / "physics/burgers/1"


def test_a_run_tells_its_metrics_costs_and_resolutions(run: Path):
    results = json.loads((run / "results.json").read_text())
    own = results["metrics"]["fno"]
    assert {"relative_l2", "vrmse", "nrmse", "relative_h1", "low_band", "correlation_time_0.8", "residual"} <= set(own)
    assert {"persistence", "linear step"} <= set(results["metrics"])
    assert results["costs"]["reference_points"] == [64]
    assert results["costs"]["network_seconds"] > 0
    assert set(results["sweep"]) == {"32", "64"}
    assert results["trained_until"] == pytest.approx(0.4)
    assert len(results["by_step"]["fno"]["relative_l2"]) == 3
    page = (run / "report.html").read_text()
    assert "What a solution costs" in page
    assert "fno at other resolutions" in page
    assert {"fields.png", "growth.png", "spectra.png", "resolutions.png"} <= {
        p.name for p in (run / "figures").iterdir()
    }


def test_a_run_is_evaluated_at_other_resolutions(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(run), "--resolution", "48", "--accelerator", "cpu"]) == 0
    assert "asked at 48 points, trained at 32" in capsys.readouterr().err
    results = json.loads((run / "results.json").read_text())
    assert results["resolution"] == [48]
    assert "48" in results["sweep"]
    assert main(["evaluate", str(run), "--resolution", "8", "--accelerator", "cpu"]) == 2
    assert "too small for 6 modes" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--accelerator", "cpu"]) == 0


def test_predictions_are_the_rollout_and_go_into_arrays_and_files(run: Path, tmp_path: Path, capsys):
    start = torch.randn(3, 1, 32)
    np.save(tmp_path / "u0.npy", start.numpy())
    words = ["predict", str(run), "--input", str(tmp_path / "u0.npy"), "--accelerator", "cpu"]
    told = ["--parameter", "viscosity=0.3"]
    assert main([*words, "--output", str(tmp_path / "u.npy"), "--steps", "4", *told]) == 0
    assert "more than the 2 that were trained on" in capsys.readouterr().err
    made = np.load(tmp_path / "u.npy")
    assert made.shape == (3, 5, 1, 32)
    np.testing.assert_array_equal(made[:, 0], start.numpy())
    assert (tmp_path / "u.png").stat().st_size > 1000
    assert main([*words, "--output", str(tmp_path / "u.h5"), "--steps", "4", *told]) == 0
    from integrand.datasets.simulation_files import read_simulations

    file = read_simulations(tmp_path / "u.h5")
    np.testing.assert_array_equal(file.values.numpy(), made)
    np.testing.assert_allclose(file.times.numpy(), 0.2 * np.arange(5), atol=1e-12)
    again = ["predict", str(run), "--input", str(tmp_path / "u.h5"), "--output", str(tmp_path / "again.npy")]
    assert main([*again, "--steps", "4", "--accelerator", "cpu"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), made)


@pytest.mark.parametrize(
    ("array", "words", "message"),
    [
        (np.zeros((2, 3, 32), np.float32), [], "it must be (N, 1, X), with the channels u"),
        (np.full((2, 1, 32), np.nan, np.float32), [], "sample 0 is not finite"),
        (np.zeros((2, 1, 32), np.complex64), [], "real numbers are needed"),
        (np.zeros((1, 32), np.float32), ["--steps", "0"], "--steps 0 is out of range"),
        (np.zeros((1, 32), np.float32), ["--parameter", "diffusivity=1"], "the network is told viscosity"),
        (np.zeros((1, 32), np.float32), [], "--parameter viscosity=VALUE"),
        (np.zeros((1, 32), np.float32), ["--output", "u.csv"], "written as .npy or .h5"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], array: np.ndarray, words: list[str], message: str
):
    np.save(tmp_path / "u0.npy", array)
    output = [] if "--output" in words else ["--output", str(tmp_path / "made.npy")]
    code = main(["predict", str(run), "--input", str(tmp_path / "u0.npy"), "--accelerator", "cpu", *output, *words])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made.npy").exists()


def test_a_file_of_a_steady_problem_is_learned_and_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_simulations(tmp_path / "string.h5", steady(30))
    code = main([
        *("train", "physics", "--recipe", "burgers", "--runs", str(tmp_path / "runs")),
        *("--dataset", str(tmp_path / "string.h5"), "--data.points", "null", "--data.resolutions", "[]"),
        *("--data.train_every", "1", "--data.batch_size", "8", "--model.network.width", "8"),
        *("--model.network.modes", "4", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"),
        *("--trainer.accelerator", "cpu"),
    ])  # fmt: skip
    assert code == 0
    assert "not periodic along X" in capsys.readouterr().err
    folder = tmp_path / "runs/physics/burgers/1"
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert {"fno", "mean of training", "linear map"} == set(metrics)
    assert metrics["linear map"]["relative_l2"] < 1e-4
    np.save(tmp_path / "load.npy", np.ones((17,), np.float32))
    words = ["predict", str(folder), "--input", str(tmp_path / "load.npy"), "--output", str(tmp_path / "u.npy")]
    assert main([*words, "--accelerator", "cpu"]) == 0
    assert np.load(tmp_path / "u.npy").shape == (1, 1, 1, 17)
    assert main([*words, "--steps", "3", "--accelerator", "cpu"]) == 2
    assert "the problem is steady" in capsys.readouterr().err
