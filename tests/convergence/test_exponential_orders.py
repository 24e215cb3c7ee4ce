"""Orders of exponential and implicit-explicit methods in float64, on stiff, chaotic and dispersive problems."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.numerics.exponential.semilinear import SEMILINEAR, Semilinear, solve_semilinear
from integrand.core.numerics.spectral import PeriodicGrid

methods = pytest.mark.parametrize("method", SEMILINEAR)
FLOAT64 = torch.empty(0, dtype=torch.float64)


def slope(field: Semilinear, exact: Tensor, times: Tensor, method: str, steps: tuple[int, int]) -> tuple[float, float]:
    """Return the measured order between two numbers of steps, and the error of the larger.

    The error is the greatest at the last time; ``exact`` is (1, T, ...) at the two times.
    """
    errors = []
    for n in steps:
        span = float(times[-1] - times[0])
        solved = solve_semilinear(field, exact[:, 0], times, method=method, step_size=span / n)
        assert int(solved.stats.accepted[0]) == n
        errors.append((solved.states[:, -1] - exact[:, -1]).abs().max().item())
    return math.log(errors[0] / errors[1]) / math.log(steps[1] / steps[0]), errors[1]


# Damped, neutral, growing and oscillating; h |L| is about 1 at the coarser step.
RATES = torch.tensor([-40.0, -1.0, 0.0, 0.5, 30j, -20 + 20j], dtype=torch.complex128)


def driven(t: Tensor, y: Tensor) -> Tensor:
    """N with which y_i = exp(i t) (1 + i / 10) solves y' = L y + N for every L, and which is nonlinear in y."""
    exact = driven_solution(t)
    return (1j - RATES) * exact + torch.cos(t) * (y**2 - exact**2) / 4


def driven_solution(t: Tensor) -> Tensor:
    return torch.exp(1j * t).unsqueeze(-1) * (1 + torch.arange(6, dtype=torch.float64) / 10)


@methods
def test_order_on_a_stiff_problem_driven_in_time(method: str):
    times = torch.tensor([0.0, 1.0], dtype=torch.float64)
    order = SEMILINEAR[method].order
    steps = {1: (2000, 4000), 2: (800, 1600), 3: (400, 800), 4: (200, 400)}[order]
    exact = driven_solution(times).unsqueeze(0)
    measured, _ = slope(Semilinear(RATES, driven), exact, times, method, steps)
    assert measured == pytest.approx(order, abs=0.1)


def kuramoto_sivashinsky(grid: PeriodicGrid) -> Semilinear:
    """u_t + u u_x + u_xx + u_xxxx = 0 in Fourier coefficients, free of aliases."""
    square = -grid.laplacian_symbol(FLOAT64)
    slope = -0.5 * grid.derivative_symbol(0, FLOAT64) * grid.dealiasing_mask(FLOAT64)
    return Semilinear(square - square**2, lambda t, y: slope * grid.transform(grid.inverse(y).square()))


@cache
def kuramoto_sivashinsky_reference() -> tuple[np.ndarray, np.ndarray]:
    """Return coefficients at two times 8 apart, by DOP853 and numpy's FFT; 32 points on a length of 22.

    The first comes after a while, when fast waves follow the slow ones, as they do everywhere but at a start.
    """
    n, length = 32, 22.0
    x = np.arange(n) * length / n
    k = 2 * np.pi * np.arange(n // 2 + 1) / length
    kept = np.arange(n // 2 + 1) < n / 3
    start = np.fft.rfft(np.cos(2 * np.pi * x / length) + 0.1 * np.sin(4 * np.pi * x / length)) * kept

    def field(t: float, parts: np.ndarray) -> np.ndarray:
        y = parts.view(complex)
        made = (k**2 - k**4) * y - 0.5j * k * kept * np.fft.rfft(np.fft.irfft(y, n) ** 2)
        return (made * kept).view(float)

    settled = solve_ivp(field, (0, 20), start.view(float), method="DOP853", rtol=1e-9, atol=1e-9).y[:, -1]
    end = solve_ivp(field, (0, 8), settled, method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    return settled.copy().view(complex), end.copy().view(complex)


@methods
def test_order_on_kuramoto_sivashinsky(method: str):
    """Against scipy's explicit method of order 8 within 1e-12 of coefficients of size 20; the least error here is 1e-9.

    The error of ars343 changes sign between 400 and 800 steps, so that its leading term rules later than the others'.
    """
    start, end = kuramoto_sivashinsky_reference()
    field = kuramoto_sivashinsky(PeriodicGrid((32,), (22.0,)))
    exact = torch.from_numpy(np.stack([start, end])).unsqueeze(0)
    order = SEMILINEAR[method].order
    steps = (6400, 12800) if method == "ars343" else (800, 1600) if order > 2 else (400, 800)
    measured, _ = slope(field, exact, torch.tensor([0.0, 8.0], dtype=torch.float64), method, steps)
    assert measured == pytest.approx(order, abs=0.1)


SPEED = 4.0


def soliton(t: float, x: Tensor) -> Tensor:
    """u = c / 2 sech^2(sqrt(c) (x - c t) / 2) solves u_t + 6 u u_x + u_xxx = 0 on the line."""
    return SPEED / 2 / torch.cosh(math.sqrt(SPEED) / 2 * (x - 20 - SPEED * (t - 0.5))) ** 2


@pytest.mark.parametrize("method", ["etdrk4", "krogstad4", "etdrk3", "etdrk2", "etd1"])
def test_order_on_a_soliton(method: str):
    """L = i k^3 is imaginary: were its weights made real, every method would be of order 1.

    On a box of length 40 the soliton is below exp(-36) at the ends, and its spectrum, exp(-pi k / sqrt(c)), below 1e-13
    at the highest of 256 points' waves, so that the error is the steps'.
    """
    grid = PeriodicGrid((256,), (40.0,))
    (x,) = grid.coordinates(FLOAT64)
    first = grid.derivative_symbol(0, FLOAT64)
    field = Semilinear(-(first**3), lambda t, y: -3 * first * grid.transform(grid.inverse(y).square()))
    exact = torch.stack([grid.transform(soliton(t, x)) for t in (0.0, 1.0)]).unsqueeze(0)
    order = SEMILINEAR[method].order
    steps = {1: (2000, 4000), 2: (400, 800), 3: (400, 800), 4: (1600, 3200)}[order]
    measured, error = slope(field, exact, torch.tensor([0.0, 1.0], dtype=torch.float64), method, steps)
    if method == "etdrk4":
        # 1e-9 of coefficients up to 26, which is 9e-11 of u. With the real parts of the weights u errs by 1.3e-2.
        assert error < 1e-8
    assert measured == pytest.approx(order, abs=0.1)
