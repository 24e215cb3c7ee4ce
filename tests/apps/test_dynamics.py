"""Dynamics as an application: its data, every network by name, training, checkpoints, evaluation, pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from matplotlib.image import imread
from torch import nn

from integrand.apps.application import load
from integrand.apps.physics.dynamics import TASK
from integrand.apps.physics.dynamics.costs import COARSE, MOST, coarse_states, equal_cost_steps, remarks
from integrand.apps.physics.dynamics.data import DynamicsData
from integrand.apps.physics.dynamics.differences import differences
from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation, evaluate
from integrand.apps.physics.dynamics.figures import draw
from integrand.apps.physics.dynamics.models.angles import TurningEnergy
from integrand.apps.physics.dynamics.models.hamiltonian import HamiltonianNetwork
from integrand.apps.physics.dynamics.models.lagrangian import LagrangianNetwork
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.models.neural_ode import NeuralODENetwork
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.models.symplectic import SymplecticNetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.windows import StateBatch
from integrand.apps.training.checkpoints import read_checkpoint
from integrand.apps.training.figures import read_captions
from integrand.apps.training.run_folder import RunFolder
from integrand.apps.training.verdict import further, verdict
from integrand.core.errors import InputError

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def small_data(dataset: str = "pendulum", **options: Any) -> DynamicsData:
    given = {"samples": 12, "span": 3.0, "interval": 0.1, "horizon": 3, "batch_size": 16, "test_span": 6.0} | options
    data = DynamicsData(dataset, fractions=(0.5, 0.25, 0.25), **given)
    data.setup()
    return data


def small_network(name: str, data: DynamicsData, **options: Any) -> DynamicsNetwork:
    torch.manual_seed(0)
    made = load(TASK.models[name])(hidden=(16, 16), **options)
    made.build(data.task)
    return made


class TruePendulum(nn.Module):
    """Standardised energies of the pendulum with unit parameters: H / (rate scale_q scale_p)."""

    def __init__(self, data: DynamicsData, kinetic: bool, potential: bool) -> None:
        super().__init__()
        task = data.task
        self.q, self.p, self.at, self.rate = task.scale[0], task.scale[1], task.location[1], task.rate
        self.kinetic, self.potential = kinetic, potential
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return the energy, (B,)."""
        total = y.new_zeros(len(y))
        if self.kinetic:
            total = total + (y[:, -1] * self.p + self.at).square() / 2
        if self.potential:
            total = total + 1 - (y[:, 0] * self.q).cos()
        return total / (self.rate * self.q * self.p)


@pytest.fixture(scope="module")
def data() -> DynamicsData:
    return small_data()


@pytest.fixture(scope="module")
def double() -> DynamicsData:
    return small_data("double_pendulum", span=1.0, test_span=1.0)


@pytest.fixture(scope="module")
def damped() -> DynamicsData:
    return small_data("damped_pendulum", span=1.0, test_span=1.0)


# The data


def test_parts_share_no_trajectory_and_test_starts_are_exact(data: DynamicsData):
    assert list(data.parts.counts.values()) == [6, 3, 3]
    assert data.test.values.shape == (3, 61, 2)
    assert data.system is not None
    whole = data.system.simulate(12, times=torch.arange(31, dtype=torch.float64) * 0.1)
    torch.testing.assert_close(data.test.values[:, :31], whole.values[9:], rtol=0, atol=1e-12)
    assert len(data.windows("train")) == 6 * 28
    batch = data.windows("train").__getitems__([0, 27, 28])
    torch.testing.assert_close(batch.states[1], whole.values[0, 27:31].float())
    torch.testing.assert_close(batch.states[2], whole.values[1, :4].float())
    torch.testing.assert_close(batch.derivatives[..., 1], -batch.states[..., 0].sin())
    again = small_data(seed=5)
    assert again.split.hash == data.split.hash != small_data(split_seed=5).split.hash


