"""Strong errors of adaptive stochastic steps against closed forms along each path, in float64.

By step doubling a scheme of strong order p makes errors of size tol^(p / (p + 1/2)) at the end; Heun's scheme, compared
with Euler's, of size tol, and tol^(2/3) for additive noise: see ``adaptive.py``. Errors are root mean squares over P
paths, the same at both tolerances, and the slope between them is known to about 1 / sqrt(P), 0.07 here.
"""

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from integrand.core.numerics.solve_sde import solve_sde
from integrand.core.numerics.stochastic.brownian import BrownianPath

torch64 = torch.float64
PATHS = 200


def of(t: Tensor, y: Tensor) -> Tensor:
    return t if t.dim() == 0 else t.view(-1, *(1,) * (y.dim() - 1))


class Problem(NamedTuple):
    """An equation, its start, and its solution at t = 1 on each path."""

    drift: Any
    diffusion: Any
    start: Tensor
    channels: int
    exact: Any


def geometric(calculus: str) -> Problem:
    """dX = m X dt + s X dW: Kloeden and Platen (1992), Section 4.4."""
    m, s, x0 = 0.7, torch.tensor([0.5, 0.3], dtype=torch64), torch.tensor([1.0, 2.0], dtype=torch64)
    drop = s**2 / 2 if calculus == "ito" else 0 * s
    return Problem(lambda t, y: m * y, lambda t, y: s * y, x0, 2, lambda path: x0 * torch.exp(m - drop + s * end(path)))


def arctangent(calculus: str, speed: float = 0.0) -> Problem:
    """X = arctan(tan x0 + c(t) + a W), which solves dX = cos^2 X (c'(t) dt + a o dW) in Stratonovich's reading.

    With c = sin t, or with a speed k the burst c = 2 tanh(k (t - 0.37)), in which all happens within 1 / k.
    """
    a, x0 = torch.tensor([1.0, -0.6], dtype=torch64), torch.tensor([0.2, -0.5], dtype=torch64)

    def rate(t: Tensor) -> Tensor:
        return 2 * speed / torch.cosh(speed * (t - 0.37)) ** 2 if speed else t.cos()

    def drift(t: Tensor, x: Tensor) -> Tensor:
        correction = a**2 * x.sin() * x.cos() ** 3 if calculus == "ito" else 0
        return x.cos() ** 2 * rate(of(t, x)) - correction

    moved = 2 * (math.tanh(speed * 0.63) + math.tanh(speed * 0.37)) if speed else math.sin(1)
    return Problem(
        drift,
        lambda t, x: a * x.cos() ** 2,
        x0,
        2,
        lambda path: torch.atan(x0.tan() + moved + a * end(path)),
    )


def relaxing(calculus: str) -> Problem:
    """dX = -k X dt + s dW: X(1) = e^(-k) x0 + s W(1) - s k int e^(-k (1 - u)) W(u) du.

    The integral is taken on 1024 cells from the path's own mean in each, with the exponential at the middle: an error
    of h^2 / 12, far below those measured.
    """
    k, s, x0, cells = 2.0, 1.0, 1.5, 1024

    def exact(path: BrownianPath) -> Tensor:
        rise, area = path.increments(torch.linspace(0, 1, cells + 1, dtype=torch64), area=True)
        assert area is not None
        mean = rise.cumsum(0) - rise / 2 + area
        middle = (torch.arange(cells, dtype=torch64) + 0.5) / cells
        integral = (torch.exp(-k * (1 - middle)).view(-1, 1, 1) * mean / cells).sum(0)
        return math.exp(-k) * x0 + s * rise.sum(0) - s * k * integral

    start = torch.tensor([x0], dtype=torch64)
    return Problem(lambda t, y: -k * y, lambda t, y: torch.full_like(y, s).unsqueeze(-1), start, 1, exact)


def turning(calculus: str) -> Problem:
    """dX = c X dt + p X dW_1 + q J X dW_2 in the plane, J a quarter turn: matrices that commute."""
    c, p, q, x0 = 0.3, 0.5, 0.9, torch.tensor([1.0, 0.5], dtype=torch64)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch64)
    drop = (p**2 - q**2) / 2 if calculus == "ito" else 0.0

    def exact(path: BrownianPath) -> Tensor:
        w, angle = end(path)[:, :1], q * end(path)[:, 1:]
        return (angle.cos() * x0 + angle.sin() * (turn @ x0)) * torch.exp(c - drop + p * w)

    return Problem(lambda t, x: c * x, lambda t, x: torch.stack([p * x, q * x @ turn.T], dim=-1), x0, 2, exact)


