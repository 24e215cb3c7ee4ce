"""Informed networks: problems against independent solutions, the optimiser, training to closed forms, predictions."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from scipy.integrate import quad, solve_ivp

from integrand.apps.physics.informed.baselines import fit_solver, interpolate, solve_twice_as_fine
from integrand.apps.physics.informed.data import InformedData
from integrand.apps.physics.informed.evaluation import evaluate
from integrand.apps.physics.informed.models.fourier import InformedFourier
from integrand.apps.physics.informed.models.mlp import InformedMLP
from integrand.apps.physics.informed.module import InformedModule
from integrand.apps.physics.informed.optimizer import AdamThenBFGS
from integrand.apps.physics.informed.prediction import LATER, OUTSIDE, predict
from integrand.apps.physics.informed.problems.burgers import Burgers
from integrand.apps.physics.informed.problems.problem import Problem, mesh
from integrand.apps.physics.informed.problems.registry import PROBLEMS, problem
from integrand.apps.physics.informed.residuals import mean_by_slice, residual, stencil_residual
from integrand.core.errors import InputError
from integrand.core.numerics.partials import partials


@pytest.fixture(params=list(PROBLEMS))
def each(request: pytest.FixtureRequest) -> Problem:
    return problem(request.param)


def inside(of: Problem, count: int = 200, *, away: float = 0.0) -> torch.Tensor:
    """Random points of a problem's box, so far from its lower ends."""
    generator = torch.Generator().manual_seed(1)
    low, high = torch.tensor(of.low), torch.tensor(of.high)
    shares = torch.rand((count, len(low)), generator=generator, dtype=torch.float64)
    return low + (high - low) * (away + (1 - away) * shares)


def test_the_reference_solves_the_equation(each: Problem):
    """The residual of the solution vanishes, but for rounding in derivatives as large as the equation has them."""
    points = inside(each, away=0.05)
    left = residual(each, each.reference, points, each.parameters)
    size = max(float(value.abs().max()) for value in partials(each.reference, points, [(0, 0)]).values())
    assert float(left.abs().max()) < 1e-11 * max(1.0, size)
    wrong = {name: 1.1 * value for name, value in each.parameters.items()}
    assert float(residual(each, each.reference, points, wrong).abs().max()) > 1e-3


def test_the_reference_and_the_hard_form_meet_every_condition(each: Problem):
    torch.manual_seed(0)
    data = InformedData(each.name)
    network = InformedMLP(width=8, depth=2)
    network.build(data.task)
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3).add_(0.3)
    for condition in each.conditions:
        face = inside(each)
        face[:, condition.axis] = condition.at
        axes = each.axes_of(condition.derivative)
        for function, tolerance in ((network, 1e-13), (each.reference, 1e-12)):
            found = partials(function, face, [axes])[axes]
            assert float((found - condition.value(face)).abs().max()) < tolerance, condition.name
    assert float((network(inside(each)) - each.lift(inside(each))).abs().max()) > 1e-2


@pytest.mark.parametrize(("x", "t"), [(0.3, 0.2), (-0.05, 0.5), (0.01, 1.0), (0.9, 0.7)])
@pytest.mark.parametrize("parameters", [{}, {"advection": 0.6, "viscosity": 0.02}])
def test_the_solution_of_burgers_is_the_quotient_of_integrals(x: float, t: float, parameters: dict[str, float]):
    of = Burgers()
    a, nu = of.given(parameters)["advection"], of.given(parameters)["viscosity"]

    def exponent(z: float) -> float:
        return -a * (math.cos(math.pi * (x - z)) + 1) / (2 * math.pi * nu) - z * z / (4 * nu * t)

    most = max(exponent(z) for z in np.linspace(-2, 2, 4001))

    def integral(factor) -> float:
        ends = np.linspace(-2.5, 2.5, 101)
        parts = [
            quad(lambda z: factor(z) * math.exp(exponent(z) - most), low, high, epsabs=1e-13, epsrel=1e-13)[0]
            for low, high in pairwise(ends)
        ]
        return math.fsum(parts)

    exact = -integral(lambda z: math.sin(math.pi * (x - z))) / integral(lambda z: 1.0)
    found = of.reference(torch.tensor([[x, t]], dtype=torch.float64), parameters)
    assert float(found) == pytest.approx(exact, abs=1e-10)