def test_scales_are_those_of_the_training_part_and_keep_the_symplectic_form(double: DynamicsData):
    data, seen = double, double.trained.flatten(0, 1)
    scale, half = np.asarray(data.task.scale), data.task.dim // 2
    size = seen.clone()
    size[:, half:] -= seen[:, half:].mean(0)
    expected = size.square().mean(0).view(2, half).mean(1).sqrt()
    np.testing.assert_allclose(scale, expected.repeat_interleave(half), rtol=1e-9)
    assert data.task.location[:half] == [0.0, 0.0]
    slopes = data.windows("train").derivatives / torch.tensor(scale, dtype=torch.float32)
    assert float((slopes / data.task.rate).square().mean()) == pytest.approx(1, rel=1e-4)


def test_differences_have_fourth_order():
    errors = []
    for count in (20, 40, 80):
        t = torch.linspace(0, 2, count + 1, dtype=torch.float64)
        found = differences(torch.sin(3 * t).view(1, -1, 1), 2 / count).flatten()
        errors.append(float((found - 3 * torch.cos(3 * t)).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(4, abs=0.15)


def test_a_system_of_another_size_is_learned_scored_and_remembered():
    data = small_data("spring_chain", sizes={"masses": 2}, span=1.0, test_span=1.0, horizon=1)
    assert data.task.channels == ["position_1", "position_2", "momentum_1", "momentum_2"]
    q, p = data.test.values[..., 0], data.test.values[..., 2]  # the middle of two masses rests: x'' = -2 x for each
    w, t = 2**0.5, data.test.times
    expected = q[:, :1] * (w * t).cos() + p[:, :1] / w * (w * t).sin()
    torch.testing.assert_close(q, expected, rtol=0, atol=1e-9)
    assert data.hparams["sizes"] == {"masses": 2}
    found = evaluate(
        DynamicsModule(small_network("neural_ode", data)), data, name="net", seed=0, notify=lambda line: None
    )
    assert found.results["metrics"][COARSE]["energy_drift"] < 1e-4 < found.results["metrics"]["net"]["energy_drift"]


def test_noise_is_seen_in_training_and_not_in_the_test():
    clean, noisy = small_data(samples=60), small_data(samples=60, noise=0.1)
    assert torch.equal(noisy.test.values, clean.test.values)
    added = (noisy.trained - clean.trained) / clean.trained.flatten(0, 1).std(0)
    assert float(added.std()) == pytest.approx(0.1, rel=0.05)  # of 1860 numbers, known to 1.6 %


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dataset": "pendulm"}, "unknown system 'pendulm': did you mean 'pendulum'"),
        ({"dataset": "burgers"}, "add --task surrogate"),
        ({"parameters": {"lenght": 2.0}}, "unknown parameter of pendulum 'lenght': did you mean 'length'"),
        ({"parameters": {"length": (1.0, 2.0)}}, "must be one value"),
        ({"dataset": "spring_chain", "sizes": {"mases": 3}}, "unknown size of spring_chain 'mases': did you mean"),
        ({"sizes": {"masses": 3}}, "unknown size of pendulum 'masses'. Known: none."),
        ({"samples": 2}, "data.samples=2 is out of range"),
        ({"horizon": 40}, "fewer than the 41 of horizon 40"),
        ({"span": 0.01}, "shorter than an interval"),
        ({"noise": -1.0}, "data.noise=-1.0"),
        ({"derivatives": "exakt"}, "did you mean 'exact'"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], told: str):
    with pytest.raises(InputError) as caught:
        small_data(**options)
    assert told in str(caught.value)


def test_evaluation_beyond_the_trained_time_is_flagged(data: DynamicsData):
    assert any("beyond the trained time: test trajectories go on to t = 6" in line for line in data.notices)
    assert small_data(test_span=3.0).beyond() == []


# The networks


def test_the_true_energy_is_the_true_field_and_keeps_its_unit(data: DynamicsData):
    """With the pendulum's own H in place of what is learned, scales and all, every state moves as it should."""
    network = small_network("hamiltonian", data).double()
    network.flow.energy = TruePendulum(data, True, True).double()
    states = data.test.values[:, 0]
    expected = torch.stack([states[:, 1], -states[:, 0].sin()], dim=-1)
    torch.testing.assert_close(network.field(states), expected, rtol=1e-6, atol=1e-6)
    energy = network.energy(states)
    assert energy is not None
    exact = states[:, 1] ** 2 / 2 + 1 - states[:, 0].cos()
    torch.testing.assert_close(energy.detach(), exact, rtol=1e-6, atol=1e-6)
    rolled = network.predict(states, data.test.times).states
    torch.testing.assert_close(rolled, data.test.values, rtol=0, atol=1e-5)  # scales are kept in single precision


@pytest.mark.parametrize("name", ["hamiltonian", "symplectic", "neural_ode"])
def test_angles_a_turn_apart_are_the_same(name: str, data: DynamicsData):
    network = small_network(name, data).double()
    states = data.test.values[:, 0]
    turned = states + torch.tensor([2 * torch.pi, 0.0])
    torch.testing.assert_close(network.field(states), network.field(turned), rtol=1e-5, atol=1e-5)


def test_energies_through_angles_have_the_gradient_of_autograd(double: DynamicsData):
    network = small_network("hamiltonian", double).double()
    y = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    energy = network.flow.get_submodule("energy")
    assert isinstance(energy, TurningEnergy)
    (expected,) = torch.autograd.grad(energy(y).sum(), y)
    torch.testing.assert_close(energy.gradient(y), expected)


def test_a_symplectic_network_keeps_areas_however_long_its_steps(data: DynamicsData):
    network = small_network("symplectic", data, step_size=0.5).double()
    times = torch.tensor([0.0, 5.0], dtype=torch.float64)

    def end(y: torch.Tensor) -> torch.Tensor:
        return network.unroll(y[None], times)[0, -1]

    jacobian = torch.autograd.functional.jacobian(end, torch.tensor([0.3, -0.7], dtype=torch.float64))
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-10)  # pyright: ignore[reportArgumentType]


