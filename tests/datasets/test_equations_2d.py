"""Equations on a torus: the linear ones against their closed forms, and what every one of them keeps to."""

import math

import pytest
import torch
from torch import Tensor

from integrand.datasets.synthetic.equations.advection_2d import Advection2d
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.equations.heat_2d import Heat2d
from integrand.datasets.synthetic.equations.spectral import SpectralEquation
from integrand.datasets.synthetic.equations.wave_2d import Wave2d
from integrand.datasets.synthetic.simulator import Start
from integrand.datasets.synthetic.simulators import simulator

TIMES = torch.tensor([0.0, 0.3, 1.1], dtype=torch.float64)
LENGTHS = (1.0, 2.0)


def plane(n: int = 16, m: int = 24) -> tuple[Tensor, Tensor]:
    x, y = (torch.arange(k, dtype=torch.float64) * (length / k) for k, length in zip((n, m), LENGTHS, strict=True))
    return x[:, None], y


def phase(x: Tensor, y: Tensor) -> Tensor:
    """Return k . x of a wave that fits the box, k = (4 pi, 3 pi)."""
    return 4 * math.pi * x + 3 * math.pi * y


K = 5 * math.pi


def solved(equation: SpectralEquation, start: Tensor, **parameters: float) -> Tensor:
    own = {name: torch.tensor([value], dtype=torch.float64) for name, value in parameters.items()}
    return equation.advance(Start(start[None]), TIMES, own, lengths=LENGTHS, step_size=None)[0]


def test_heat():
    x, y = plane()
    found = solved(Heat2d(), (2 + phase(x, y).cos())[None], diffusivity=0.003)
    for t, u in zip(TIMES.tolist(), found, strict=True):
        exact = 2 + phase(x, y).cos() * math.exp(-0.003 * K**2 * t)
        torch.testing.assert_close(u[0], exact, rtol=0, atol=1e-13)


def test_advection():
    x, y = plane()
    found = solved(Advection2d(), _bump(x, y)[None], speed_x=0.7, speed_y=-0.2)
    for t, u in zip(TIMES.tolist(), found, strict=True):
        torch.testing.assert_close(u[0], _bump(x - 0.7 * t, y + 0.2 * t), rtol=0, atol=1e-12)


def _bump(x: Tensor, y: Tensor) -> Tensor:
    """A band-limited function of the box."""
    return (1 + (2 * math.pi * x).cos()) ** 2 * (1 + (math.pi * y).sin()) ** 3


def test_a_travelling_plane_wave():
    """u = cos(k . x - c |k| t), v = c |k| sin(k . x - c |k| t): d'Alembert's solution along k."""
    x, y = plane()
    c = 0.6

    def exact(t: float) -> Tensor:
        angle = phase(x, y) - c * K * t
        return torch.stack([angle.cos(), c * K * angle.sin()])

    for t, state in zip(TIMES.tolist(), solved(Wave2d(), exact(0.0), speed=c), strict=True):
        torch.testing.assert_close(state, exact(t), rtol=0, atol=1e-11)


EQUATIONS = {
    "heat_2d": 1e-2,
    "wave_2d": 1e-3,
    "advection_2d": 1e-2,
    "navier_stokes": 0.1,
    "kolmogorov_flow": 5e-3,
    "decaying_turbulence": 5e-3,
}
"""Names with an interval at which u_t by central differences is in its second order."""
BY_STEPS = ("navier_stokes", "kolmogorov_flow", "decaying_turbulence")


def equation(name: str) -> Equation:
    made = simulator(name)
    assert isinstance(made, Equation)
    return made


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_residual_of_a_solution_is_that_of_the_differences_in_time(name: str):
    """It falls with the square of the interval."""
    one, apart, largest = equation(name), EQUATIONS[name], []
    times = [0.0, *(0.2 + share * apart for share in (-1.0, -0.5, 0.0, 0.5, 1.0))]
    made = one.simulate(2, times=times, points=(64, 64))
    for every in (slice(1, 6, 2), slice(2, 5)):
        values, at = made.values[:, every], made.times[every]
        left = one.residual(values, at, made.parameters, lengths=made.lengths, constants=made.constants)
        assert left.shape == (2, 1, *values.shape[2:])
        largest.append(float(left.abs().max()))
        assert largest[-1] < 0.05 * float((values.diff(dim=1) / (at[1] - at[0])).abs().max())
    assert abs(math.log2(largest[0] / largest[1]) - 2) < 0.1


@pytest.mark.parametrize("name", EQUATIONS)
def test_invariants_are_kept_and_the_error_of_the_step_is_stated_truly(name: str):
    one = equation(name)
    made = one.simulate(2, points=(32, 48), times=[0.0, 0.2])
    for label, invariant in one.invariants_on(made.lengths).items():
        found = invariant(made.values, made.parameters)
        assert found.shape == (2, 2), label
        scale = float(made.values.square().mean())
        torch.testing.assert_close(found[:, 1], found[:, 0], rtol=1e-10, atol=1e-12 * scale)
    stated = float(made.provenance["time_step_error"])
    assert (stated > 0) == (name in BY_STEPS) == (one.step_size is not None)
    if one.step_size is not None:
        start = Start(made.values[:, 0], made.constants)
        true = one.advance(start, made.times, made.parameters, lengths=made.lengths, step_size=one.step_size / 4)
        assert stated / 2 < float((true - made.values).abs().max()) < 2 * stated < 1e-4


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_sample_depends_on_its_seed_and_number_alone(name: str):
    """Not on how many there are, on those beside it, or on when its time begins."""
    one = equation(name)
    parameters = {name: (value, 1.5 * value) for name, value in one.parameters.items()}
    few = {"points": (24, 32), "times": [0.0, 0.05], "parameters": parameters}
    many, alone = one.simulate(3, **few), one.simulate(1, first=2, **few)
    torch.testing.assert_close(many.values[2:], alone.values, rtol=0, atol=1e-12)
    assert not torch.allclose(many.values[0], many.values[1])
    assert alone.checksum == one.simulate(1, first=2, **few).checksum
    late = one.advance(
        Start(alone.values[:, 0], alone.constants),
        alone.times + 3,
        alone.parameters,
        lengths=alone.lengths,
        step_size=one.step_size,
    )
    torch.testing.assert_close(late, alone.values, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["heat_2d", "wave_2d", "advection_2d"])
def test_starts_are_one_function_on_all_grids(name: str):
    fine, coarse = (equation(name).simulate(2, points=points, times=[0.0]) for points in ((64, 96), (32, 48)))
    torch.testing.assert_close(fine.every(2).values, coarse.values, rtol=0, atol=1e-12)
