"""What every equation on a circle keeps to: its residual, invariants, starts and the error it states."""

import math

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Start
from integrand.datasets.synthetic.simulators import simulator

EQUATIONS = {
    "advection": 1e-3,
    "burgers": 1e-2,
    "burgers_etd": 1e-2,
    "pdebench_burgers": 5e-3,
    "heat": 1e-2,
    "wave": 1e-3,
    "kuramoto_sivashinsky": 0.02,
    "korteweg_de_vries": 0.02,
    "solitons": 0.08,
}
"""Names with an interval at which u_t by central differences is in its second order."""
BY_STEPS = ("burgers_etd", "kuramoto_sivashinsky", "korteweg_de_vries", "solitons")
SMOOTH = {"pdebench_burgers": {"viscosity": 0.02}}
"""Parameters with which the default grid resolves what is made of the starts, that derivatives be exact."""


def equation(name: str) -> Equation:
    made = simulator(name)
    assert isinstance(made, Equation)
    return made


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_residual_of_a_solution_is_that_of_the_differences_in_time(name: str):
    """It falls with the square of the interval."""
    one, apart = equation(name), EQUATIONS[name]
    middle, largest = one.span / 8, []
    times = [0.0, *(middle + share * apart for share in (-1.0, -0.5, 0.0, 0.5, 1.0))]
    made = one.simulate(2, times=times, parameters=SMOOTH.get(name))
    for every in (slice(1, 6, 2), slice(2, 5)):
        values, at = made.values[:, every], made.times[every]
        largest.append(float(one.residual(values, at, made.parameters, lengths=made.lengths).abs().max()))
        assert largest[-1] < 0.05 * float((values.diff(dim=1) / (at[1] - at[0])).abs().max())
    assert abs(math.log2(largest[0] / largest[1]) - 2) < 0.1


@pytest.mark.parametrize("name", EQUATIONS)
def test_invariants_are_kept(name: str):
    """By a closed form to rounding, by steps to their error."""
    one = equation(name)
    made = one.simulate(2, times=[0.0, one.span / 8, one.span / 4])
    error = float(made.provenance["time_step_error"])
    every = one.invariants_on(made.lengths)
    assert set(one.invariants) <= set(every)
    for invariant in every.values():
        found = invariant(made.values, made.parameters)
        assert found.shape == made.values.shape[:2]
        scale = float(found.abs().max()) + float(made.values.square().mean())
        assert float((found - found[:, :1]).abs().max()) < (1e-10 + error) * scale


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_error_of_the_step_is_stated_truly(name: str):
    one = equation(name)
    made = one.simulate(2, times=[0.0, one.span / 8])
    stated = float(made.provenance["time_step_error"])
    assert (stated > 0) == (name in BY_STEPS) == (one.step_size is not None)
    if one.step_size is None:
        return
    start = Start(made.values[:, 0])
    true = one.advance(start, made.times, made.parameters, lengths=made.lengths, step_size=one.step_size / 4)
    assert stated / 2 < float((true - made.values).abs().max()) < 2 * stated < 1e-4


