"""Strong and weak orders measured, in float64, on equations whose solutions are known along each path.

The seeded path is the same at every step size, so that errors at different steps differ by the step alone. Errors are
root mean squares over P paths; those of two steps are of the same paths, and the slope between them is known to about
1 / sqrt(P), a hundredth here.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stochastic.brownian import BrownianPath, Increments
from integrand.core.numerics.stochastic.schemes import SCHEMES, SRI2W1

torch64 = torch.float64
PATHS = 1500


def methods(noise: str) -> list[tuple[str, str]]:
    """The methods made for a type of noise, with each calculus they are for."""
    return [(name, calculus) for name, one in SCHEMES.items() if noise in one.strong for calculus in one.calculus]


def of(t: Tensor, y: Tensor) -> Tensor:
    """Time in a shape that multiplies states."""
    return t if t.dim() == 0 else t.view(-1, *(1,) * (y.dim() - 1))


class Problem(NamedTuple):
    """An equation, its start, and its solution at t = 1 as a function of W(1)."""

    drift: Callable[[Tensor, Tensor], Tensor]
    diffusion: Callable[[Tensor, Tensor], Tensor]
    start: Tensor
    exact: Callable[[Tensor], Tensor]
    channels: int


def geometric(calculus: str) -> Problem:
    """dX = m X dt + s X dW, each component its own: Kloeden and Platen (1992), Section 4.4."""
    m, s, x0 = 0.7, torch.tensor([0.5, 0.3], dtype=torch64), torch.tensor([1.0, 2.0], dtype=torch64)
    drop = s**2 / 2 if calculus == "ito" else torch.zeros(2, dtype=torch64)
    return Problem(
        lambda t, y: m * y,
        lambda t, y: s * y,
        x0,
        lambda w: x0 * torch.exp(m - drop + s * w),
        2,
    )


def arctangent(calculus: str, kind: str = "diagonal") -> Problem:
    """X = arctan(tan x0 + sin t + a W), which solves dX = cos^2 X (cos t dt + a o dW), in Stratonovich's reading.

    Nonlinear and not autonomous; Kloeden and Platen (1992), Section 4.4, without sin t.
    """
    a = torch.tensor([1.0, -0.6], dtype=torch64)
    x0 = torch.tensor([0.2, -0.5], dtype=torch64)

    def drift(t: Tensor, x: Tensor) -> Tensor:
        correction = a**2 * x.sin() * x.cos() ** 3 if calculus == "ito" else 0
        return x.cos() ** 2 * of(t, x).cos() - correction

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        g = a * x.cos() ** 2
        return {"diagonal": g, "scalar": g.unsqueeze(-1), "matrix": torch.diag_embed(g)}[kind]

    channels = 1 if kind == "scalar" else 2
    return Problem(drift, diffusion, x0, lambda w: torch.atan(x0.tan() + math.sin(1) + a * w), channels)


def driven() -> Problem:
    """dX = -k (X - sin t) dt + (1 + t) B dW with additive noise that grows.

    X exp(k t) = x0 + int k e^(k s) sin s ds + int c(s) B dW with c(s) = (1 + s) e^(k s), of which the last is, by
    parts, c(t) B W - B int c' W ds. That integral is taken on cells from the path's own integrals, h (W/2 + H), with
    c' at the middle: an error of h^2 / 12 times c'' and the rise of W, 1e-6.
    """
    k, cells = 1.5, 512
    b = torch.tensor([[1.0, 0.3, -0.5], [0.2, -0.7, 0.4]], dtype=torch64)
    x0 = torch.tensor([1.0, -0.5], dtype=torch64)

    def exact(w: Tensor) -> Tensor:
        h, (rise, area) = 1 / cells, told(3, cells)
        assert area is not None
        middle = (torch.arange(cells, dtype=torch64) + 0.5) * h
        speed = (1 + k * (1 + middle)) * torch.exp(k * middle)
        integral = (speed.view(-1, 1, 1) * h * (rise.cumsum(0) - rise / 2 + area)).sum(0)
        forced = k * (math.exp(k) * (k * math.sin(1) - math.cos(1)) + 1) / (k**2 + 1)
        return math.exp(-k) * (x0 + forced + (2 * math.exp(k) * w - integral) @ b.T)

    return Problem(
        lambda t, x: -k * (x - of(t, x).sin()),
        lambda t, x: (1 + of(t, x)).unsqueeze(-1) * b.expand(len(x), -1, -1),
        x0,
        exact,
        3,
    )


def logistic() -> Problem:
    """dZ = (r - e^Z) dt + s dW, the logarithm of logistic growth: nonlinear with additive noise.

    Z = x - log(e^(-z0) + int e^x ds) with x = r t + s W; Kloeden and Platen (1992), Section 4.4. On cells of length h
    the integral is known from W and H: along the chord from x_0 to x_1 it is h (e^(x_1) - e^(x_0)) / (x_1 - x_0), and
    the path's height b over the chord, the mean of which is H, and of b^2 given H is 6/5 H^2 + h/15, adds
    h e^x (s H + s^2 / 2 (6/5 H^2 + h / 15)). What is left has mean 0 and size h^2 in a cell: with cells 8 times shorter
    than the shortest step, 20 times below the errors of order 3/2 measured.
    """
    r, s, z0, cells = 0.5, 1.0, 0.2, 1024

    def exact(w: Tensor) -> Tensor:
        h, (rise, area) = 1 / cells, told(1, cells)
        assert area is not None
        x = r * torch.arange(1, cells + 1, dtype=torch64).view(-1, 1, 1) * h + s * rise.cumsum(0)
        change = r * h + s * rise
        chord = torch.exp(x - change) * torch.expm1(change) / change
        height = torch.exp(x - change / 2) * (s * area + s**2 / 2 * (1.2 * area**2 + h / 15))
        return r + s * w - torch.log(math.exp(-z0) + h * (chord + height).sum(0))

    start = torch.tensor([z0], dtype=torch64)
    return Problem(lambda t, z: r - z.exp(), lambda t, z: torch.full_like(z, s).unsqueeze(-1), start, exact, 1)


def turning(calculus: str) -> Problem:
    """dX = c X dt + p X dW_1 + q J X dW_2 in the plane, J a quarter turn: matrices that commute."""
    c, p, q = 0.3, 0.5, 0.9
    x0 = torch.tensor([1.0, 0.5], dtype=torch64)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch64)
    drop = (p**2 - q**2) / 2 if calculus == "ito" else 0.0

    def exact(w: Tensor) -> Tensor:
        angle = q * w[:, 1:]
        return (angle.cos() * x0 + angle.sin() * (turn @ x0)) * torch.exp(c - drop + p * w[:, :1])

    return Problem(lambda t, x: c * x, lambda t, x: torch.stack([p * x, q * x @ turn.T], dim=-1), x0, exact, 2)


def bent(calculus: str) -> Problem:
    """u = u0 + A W + (t^2, t), seen as x = (arctan u_1, u_2 + arctan(u_1)^2): bent fields that commute.

    In Stratonovich's reading dx = D (2 t, 1) dt + D A o dW with D the derivative of x by u; Ito's drift has
    1/2 sum_j (dg_j/dx) g_j besides.
    """
    a = torch.tensor([[0.8, -0.3], [0.4, 0.6]], dtype=torch64)
    u0 = torch.tensor([0.3, -0.2], dtype=torch64)

    def push(x: Tensor, v: Tensor) -> Tensor:
        """D v for a vector v of u; v's last dimension may count columns."""
        first = x[:, 0].cos().square().view(-1, *(1,) * (v.dim() - 2)) * v[:, 0]
        return torch.stack([first, v[:, 1] + 2 * x[:, 0].view(-1, *(1,) * (v.dim() - 2)) * first], dim=1)

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        return push(x, a.expand(len(x), -1, -1))

    def drift(t: Tensor, x: Tensor) -> Tensor:
        speed = torch.stack([2 * t, torch.ones_like(t)], dim=-1).expand(len(x), 2)
        flow = push(x, speed)
        if calculus == "stratonovich":
            return flow
        # With g_1 = a_1 cos^2 x_1 and g_2 = a_2 + 2 x_1 g_1: (dg_1/dx_1) g_1 and (dg_2/dx_1) g_1, summed over j.
        total = (a[0] ** 2).sum()
        slope = -2 * x[:, 0].cos() ** 3 * x[:, 0].sin() * total
        return flow + torch.stack([slope, 2 * x[:, 0].cos() ** 4 * total + 2 * x[:, 0] * slope], dim=-1) / 2

    def seen(u: Tensor) -> Tensor:
        return torch.stack([u[..., 0].atan(), u[..., 1] + u[..., 0].atan() ** 2], dim=-1)

    return Problem(drift, diffusion, seen(u0), lambda w: seen(u0 + w @ a.T + 1), 2)