def levy_area(calculus: str) -> Problem:
    """dX_1 = dW_1, dX_2 = X_1 dW_2, whose columns do not commute: X_2 = int W_1 dW_2, summed on 4096 cells."""

    def exact(path: BrownianPath) -> Tensor:
        rise = path.increments(torch.linspace(0, 1, 4097, dtype=torch64)).w
        middle = rise[..., 0].cumsum(0) - rise[..., 0] / 2
        return torch.stack([rise[..., 0].sum(0), (middle * rise[..., 1]).sum(0)], dim=-1)

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        none = torch.zeros_like(x[:, 0])
        return torch.stack([torch.stack([none + 1, none], -1), torch.stack([none, x[:, 0]], -1)], dim=1)

    return Problem(lambda t, x: 0 * x, diffusion, torch.zeros(2, dtype=torch64), 2, exact)


def end(path: BrownianPath) -> Tensor:
    return path(torch.tensor([1.0], dtype=torch64))[:, 0]


def run(problem: Problem, method: str, calculus: str, noise: str, paths: int = PATHS, **steps: Any):
    """Return the root mean square error at t = 1, and the solution."""
    path = BrownianPath(torch.arange(paths), problem.channels, 0.0, 1.0, dtype=torch64)
    with torch.no_grad():
        solved = solve_sde(
            problem.drift,
            problem.diffusion,
            problem.start.expand(paths, -1),
            [0.0, 1.0],
            method=method,
            calculus=calculus,  # pyright: ignore[reportArgumentType]
            noise=noise,  # pyright: ignore[reportArgumentType]
            brownian=path,
            **steps,
        )
    gap = solved.states[:, -1] - problem.exact(path)
    return gap.square().sum(-1).mean().sqrt().item(), solved


@pytest.mark.parametrize(
    ("problem", "method", "calculus", "noise", "tolerances", "power"),
    [
        (geometric, "milstein", "stratonovich", "diagonal", (3e-3, 3e-4), 2 / 3),
        (arctangent, "milstein", "ito", "diagonal", (1e-2, 1e-3), 2 / 3),
        (arctangent, "milstein_free", "stratonovich", "diagonal", (1e-2, 1e-3), 2 / 3),
        (arctangent, "heun", "stratonovich", "diagonal", (3e-2, 3e-3), 1.0),
        (arctangent, "srk", "ito", "diagonal", (1e-3, 1e-4), 3 / 4),
        (relaxing, "euler", "ito", "additive", (1e-2, 1e-3), 2 / 3),
        (relaxing, "heun", "stratonovich", "additive", (1e-2, 1e-3), 2 / 3),
        (turning, "heun", "stratonovich", "commutative", (3e-2, 3e-3), 1.0),
        (levy_area, "heun", "stratonovich", "general", (2e-2, 3e-3), 1 / 2),
    ],
)
def test_the_error_falls_with_the_tolerance_as_it_should(
    problem: Any, method: str, calculus: str, noise: str, tolerances: tuple[float, float], power: float
):
    first, last = (run(problem(calculus), method, calculus, noise, rtol=tol, atol=tol)[0] for tol in tolerances)
    assert math.log(first / last) / math.log(tolerances[0] / tolerances[1]) == pytest.approx(power, abs=0.1)


@pytest.mark.parametrize(
    ("method", "calculus", "each"), [("milstein", "ito", 2), ("heun", "stratonovich", 4), ("srk", "ito", 7)]
)
def test_where_the_scale_varies_it_beats_equal_steps_of_the_same_cost(method: str, calculus: str, each: int):
    """A burst of a fortieth of the way, for as many evaluations of the fields as the average sample needed.

    Equal steps spend a fortieth of their work there, adaptive ones most of it; half the error at least.
    """
    problem = arctangent(calculus, speed=40.0)
    error, solved = run(problem, method, calculus, "diagonal", rtol=1e-2, atol=1e-2)
    steps = math.ceil(solved.stats.evaluations.double().mean().item() / each)
    equal, _ = run(problem, method, calculus, "diagonal", step_size=1 / steps)
    assert error < equal / 2