@pytest.mark.parametrize("name", ["kuramoto_sivashinsky", "lorenz63"])
def test_a_step_longer_than_between_the_states_kept_is_told_as_the_one_taken(name: str):
    one = simulator(name)
    times = [0.0, one.interval, 2 * one.interval]
    long, told = (
        one.simulate(2, times=times, step_size=25 * one.interval),
        one.simulate(2, times=times, step_size=one.interval),
    )
    assert torch.equal(long.values, told.values)
    assert long.provenance["step_size"] == told.provenance["step_size"] == pytest.approx(one.interval)
    assert long.provenance["time_step_error"] == told.provenance["time_step_error"]
    assert float(told.provenance["time_step_error"]) > 0


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_sample_depends_on_its_seed_and_number_alone(name: str):
    """Not on how many there are, on those beside it, on the grid, or on when its time begins."""
    one = equation(name)
    parameters = {name: (value, 1.5 * value) for name, value in one.parameters.items()}
    few = {"times": [0.0, one.span / 20], "parameters": parameters}
    many, alone = one.simulate(3, **few), one.simulate(1, first=2, **few)
    torch.testing.assert_close(many.values[2:], alone.values, rtol=0, atol=1e-9)
    assert not torch.allclose(many.values[0], many.values[1])
    (n,) = one.points
    for finer, coarser in ((2 * n, 1), (n // 4, 4)):
        grid = one.simulate(1, first=2, points=(finer,), times=[0.0], parameters=parameters)
        stride = max(1, finer // n)
        torch.testing.assert_close(grid.values[..., ::stride], alone.values[:, :1, :, ::coarser], rtol=0, atol=1e-9)
    late = one.advance(
        Start(alone.values[:, 0]), alone.times + 3, alone.parameters, lengths=alone.lengths, step_size=one.step_size
    )
    torch.testing.assert_close(late, alone.values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", EQUATIONS)
def test_single_precision_stays_single(name: str):
    one = equation(name)
    made = one.simulate(2, times=[0.0, one.span / 20])
    single = one.advance(
        Start(made.values[:, 0].float()), made.times, made.parameters, lengths=made.lengths, step_size=one.step_size
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), made.values, rtol=0, atol=2e-3 * float(made.values.abs().max()))


@pytest.mark.parametrize("name", EQUATIONS)
def test_any_number_of_points_will_do(name: str):
    """Odd ones, and none a power of two: solutions at the points that grids share agree as far as waves allow."""
    one = equation(name)
    (n,) = one.points
    made = one.simulate(1, points=(n // 2 + 1,), times=[0.0, one.span / 20])
    assert made.shape == (n // 2 + 1,)
    assert torch.isfinite(made.values).all()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("burgers", {"viscosity": 0.0}, r"viscosity=0 of sample 0 is out of range: it must be positive"),
        ("burgers_etd", {"viscosity": -1.0}, r"viscosity=-1 of sample 0"),
        ("heat", {"diffusivity": 0.0}, r"diffusivity=0 of sample 0"),
        ("wave", {"sped": 1.0}, r"unknown parameter of wave 'sped': did you mean 'speed'"),
    ],
)
def test_parameters_out_of_range_are_refused(name: str, parameters: dict[str, float], message: str):
    with pytest.raises(InputError, match=message):
        equation(name).simulate(2, parameters=parameters)


@pytest.mark.parametrize(
    ("step_size", "message"),
    [
        (0.05, r"burgers_etd: the solution of sample \d ceased .* by step 20 of 0\.05, Courant number \d+, "),
        (0.5, r"burgers_etd: steps of 0\.5 are beyond stability"),
    ],
)
def test_a_step_beyond_stability_is_refused(step_size: float, message: str):
    with pytest.raises(InputError, match=message):
        equation("burgers_etd").simulate(4, times=[0.0, 1.0], step_size=step_size, parameters={"viscosity": 1e-3})


def _periodic_gaussian(x: np.ndarray, variance: float, length: float) -> np.ndarray:
    images = np.arange(-8, 9)[:, None] * length
    return (np.exp(-((x - 0.4 * length + images) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)).sum(0)


def _solved(one: Equation, states: np.ndarray, times: list[float], length: float, step: float | None, **own: float):
    parameters = {name: torch.tensor([value], dtype=torch.float64) for name, value in {**one.parameters, **own}.items()}
    start = Start(torch.from_numpy(np.atleast_2d(states))[None])
    at = torch.tensor(times, dtype=torch.float64)
    return one.advance(start, at, parameters, lengths=(length,), step_size=step)[0].numpy()


def test_advection_and_heat_move_and_widen_a_gaussian():
    length, t = 3.0, 0.7
    x = np.arange(128) * length / 128
    start = _periodic_gaussian(x, 0.02, length)
    moved = _solved(equation("advection"), start, [0.0, t], length, None, speed=1.3)[-1, 0]
    np.testing.assert_allclose(moved, _periodic_gaussian(x - 1.3 * t, 0.02, length), rtol=0, atol=1e-12)
    wide = _solved(equation("heat"), start, [0.0, t], length, None, diffusivity=0.05)[-1, 0]
    np.testing.assert_allclose(wide, _periodic_gaussian(x, 0.02 + 2 * 0.05 * t, length), rtol=0, atol=1e-12)


def test_waves_are_those_of_d_alembert():
    """u = (f(x - ct) + f(x + ct)) / 2 + (G(x + ct) - G(x - ct)) / 2c, where v = G' at first."""
    length, t, c = 3.0, 1.7, 1.3
    x = np.arange(128) * length / 128

    def f(x: np.ndarray) -> np.ndarray:
        return _periodic_gaussian(x, 0.02, length)

    def g(x: np.ndarray) -> np.ndarray:
        return np.sin(4 * np.pi * x / length) + 0.3 * x  # the mean of v is 0.3

    v = 4 * np.pi / length * np.cos(4 * np.pi * x / length) + 0.3
    u = _solved(equation("wave"), np.stack([f(x), v]), [0.0, t], length, None, speed=c)[-1, 0]
    known = (f(x - c * t) + f(x + c * t)) / 2 + (g(x + c * t) - g(x - c * t)) / (2 * c)
    np.testing.assert_allclose(u, known, rtol=0, atol=1e-12)


def test_samples_of_unlike_parameters_are_solved_together():
    one = equation("burgers_etd")
    made = one.simulate(3, times=[0.0, 0.5], parameters={"viscosity": (0.05, 0.2)})
    for i, nu in enumerate(made.parameters["viscosity"].tolist()):
        alone = _solved(one, made.values[i, 0].numpy(), [0.0, 0.5], 2 * math.pi, one.step_size, viscosity=nu)
        np.testing.assert_allclose(alone[-1], made.values[i, -1].numpy(), rtol=0, atol=1e-12)


def test_a_step_length_that_fits_not_the_interval_is_shortened():
    one = equation("solitons")
    long, short = (one.simulate(1, times=[0.0, 0.1], step_size=h).values for h in (0.03, 0.025))
    torch.testing.assert_close(long, short, rtol=0, atol=1e-12)