@cache
def told(channels: int, steps: int) -> Increments:
    """The paths' increments and areas in equal steps over [0, 1]."""
    path = BrownianPath(torch.arange(PATHS), channels, 0.0, 1.0, dtype=torch64)
    return path.increments(torch.linspace(0, 1, steps + 1, dtype=torch64), area=True)


class Kept:
    """The same paths for every problem, computed once."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        return told(self.channels, len(grid) - 1)


def strong_slope(problem: Problem, steps: tuple[int, int], **options: Any) -> float:
    """The power of the step in the root mean square error at t = 1."""
    exact = problem.exact(told(problem.channels, 1).w[0])
    start, errors = problem.start.expand(PATHS, -1), []
    for n in steps:
        kept = Kept(problem.channels)
        solved = solve_sde(
            problem.drift, problem.diffusion, start, [0.0, 1.0], step_size=1 / n, brownian=kept, **options
        )
        errors.append((solved.states[:, -1] - exact).square().sum(-1).mean().sqrt().item())
    return slope(steps, errors)


STEPS = {0.5: (64, 256), 1.0: (64, 128), 1.5: (16, 64)}
"""Numbers of steps at which the leading term of an error of this order rules."""


def slope(steps: Sequence[int], errors: Sequence[float]) -> float:
    return math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])


@pytest.mark.parametrize(("method", "calculus"), methods("diagonal"))
@pytest.mark.parametrize("problem", [geometric, arctangent], ids=lambda p: p.__name__)
def test_strong_order_with_diagonal_noise(method: str, calculus: str, problem):
    declared = SCHEMES[method].strong["diagonal"]
    order = 1.0 if method == "reversible_heun" and problem is geometric else declared
    measured = strong_slope(problem(calculus), STEPS[order], method=method, calculus=calculus)
    assert measured == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("method", "calculus"), methods("scalar"))
def test_strong_order_with_scalar_noise(method: str, calculus: str):
    order = SCHEMES[method].strong["scalar"]
    problem = arctangent(calculus, "scalar")
    measured = strong_slope(problem, STEPS[order], method=method, calculus=calculus, noise="scalar")
    assert measured == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("method", [name for name, scheme in SCHEMES.items() if "additive" in scheme.strong])
@pytest.mark.parametrize("problem", [driven, logistic], ids=lambda p: p.__name__)
def test_strong_order_with_additive_noise(method: str, problem):
    # What Roessler's scheme leaves at order 3/2 is the drift's curvature, which a linear equation has not.
    order = 2.0 if method == "srk" and problem is driven else SCHEMES[method].strong["additive"]
    measured = strong_slope(problem(), (64, 128), method=method, noise="additive")
    assert measured == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("method", "calculus"), methods("commutative"))
@pytest.mark.parametrize("problem", [turning, bent], ids=lambda p: p.__name__)
def test_strong_order_with_commutative_noise(method: str, calculus: str, problem):
    order = SCHEMES[method].strong["commutative"]
    # On these two the reversible scheme is nearly of order 1.
    asked = arctangent(calculus, "matrix") if method == "reversible_heun" else problem(calculus)
    measured = strong_slope(asked, STEPS[order], method=method, calculus=calculus, noise="commutative")
    assert measured == pytest.approx(order, abs=0.1)


def levy_area() -> Problem:
    """dX_1 = dW_1, dX_2 = X_1 dW_2, whose columns do not commute; X_2 = int W_1 dW_2 in either reading.

    The integral is a sum over cells of length h, by which its error is sqrt(h / 12); that of a step H is of the same
    form, so that the two differ by sqrt(H - h), which 64 cells a step leave within 1 % of sqrt(H).
    """
    cells = 1024

    def exact(w: Tensor) -> Tensor:
        rise = told(2, cells).w
        middle = rise[..., 0].cumsum(0) - rise[..., 0] / 2
        return torch.stack([w[:, 0], (middle * rise[..., 1]).sum(0)], dim=-1)

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        none = torch.zeros_like(x[:, 0])
        return torch.stack([torch.stack([none + 1, none], -1), torch.stack([none, x[:, 0]], -1)], dim=1)

    return Problem(lambda t, x: torch.zeros_like(x), diffusion, torch.zeros(2, dtype=torch64), exact, 2)


@pytest.mark.parametrize(("method", "calculus"), methods("general"))
def test_strong_order_with_noise_that_does_not_commute(method: str, calculus: str):
    order = SCHEMES[method].strong["general"]
    measured = strong_slope(levy_area(), (4, 16), method=method, calculus=calculus, noise="general")
    assert measured == pytest.approx(order, abs=0.1)


# Weak orders


class Quadrature:
    """One step whose W and H take the nodes of Gauss and Hermite's rule, which turns sums into expectations."""

    def __init__(self, h: float, nodes: int = 5) -> None:
        x, weights = np.polynomial.hermite_e.hermegauss(nodes)
        pairs = torch.tensor([(a, b) for a in x for b in x], dtype=torch64)
        self.weights = torch.tensor([a * b for a in weights for b in weights], dtype=torch64) / (2 * math.pi)
        self.w, self.area = (pairs * torch.tensor([h, h / 12], dtype=torch64).sqrt()).T.view(2, 1, -1, 1)

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        return Increments(self.w, self.area)