def test_the_solution_of_the_oscillator_is_that_of_scipy():
    of = problem("oscillator")
    times = np.linspace(0, 1, 30)
    done = solve_ivp(
        lambda _, y: (y[1], -4 * y[1] - 400 * y[0]),
        (0, 1),
        (1, 0),
        t_eval=times,
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
    )
    assert np.abs(of.reference(torch.from_numpy(times)[:, None]).numpy() - done.y[0]).max() < 1e-9


def test_finite_differences_are_of_second_order(each: Problem):
    """Where the shock of Burgers' equation is resolved: at ten times its viscosity."""
    parameters = {"viscosity": 0.1 / math.pi} if each.name == "burgers_shock" else {}
    points = mesh(each.grid(33))
    exact = each.reference(points, parameters).numpy()
    errors = []
    for cells in (64, 128):
        found = each.finite_differences(cells, parameters)
        errors.append(float(np.linalg.norm(found.at(points.numpy()) - exact)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("name", ["heat_rod", "vibrating_string", "helmholtz", "oscillator"])
def test_the_stencil_residual_of_the_reference_falls_with_the_fourth_power(name: str):
    of = problem(name)
    like = torch.zeros(0, dtype=torch.float64)
    sizes = (41, 81) if len(of.inputs) > 1 else (81, 161)
    errors = [
        float(stencil_residual(of, of.reference, size, of.parameters, like).square().mean().sqrt()) for size in sizes
    ]
    assert math.log2(errors[0] / errors[1]) > 3.9


def test_slices_of_time_have_their_own_means():
    times = torch.tensor([0.0, 0.1, 0.6, 1.0, 0.3])
    squares = torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0])
    assert mean_by_slice(squares, times, 0.0, 1.0, 4).tolist() == [2.0, 9.0, 5.0, 7.0]


def test_bfgs_solves_a_quadratic_and_finds_the_foot_of_a_valley():
    torch.manual_seed(0)
    a = torch.randn(12, 12, dtype=torch.float64)
    matrix, target = a @ a.T + 0.1 * torch.eye(12, dtype=torch.float64), torch.randn(12, dtype=torch.float64)

    def minimise(x: torch.Tensor, loss, steps: int) -> float:
        optimizer = AdamThenBFGS([x], learning_rate=0.1, adam_steps=5)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        losses = [float(optimizer.step(closure)) for _ in range(steps)]
        assert all(later <= earlier for earlier, later in pairwise(losses[6:]))
        return losses[-1]

    x = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    minimise(x, lambda: (x @ matrix @ x) / 2 - target @ x, 60)
    torch.testing.assert_close(x.detach(), torch.linalg.solve(matrix, target), rtol=1e-6, atol=1e-6)
    y = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    assert minimise(y, lambda: 100 * (y[1] - y[0] ** 2) ** 2 + (1 - y[0]) ** 2, 80) < 1e-16
    assert y.tolist() == pytest.approx([1.0, 1.0], abs=1e-7)