def test_a_lagrangian_network_moves_positions_with_their_velocities(data: DynamicsData):
    network = small_network("lagrangian", data).double()
    states = data.test.values[:, 0]
    torch.testing.assert_close(network.field(states)[:, 0], states[:, 1], rtol=1e-6, atol=1e-9)


def test_a_port_hamiltonian_network_never_gains_energy(damped: DynamicsData):
    network = small_network("port_hamiltonian", damped).double()
    path = network.predict(damped.test.values[:, 0], torch.linspace(0, 20, 50, dtype=torch.float64)).states
    energy = network.energy(path.flatten(0, 1))
    assert energy is not None
    assert bool((energy.view(path.shape[:2]).diff(dim=1) <= 1e-9).all())


@pytest.mark.parametrize("kind", [HamiltonianNetwork, SymplecticNetwork])
def test_canonical_networks_refuse_other_systems(kind: type[DynamicsNetwork], damped: DynamicsData):
    with pytest.raises(InputError, match=r"is not canonical: take --model neural_ode"):
        kind().build(damped.task)


def test_what_does_not_fit_is_refused(data: DynamicsData, double: DynamicsData, damped: DynamicsData):
    with pytest.raises(InputError, match="positions and their velocities"):
        LagrangianNetwork().build(double.task)
    with pytest.raises(InputError, match=r"unknown symplectic method 'rk4'"):
        SymplecticNetwork(method="rk4").build(data.task)
    with pytest.raises(InputError, match=r"step_size=-1 is out of range"):
        NeuralODENetwork(step_size=-1).build(data.task)
    with pytest.raises(InputError, match="predicts no states"):
        DynamicsModule(NeuralODENetwork()).build(small_data(horizon=0))
    with pytest.raises(InputError, match="no invariant of damped_pendulum is known"):
        DynamicsModule(NeuralODENetwork(), conservation=1.0).build(damped)
    with pytest.raises(InputError, match="did you mean 'derivatives'"):
        DynamicsModule(NeuralODENetwork(), match="derivative")  # pyright: ignore[reportArgumentType]


