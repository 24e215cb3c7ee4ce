"""McSharry's equation: its closed form against our solver and quadrature, and the solver against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from integrand.core.errors import InputError
from integrand.core.fields.cardiac_cycle import CardiacCycle, CycleWaves, passing, passing_slopes, solve_on_circle
from integrand.core.numerics import solve_ode

ANGLES = (-math.pi / 3, -math.pi / 12, 0.0, math.pi / 12, math.pi / 2)
WIDTHS = (0.25, 0.1, 0.1, 0.1, 0.4)
STRENGTHS = (1.2, -5.0, 30.0, -7.5, 0.75)
"""Table I of the paper, for P, Q, R, S and T."""


def table(samples: int = 3, leads: int = 2) -> CycleWaves:
    """The table's waves moved a little in every sample and lead, at another speed for each."""
    generator = torch.Generator().manual_seed(0)

    def about(values: tuple[float, ...], share: float) -> torch.Tensor:
        drawn = torch.randn(samples, len(values), leads, generator=generator, dtype=torch.float64)
        return torch.tensor(values, dtype=torch.float64)[None, :, None] * (1 + share * drawn)

    speed = torch.linspace(4.5, 8.0, samples, dtype=torch.float64)
    baseline = 0.2 * torch.randn(samples, leads, generator=generator, dtype=torch.float64)
    return about(ANGLES, 0.05), about(WIDTHS, 0.05), about(STRENGTHS, 0.2), speed, baseline


def on_circle(t: torch.Tensor, args: CycleWaves, start: torch.Tensor) -> torch.Tensor:
    """The state at the first time on the circle, whose angle is 0 at time 0."""
    turned = args[3] * t[0]
    return torch.cat([turned.cos()[:, None], turned.sin()[:, None], start], dim=1)


def test_the_closed_form_is_what_the_solver_finds():
    args = table()
    t = torch.linspace(-0.18, 0.3, 49, dtype=torch.float64)  # within half a turn of the widest wave, T
    start = torch.tensor([[0.3, -0.1], [0.0, 0.5], [-0.2, 0.2]], dtype=torch.float64)
    exact = solve_on_circle(t, start, args)
    found = solve_ode(CardiacCycle(), on_circle(t, args, start), t, args=args, rtol=1e-10, atol=1e-12)
    assert (found.states[:, :, 2:] - exact).abs().max() < 1e-9
    radius = torch.hypot(found.states[..., 0], found.states[..., 1])
    assert (radius - 1).abs().max() < 1e-9


def test_the_solver_finds_what_scipy_finds_away_from_the_circle():
    """Where no closed form is known: the point starts within the circle and is drawn to it."""
    args = table(samples=1, leads=1)
    angle, width, strength = (each.flatten().numpy() for each in args[:3])
    speed, baseline = float(args[3]), float(args[4])

    def slope(t: float, state: np.ndarray) -> list[float]:
        x, y, z = state
        off = (math.atan2(y, x) - angle + math.pi) % (2 * math.pi) - math.pi
        pushed = float((strength * off * np.exp(-0.5 * (off / width) ** 2)).sum())
        pull = 1 - math.hypot(x, y)
        return [pull * x - speed * y, pull * y + speed * x, -pushed - (z - baseline)]

    start, times = [-0.3, 0.2, 0.1], np.linspace(0, 2, 41)
    scipys = solve_ivp(slope, (0, 2), start, t_eval=times, rtol=1e-10, atol=1e-12, max_step=5e-3).y.T
    found = solve_ode(
        CardiacCycle(),
        torch.tensor([start], dtype=torch.float64),
        torch.from_numpy(times),
        args=args,
        rtol=1e-9,
        atol=1e-11,
    )
    # A wave is left half a turn later with a jump of less than 1e-9 of its height, where either steps over.
    assert np.abs(found.states[0].numpy() - scipys).max() < 1e-7
    assert abs(math.hypot(*scipys[-1, :2]) - 1) < 0.2


def test_a_wave_that_is_passed_is_its_integral():
    """Against scipy's quadrature, at times before, within and after waves narrow and wide."""
    for width in (0.006, 0.05, 0.4):
        for t in (-0.5, -0.01, 0.0, 0.03, 0.6):

            def wave(s: float, width: float = width) -> float:
                return math.exp(-0.5 * ((s - 0.02) / width) ** 2)

            around = [place for place in 0.02 + width * np.arange(-9.0, 10.0) if place < t]
            fallen = quad(lambda s, t=t: math.exp(s - t) * wave(s), -4, t, points=around, epsabs=1e-13, epsrel=1e-13)[0]
            found = passing(*(torch.tensor(each, dtype=torch.float64) for each in (t, 0.02, width)))
            assert float(found) == pytest.approx(wave(t) - fallen, abs=1e-11)


def test_gradients_are_those_of_finite_differences():
    args = tuple(each.requires_grad_() for each in table(samples=2, leads=1))
    t, start = torch.linspace(-0.3, 0.45, 7, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *args: solve_on_circle(t, start, args), args)
    state = torch.tensor([[0.9, -0.3, 0.2], [-0.2, 0.8, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda state, *args: CardiacCycle()(t[0], state, args), (state, *args))


def test_slopes_of_a_wave_are_those_of_autograd():
    generator = torch.Generator().manual_seed(0)
    t, time, width = (torch.rand(200, generator=generator, dtype=torch.float64) for _ in range(3))
    time, width = time.requires_grad_(), (0.01 + 0.3 * width).requires_grad_()
    expected = torch.autograd.grad(passing(t, time, width).sum(), (time, width))
    for found, exact in zip(passing_slopes(t, time, width), expected, strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)


def test_gradients_in_single_precision_are_finite_far_from_a_narrow_wave():
    time, width = torch.tensor(0.0, requires_grad=True), torch.tensor(0.004, requires_grad=True)
    found = passing(torch.linspace(-2.0, 2.0, 101), time, width)
    found.sum().backward()
    assert found.isfinite().all()
    assert torch.stack([time.grad, width.grad]).isfinite().all()  # pyright: ignore[reportArgumentType]


def test_a_state_of_another_size_is_refused():
    with pytest.raises(InputError, match=r"the state must be \(B, 2 \+ C\) of x, y and 2 voltages, got \(3, 3\)"):
        CardiacCycle()(torch.tensor(0.0), torch.zeros(3, 3), table())