def test_bfgs_never_accepts_what_is_not_a_number():
    x = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    optimizer = AdamThenBFGS([x], learning_rate=0.1, adam_steps=0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = (x - 2 * x.log()).sum()  # not a number for x <= 0; least at 2
        value.backward()
        return value

    for _ in range(20):
        assert math.isfinite(float(optimizer.step(closure)))
    assert float(x.detach()) == pytest.approx(2, abs=1e-6)


def fitted(data: InformedData, *, epochs: int, folder: Path, **options) -> InformedModule:
    seed_everything(0, verbose=False)
    module = InformedModule(InformedMLP(width=12, depth=2), adam_steps=100, **options)
    trainer = Trainer(
        max_epochs=epochs,
        precision="64-true",
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "one.ckpt")
    return module


@pytest.fixture(scope="module")
def heat(tmp_path_factory: pytest.TempPathFactory) -> tuple[InformedModule, InformedData, Path]:
    folder = tmp_path_factory.mktemp("heat")
    data = InformedData("heat_rod", collocation=512, test_points=41)
    return fitted(data, epochs=5, folder=folder), data, folder


def test_the_heat_equation_is_solved_from_the_equation_alone(heat):
    module, data, _ = heat
    found = evaluate(module, data, name="mlp", seed=0, notify=lambda line: None)
    scores = found.results["metrics"]
    assert scores["mlp"]["relative_l2"] < 3e-3
    assert scores["mlp"]["max_error"] >= np.abs(found.solution - found.exact).mean()
    errors = [error for _, _, error in found.work]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < scores["mlp"]["relative_l2"]  # and the verdict says so
    assert "as exact in" in found.results["remarks"][0]
    assert json.dumps(found.results, allow_nan=False)


def test_a_checkpoint_gives_the_same_solution(heat):
    module, data, folder = heat
    stored = torch.load(folder / "one.ckpt", weights_only=True)
    again = InformedModule.from_checkpoint(stored)
    points = mesh(data.test_grid())
    with torch.no_grad():
        torch.testing.assert_close(again(points), module(points), rtol=0, atol=0)
    assert again.seconds == module.seconds > 0


def test_points_are_answered_and_those_beyond_flagged(heat, tmp_path: Path):
    module, data, _ = heat
    asked = np.array([[0.5, 0.1], [0.2, 0.9], [1.5, 0.3], [0.5, 1.4], [0.0, 0.0], [1.0, 1.0]])
    np.save(tmp_path / "points.npy", asked)
    told: list[str] = []
    found = predict(
        module,
        input=tmp_path / "points.npy",
        output=tmp_path / "out.csv",
        figure=tmp_path / "out.png",
        notify=told.append,
    )
    assert found.flags.tolist() == ["", "", OUTSIDE, LATER, "", ""]
    assert len(told) == 2
    exact = data.problem.reference(torch.from_numpy(asked)).numpy()
    assert np.abs(found.values - exact)[[0, 1, 4, 5]].max() < 5e-3
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "x,t,u,residual,flag"
    assert lines[4].endswith("," + LATER)
    (tmp_path / "points.csv").write_text("t,x\n0.1,0.5\n")
    swapped = predict(module, input=tmp_path / "points.csv", output=tmp_path / "b.csv", figure=None)
    assert swapped.values[0] == pytest.approx(found.values[0], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "there is no file"),
        ("a.csv", "x,s\n1,2\n", "has no column 't'"),
        ("b.csv", "x,t\n1,a\n", "plain numbers"),
        ("c.csv", "x,t\n1,nan\n", "point 0 is not finite"),
        ("d.csv", "x,t\n", "has shape"),
        ("e.csv", "", "cannot read points"),
        ("f.npy", np.zeros((3, 3)), r"needs \(points, x, t\)"),
        ("g.npy", "nonsense", "cannot read points|no number"),
    ],
)
def test_files_that_hold_no_points_are_refused(heat, tmp_path: Path, name: str, content, message: str):
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    with pytest.raises(InputError, match=message):
        predict(heat[0], input=tmp_path / name, output=tmp_path / "out.csv", figure=None)
    assert not (tmp_path / "out.csv").exists()


def test_arrays_are_answered_by_arrays(heat, tmp_path: Path):
    np.save(tmp_path / "points.npy", np.array([[0.5, 0.1], [0.2, 0.9]]))
    found = predict(heat[0], input=tmp_path / "points.npy", output=tmp_path / "out.npy", figure=None)
    columns = np.load(tmp_path / "out.npy")
    assert np.array_equal(columns, np.column_stack([found.points, found.values, found.residual]))


def test_the_diffusivity_is_found_from_noisy_observations(tmp_path: Path):
    data = InformedData(
        "heat_rod",
        unknown={"diffusivity": 0.02},
        observations=400,
        noise=0.01,
        collocation=400,
        test_points=41,
        condition_points=16,
    )
    module = fitted(data, epochs=4, folder=tmp_path, conditions="none")
    assert module.found()["diffusivity"] == pytest.approx(0.1, rel=0.05)
    solver = fit_solver(data, mesh(data.test_grid()).numpy())
    low, high = solver.intervals["diffusivity"]
    assert low < solver.values["diffusivity"] < high
    assert solver.values["diffusivity"] == pytest.approx(0.1, rel=0.01)
    exact = data.reference().numpy().ravel()
    line = interpolate(data, mesh(data.test_grid()).numpy())
    assert np.linalg.norm(line - exact) < 0.1 * np.linalg.norm(exact)