@pytest.mark.parametrize(("method", "calculus"), [pair for pair in methods("diagonal") if "reversible" not in pair[0]])
@pytest.mark.parametrize("moment", [1, 2])
def test_weak_order_on_geometric_brownian_motion(method: str, calculus: Any, moment: int):
    """dX = m X dt + s X dW: each step multiplies by an independent factor, so that E[Y_n^p] = E[factor^p]^n.

    The factor is a polynomial in W and H of degree 4 at most, and its square's expectation exact with five nodes.
    Solved, E[X^p] = exp(p (m + s^2 (p - 1) / 2)) with m + s^2 / 2 for m in Stratonovich's reading.
    """
    m, s = 0.9, 0.7
    growth = m + (s**2 / 2 if calculus == "stratonovich" else 0)
    exact, errors, order = math.exp(moment * (growth + s**2 * (moment - 1) / 2)), [], SCHEMES[method].weak
    steps = (128, 256)
    if method == "srk":
        # The mean follows an ordinary equation, for which the method is of order 3; order 2 fades late in the square.
        order, steps = (3.0, steps) if moment == 1 else (order, (2**15, 2**16))
    for n in steps:
        rule = Quadrature(1 / n)
        one = torch.ones(len(rule.weights), 1, dtype=torch64)
        factor = solve_sde(
            lambda t, y: m * y, lambda t, y: s * y, one, [0.0, 1 / n], brownian=rule, method=method, calculus=calculus
        ).states[:, -1, 0]
        errors.append(abs((rule.weights * factor**moment).sum().item() ** n - exact))
    assert slope(steps, errors) == pytest.approx(order, abs=0.1)


