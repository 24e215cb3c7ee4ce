"""Linear equations on a torus against their closed forms."""

import math

import pytest
import torch
from torch import Tensor

from integrand.datasets.synthetic.equations.advection_2d import Advection2d
from integrand.datasets.synthetic.equations.heat_2d import Heat2d
from integrand.datasets.synthetic.equations.spectral import SpectralEquation
from integrand.datasets.synthetic.equations.wave_2d import Wave2d
from integrand.datasets.synthetic.simulator import Start

TIMES = torch.tensor([0.0, 0.3, 1.1], dtype=torch.float64)
LENGTHS = (1.0, 2.0)


def plane(n: int = 16, m: int = 24) -> tuple[Tensor, Tensor]:
    x, y = (
        torch.arange(k, dtype=torch.float64) * (length / k) for k, length in zip((n, m), LENGTHS, strict=True)
    )
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


@pytest.mark.parametrize("equation", [Heat2d(), Wave2d(), Advection2d()], ids=lambda e: e.name)
def test_contract(equation: SpectralEquation):
    """Residuals fall at second order in the interval, invariants stay, the start is one function on all grids."""
    largest = []
    for steps in (20, 40, 80):
        data = equation.simulate(2, points=(32, 48), times=torch.linspace(0, 0.2, steps + 1, dtype=torch.float64))
        residual = equation.residual(data.values, data.times, data.parameters, lengths=data.lengths)
        assert residual.shape == (2, steps - 1, *data.values.shape[2:])
        # where all is resolved: the heat equation's short waves die within an interval
        largest.append(float(residual[:, -1].norm()))
    # at the last interior time, t = 0.2 - h, which moves with h
    assert [math.log2(a / b) for a, b in zip(largest, largest[1:], strict=False)][-1] == pytest.approx(2, abs=0.2)
    for name, invariant in equation.invariants_on(data.lengths).items():
        values = invariant(data.values, data.parameters)
        assert values.shape == (2, 81), name
        # a scale for what may be zero throughout, such as the mean velocity of a wave at rest
        torch.testing.assert_close(values, values[:, :1].expand_as(values), rtol=1e-10, atol=1e-10)
    fine = equation.simulate(2, points=(64, 96), times=[0.0])
    coarse = equation.simulate(2, points=(32, 48), times=[0.0])
    torch.testing.assert_close(fine.every(2).values, coarse.values, rtol=0, atol=1e-12)
    assert data.provenance["time_step_error"] == 0
    assert data.checksum == equation.simulate(2, points=(32, 48), times=data.times).checksum