def test_observations_are_noisy_as_asked_and_validation_has_its_own():
    data = InformedData("heat_rod", observations=5000, noise=0.1)
    data.setup()
    places, values = data.observed
    exact = data.problem.reference(places)
    assert float((values - exact).std() / exact.std()) == pytest.approx(0.1, rel=0.05)
    assert len(values) == 4000
    assert len(data.held_out[1]) == 1000
    batch, again = data.points(3), InformedData("heat_rod", observations=5000, noise=0.1).points(3)
    assert torch.equal(batch.inner, again.inner)
    assert not torch.equal(batch.inner, data.points(4).inner)
    assert torch.equal(batch.values, again.values)
    assert data.split.hash != InformedData("heat_rod").split.hash


@pytest.mark.parametrize(
    "options", [{"residual": "stencil"}, {"conditions": "soft", "balance": True}, {"causal": 1.0, "candidates": 2}]
)
def test_every_way_of_training_lowers_the_error(options: dict, tmp_path: Path):
    data = InformedData("heat_rod", collocation=400, condition_points=64)
    module = fitted(data, epochs=3, folder=tmp_path, **options)
    points = mesh(data.problem.grid(21))
    exact = data.problem.reference(points)
    with torch.no_grad():
        assert float((module(points) - exact).norm() / exact.norm()) < 0.05


def test_random_waves_solve_the_heat_equation():
    seed_everything(0, verbose=False)
    data = InformedData("heat_rod", collocation=300)
    module = InformedModule(InformedFourier(frequencies=12, width=12, depth=1, frequency=0.5), adam_steps=100)
    module.build(data)
    module.double()
    optimizer = module.configure_optimizers()
    batch = data.points(0)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss, _ = module.loss(batch)
        loss.backward()
        return loss

    for _ in range(300):
        optimizer.step(closure)
    points = mesh(data.problem.grid(31))
    exact = data.problem.reference(points)
    with torch.no_grad():
        assert float((module(points) - exact).norm() / exact.norm()) < 0.03


def test_solvers_grow_until_they_cost_as_much():
    of = problem("heat_rod")
    points = mesh(of.grid(21))
    exact = of.reference(points).numpy()
    coarse = solve_twice_as_fine(of, of.parameters, points.numpy(), exact, seconds=0.0)
    assert [one.cells for one in coarse] == [16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "burger"}, "unknown problem 'burger': did you mean 'burgers_shock'"),
        ({"parameters": {"viscosty": 1.0}}, "unknown parameter of burgers_shock 'viscosty': did you mean 'viscosity'"),
        ({"unknown": {"nu": 1.0}, "observations": 100}, "unknown parameter of burgers_shock 'nu'"),
        ({"unknown": {"viscosity": 0.0}, "observations": 100}, "no sign to keep"),
        ({"unknown": {"viscosity": 0.1}}, "10 observations or more"),
        ({"parameters": {"viscosity": math.nan}}, "finite"),
        ({"noise": -0.1}, "data.noise=-0.1 is out of range"),
        ({"collocation": 4}, "data.collocation=4"),
    ],
)
def test_data_that_make_no_sense_are_refused(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        InformedData(**options)


def test_options_that_make_no_sense_are_refused():
    data = InformedData("helmholtz")
    with pytest.raises(InputError, match="nothing that makes the solution unique"):
        InformedModule(InformedMLP(), conditions="none").build(data)
    with pytest.raises(InputError, match="has no time"):
        InformedModule(InformedMLP(), causal=1.0).build(data)
    with pytest.raises(InputError, match=r"model\.adam_steps=-1"):
        InformedModule(InformedMLP(), adam_steps=-1)
    with pytest.raises(InputError, match=r"model\.network\.width=0 must be at least 1"):
        InformedModule(InformedMLP(width=0)).build(data)
    wide = InformedModule(InformedMLP(width=100), adam_steps=0)
    wide.build(data)
    with pytest.raises(InputError, match=r"take a smaller --model\.network\.width"):
        wide.configure_optimizers().step(lambda: wide.loss(data.points(0))[0])