def test_weak_order_of_the_reversible_scheme():
    """Its steps hang together, so here the mean is over paths, of the difference from each path's own solution.

    With P = 20,000 paths and a strong error about as large as the weak one, the mean is known to 1 %.
    """
    problem, steps, errors, paths = geometric("stratonovich"), (16, 32), [], 20_000
    asked = BrownianPath(torch.arange(paths), 2, 0.0, 1.0, dtype=torch64)
    exact = problem.exact(asked(torch.tensor([1.0]))[:, 0])
    for n in steps:
        solved = solve_sde(
            problem.drift,
            problem.diffusion,
            problem.start.expand(paths, -1),
            [0.0, 1.0],
            step_size=1 / n,
            brownian=asked,
            method="reversible_heun",
            calculus="stratonovich",
        )
        errors.append((solved.states[:, -1] - exact).sum(-1).mean().abs().item())
    assert slope(steps, errors) == pytest.approx(SCHEMES["reversible_heun"].weak, abs=0.1)


def test_coefficients_keep_the_order_conditions():
    """The conditions of strong order 3/2 for diagonal noise: Roessler (2010)."""
    t, one = SRI2W1, np.ones(4)

    def square(rows) -> np.ndarray:
        full = np.zeros((4, 4))
        for i, row in enumerate(rows):
            full[i, : len(row)] = row
        return full

    a0, b0, a1, b1 = (square(rows) for rows in (t.a0, t.b0, t.a1, t.b1))
    alpha, beta = np.array(t.alpha), np.array(t.beta)
    np.testing.assert_allclose(a0 @ one, t.c0, rtol=0, atol=1e-15)
    np.testing.assert_allclose(a1 @ one, t.c1, rtol=0, atol=1e-15)
    drift = [alpha @ one, alpha @ a0 @ one, alpha @ b0 @ one, alpha @ (b0 @ one) ** 2]
    np.testing.assert_allclose(drift, [1, 1 / 2, 1, 3 / 2], rtol=0, atol=1e-14)
    # A row for each kind of increment: I_1, I_11, I_10, I_111.
    for vector, expected in (
        (one, [1, 0, 0, 0]),
        (b1 @ one, [0, 1, 0, 0]),
        (a1 @ one, [1, 0, -1, 0]),
        ((b1 @ one) ** 2, [1, 0, -1, 2]),
        (b1 @ (b1 @ one), [0, 0, 0, 1]),
    ):
        np.testing.assert_allclose(beta @ vector, expected, rtol=0, atol=1e-14)
    mixed = beta @ (a1 @ (b0 @ one))
    assert mixed[0] / 2 + mixed[2] / 3 == pytest.approx(0, abs=1e-14)