def test_a_neural_sde_finds_the_drift_and_noise_of_a_process(damped: DynamicsData):
    """An Ornstein-Uhlenbeck process dy = -y dt + 0.5 dW, whose coefficients the likelihood of its steps tells."""
    network = NeuralSDENetwork(hidden=(16,))
    network.build(replace(damped.task, location=[0.0, 0.0], scale=[1.0, 1.0], rate=1.0))
    torch.manual_seed(0)
    dt, states = 0.05, [0.5 / 2**0.5 * torch.randn(2000, 2)]
    for _ in range(4):
        states.append(states[-1] * (1 - dt) + 0.5 * dt**0.5 * torch.randn(2000, 2))
    path, times = torch.stack(states, dim=1), dt * torch.arange(5.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = network.misfit(path, path, times, "states")
        loss.backward()
        optimizer.step()
    y = path[:, 0]
    zero = torch.zeros(())
    slope = (network.flow(zero, y) * y).mean() / y.square().mean()
    # The standard error of the slope: sqrt(2 / T) over a total time T of 800 for both channels.
    assert float(slope.detach()) == pytest.approx(-1, abs=0.15)
    assert float(network.diffusion(zero, y).mean()) == pytest.approx(0.5, rel=0.02)
    paths = network.paths(path[:, 0], torch.tensor([0.0, 2.0]), seeds=list(range(2000)), step_size=dt)
    assert float(paths[:, -1].std()) == pytest.approx(0.5 / 2**0.5, rel=0.06)


def test_a_separable_hamiltonian_moves_either_half_by_the_other_alone(data: DynamicsData):
    network = small_network("hamiltonian", data, separable=True).double()
    states = data.test.values[:, 0]
    moved = network.field(states + torch.tensor([0.0, 0.7])) - network.field(states)
    assert float(moved[:, 0].abs().min()) > 1e-6
    assert float(moved[:, 1].abs().max()) < 1e-12


# Training


# The others have tests of their own: they are no networks of given widths, or need a system of which a part is known.
NETWORKS = [name for name in TASK.models if name not in ("neural_sde", "polynomial", "universal")]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("match", ["derivatives", "states"])
def test_every_parameter_receives_a_gradient(name: str, match: Any, data: DynamicsData):
    module = DynamicsModule(load(TASK.models[name])(hidden=(8,)), match=match, twin=True, input_noise=0.01)
    module.build(data)
    loss, logged = module.train().loss(data.windows("train").__getitems__([0, 5, 40]))
    loss.backward()
    assert bool(loss.isfinite())
    assert float(logged["misfit"] + logged["plain_misfit"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    idle = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_the_misfit_of_the_truth_is_nothing_and_its_invariants_stay(data: DynamicsData):
    network = small_network("hamiltonian", data, step_size=0.02)
    network.flow.energy = TruePendulum(data, True, True)
    module = DynamicsModule(network, conservation=1.0)
    batch = data.windows("train").__getitems__([0, 50, 100])
    for match in ("derivatives", "states"):
        module.match = match
        assert float(module.misfit(network, batch)) < 1e-9


def test_the_horizon_grows_with_training(data: DynamicsData):
    module = DynamicsModule(NeuralODENetwork(hidden=(4,)), horizon_growth=0.5)
    lengths: list[int] = []
    shortened = module.shortened

    def watched(batch: StateBatch) -> StateBatch:
        made = shortened(batch)
        lengths.append(made.states.shape[1] - 1)
        return made

    module.shortened = watched
    trainer = Trainer(max_steps=12, limit_val_batches=0, **QUIET)
    trainer.fit(module, data)
    assert lengths == [1, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3]


@pytest.fixture(scope="module")
def trained(data: DynamicsData) -> tuple[DynamicsModule, Trainer, float, float]:
    torch.manual_seed(0)
    module = DynamicsModule(HamiltonianNetwork(hidden=(16, 16)), learning_rate=1e-2, warmup_steps=0, twin=True)
    trainer = Trainer(max_steps=60, **QUIET)
    trainer.validate(module, data, verbose=False)
    before = float(trainer.callback_metrics["validation/relative_l2"])
    trainer.fit(module, data)
    return module, trainer, before, float(trainer.callback_metrics["validation/relative_l2"])


def test_training_learns_and_its_checkpoint_predicts_alike(
    trained: tuple[DynamicsModule, Trainer, float, float], data: DynamicsData, tmp_path: Path
):
    module, trainer, before, after = trained
    assert after < 0.5 * before
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    loaded = DynamicsModule.from_checkpoint(read_checkpoint(tmp_path / "mine.ckpt", app="physics"))
    assert loaded.network.built_for == data.task
    start, times = data.test.values[:, 0].float(), data.test.times[:5].float()
    assert loaded.twin is not None
    assert module.twin is not None
    for ours, theirs in ((module.network, loaded.network), (module.twin, loaded.twin)):
        assert torch.equal(ours.predict(start, times).states, theirs.predict(start, times).states)


# The evaluation


@pytest.fixture(scope="module")
def evaluation(trained: tuple[DynamicsModule, Trainer, float, float], data: DynamicsData) -> Evaluation:
    return evaluate(trained[0], data, name="hamiltonian", seed=3, notify=lambda line: None)


def test_the_evaluation_is_that_by_hand(evaluation: Evaluation, data: DynamicsData):
    results, exact = evaluation.results, data.test.values.numpy()
    assert list(results["metrics"]) == ["hamiltonian", PLAIN, "persistence", "linear map", COARSE]
    assert (results["task"], results["seed"], results["split_hash"]) == ("dynamics", 3, data.split.hash)
    states = evaluation.predictions["hamiltonian"].states
    energy, true = (y[..., 1] ** 2 / 2 + 1 - np.cos(y[..., 0]) for y in (states, exact))
    starts = data.starts.numpy()
    scale = np.sqrt(np.mean((starts[:, 1] ** 2 / 2 + 1 - np.cos(starts[:, 0])) ** 2))
    ours = results["metrics"]["hamiltonian"]
    away = np.abs(energy - energy[:, :1]) / scale
    assert ours["energy_drift"] == pytest.approx(away.max(1).mean(), rel=1e-9)
    assert ours["energy_drift_end"] == pytest.approx(away[:, -1].mean(), rel=1e-9)
    assert ours["energy_mse"] == pytest.approx(np.mean((energy - true) ** 2), rel=1e-9)
    unit = np.asarray(data.task.scale)
    moved = (exact - np.asarray(data.task.location)) / unit
    error = np.sqrt((((states - exact) / unit) ** 2).sum((1, 2)) / (moved**2).sum((1, 2)))
    assert ours["relative_l2"] == pytest.approx(error.mean(), rel=1e-9)
    kept = results["growth"]
    size = np.sqrt(((moved - moved.mean((0, 1))) ** 2).sum(-1).mean())
    apart = np.median(np.linalg.norm((states - exact) / unit, axis=-1) / size, axis=0)
    assert kept["errors"]["hamiltonian"] == pytest.approx(apart[1:], rel=1e-5)
    assert kept["times"] == pytest.approx(data.test.times[1:].numpy() / data.task.time_scale, rel=1e-9)
    assert set(kept["errors"]) == set(results["metrics"])
    assert kept["until"] == pytest.approx(data.task.span / data.task.time_scale)
    # Persistence keeps every invariant by standing still, which is told by no number.
    assert results["metrics"]["persistence"]["energy_drift"] is None
    assert results["speed"]["reference"]["seconds"] > 0
    assert "evaluation beyond the trained time" in " ".join(results["remarks"]).lower()


def swung(y: np.ndarray) -> np.ndarray:
    """Return dy/dt of the pendulum with unit parameters, (N, 2)."""
    return np.stack([y[:, 1], -np.sin(y[:, 0])], axis=1)


def test_the_coarse_solver_is_the_true_equation_by_the_classical_method(evaluation: Evaluation, data: DynamicsData):
    results, y = evaluation.results, data.test.values[:, 0].numpy()
    cost = results["speed"][COARSE]
    count, path = cost["substeps"], [y]
    h = 0.1 / count
    for _ in range(60):
        for _ in range(count):
            a = swung(y)
            b = swung(y + h / 2 * a)
            c = swung(y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + swung(y + h * c))
        path.append(y)
    np.testing.assert_allclose(evaluation.predictions[COARSE].states, np.stack(path, 1), rtol=0, atol=1e-12)
    assert cost["within_budget"] == (cost["seconds"] <= results["speed"]["hamiltonian"]["seconds"])
    assert cost["solver"] == f"rk4, step {h:.3g}"
    both = [line for line in results["remarks"] if line.startswith(COARSE)]
    assert len(both) == 1
    assert f"{cost['seconds']:.2g} s" in both[0]
    assert results["tables"][0]["rows"][f"{COARSE}: {cost['solver']}"] == {"seconds a solve": cost["seconds"]}


def test_steps_of_the_coarse_solver_have_order_four(data: DynamicsData):
    exact, times = data.test.values, data.test.times
    errors = [float((coarse_states(data, exact[:, 0], times, n) - exact).abs().max()) for n in (1, 2, 4)]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] == pytest.approx(4, abs=0.1)


def test_what_knows_the_equation_does_not_decide_the_verdict(evaluation: Evaluation):
    results = evaluation.results
    said = verdict(results)
    first, second = said.split(". The yardstick ")
    assert COARSE not in first
    assert f"{results['metrics'][COARSE]['relative_l2']:.3g} where hamiltonian has" in second
    assert not any(COARSE in line for line in further(results))
    assert COARSE not in results["gains"]


@pytest.mark.parametrize(("fixed", "each"), [(0.0, 1.0), (3.0, 1.0), (1.0, 0.1)])
def test_steps_cost_as_much_as_they_may(fixed: float, each: float):
    for budget in (0.5, 4.0, 10.0, 57.0):
        found = equal_cost_steps(lambda n: fixed + each * n, budget)
        most = min(max(1, int((budget - fixed) / each)), MOST)
        assert found.seconds == fixed + each * found.substeps
        assert found.within == (found.seconds <= budget)
        assert most / 1.25 <= found.substeps <= most


def test_a_solver_that_costs_more_than_the_network_is_called_so():
    shared = {"device": "cpu", "trajectories": 2, "span": 1.0}
    speed: dict[str, dict[str, Any]] = {
        "net": {"solver": "dopri8", "seconds": 0.1, **shared},
        "reference": {"solver": "dopri8", "seconds": 0.2, **shared},
        COARSE: {"solver": "rk4, step 0.5", "seconds": 0.15, "substeps": 1, "within_budget": False, **shared},
    }
    told = remarks("net", speed)
    assert told == [
        "A solve of 2 trajectories to t = 1 takes 0.1 s, 2 times as fast as the reference solver (dopri8, 0.2 s).",
        "coarse rk4 is the true equation with 1 step an interval (rk4, step 0.5, 0.15 s): even that costs more than "
        "net.",
    ]


def test_the_pictures_are_drawn(
    evaluation: Evaluation, data: DynamicsData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("integrand.apps.physics.dynamics.animation.FRAMES", 5)
    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(evaluation, run, data.task)
    captions = read_captions(run.figures)
    assert {one["file"] for one in captions} == {
        *("motion.gif", "invariants.png", "errors.png", "trajectories.png", "phase.png", "energy.png", "field.png")
    }
    for one in captions:
        assert imread(run.figures / one["file"]).std() > 0.01


def test_a_system_of_more_dimensions_is_scored_and_drawn(
    double: DynamicsData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("integrand.apps.physics.dynamics.animation.FRAMES", 3)
    module = DynamicsModule(small_network("neural_ode", double))
    evaluation = evaluate(module, double, name="neural_ode", seed=0, notify=lambda line: None)
    assert list(evaluation.results["metrics"]) == ["neural_ode", "persistence", "linear map", COARSE]
    assert list(evaluation.results["by_channel"]["neural_ode"]) == double.task.channels
    run = RunFolder(tmp_path / "run")
    run.figures.mkdir(parents=True)
    draw(evaluation, run, double.task)
    assert {one["file"] for one in read_captions(run.figures)} == {
        *("motion.gif", "invariants.png", "errors.png", "trajectories.png", "phase.png", "field.png")
    }
