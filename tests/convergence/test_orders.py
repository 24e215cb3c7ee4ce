"""Orders measured: every method on problems whose solutions are known, in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.numerics import solve_ode
from integrand.core.numerics.tableau import TABLEAUS, Tableau

Array = np.ndarray


class Scalar:
    """y' = -2 t y^2, y = 1 / (1 + t^2): non-autonomous and nonlinear."""

    end = 2.0

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        return -2 * (t if t.dim() == 0 else t.view(-1, 1)) * y**2

    def solution(self, t: Tensor) -> Tensor:
        return (1 / (1 + t**2)).unsqueeze(-1)


class Planar:
    """u' = 2 t u log v, v' = -2 t v log u, u = exp(sin t^2), v = exp(cos t^2): Hairer and others (1993), II.4."""

    end = 1.5

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(-1)
        return 2 * (t if t.dim() == 0 else t.view(-1))[..., None] * torch.stack([u * v.log(), -v * u.log()], dim=-1)

    def solution(self, t: Tensor) -> Tensor:
        return torch.stack([(t**2).sin().exp(), (t**2).cos().exp()], dim=-1)


PROBLEMS = [Scalar(), Planar()]


def error(problem, steps: int, **options) -> float:
    """Largest error over all output times of a solve with equal steps."""
    times = torch.linspace(0, problem.end, steps + 1, dtype=torch.float64)
    exact = problem.solution(times)
    return (solve_ode(problem.field, exact[:1], times, **options).states[0] - exact).abs().max().item()


def slope(steps: list[int], errors: list[float]) -> float:
    """The power of the step in the last halving, where the leading term rules."""
    return np.log(errors[-2] / errors[-1]) / np.log(steps[-1] / steps[-2])


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=lambda t: t.name)
def test_native_methods_have_their_order(tableau: Tableau, problem):
    steps = [80, 160] if tableau.order == 4 else [400, 800]
    errors = [error(problem, n, method=tableau.name, engine="native") for n in steps]
    assert slope(steps, errors) == pytest.approx(tableau.order, abs=0.1)


@pytest.mark.parametrize(
    ("method", "order"),
    # A multistep method of four past values, the implicit one with one more.
    [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4), ("explicit_adams", 3), ("implicit_adams", 4)],
)
def test_torchdiffeq_methods_have_their_order(method: str, order: int):
    steps = [160, 320] if order > 2 else [400, 800]
    errors = [error(Scalar(), n, method=method, engine="torchdiffeq", rtol=1e-12, atol=1e-12) for n in steps]
    assert slope(steps, errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_step_size_keeps_the_order_at_output_times_it_does_not_divide(engine: Any, per_sample: bool):
    """Three output times at uneven places, none a multiple of the step."""
    times = torch.tensor([0.0, 0.31, 1.07, 2.0], dtype=torch.float64)
    exact, problem = Scalar().solution(times), Scalar()
    asked = times.expand(1, -1) if per_sample else times
    steps = [20, 40, 80]
    errors = []
    for n in steps:
        solved = solve_ode(problem.field, exact[:1], asked, method="rk4", engine=engine, step_size=2 / n)
        errors.append((solved.states[0] - exact).abs().max().item())
    assert slope(steps, errors) == pytest.approx(4, abs=0.3)  # whole steps in an interval: not quite halved


def elementary_weights(tableau: Tableau) -> dict[int, list[tuple[Any, float]]]:
    """The order conditions up to 4 as (left, right): Hairer, Norsett and Wanner (1993), Table II.2.1."""
    s = tableau.stages
    a = np.zeros((s, s))
    for i, row in enumerate(tableau.a):
        a[i, : len(row)] = row
    b, c = np.array(tableau.b), np.array(tableau.c)
    return {
        1: [(b.sum(), 1)],
        2: [(b @ c, 1 / 2)],
        3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        4: [(b @ c**3, 1 / 4), ((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
        5: [(b @ c**4, 1 / 5)],
    }


@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=lambda t: t.name)
def test_coefficients_keep_the_order_conditions_and_no_more(tableau: Tableau):
    assert [len(row) for row in tableau.a] == list(range(tableau.stages))
    np.testing.assert_allclose([sum(row) for row in tableau.a], tableau.c, rtol=0, atol=1e-15)
    weights = elementary_weights(tableau)
    for order in range(1, tableau.order + 1):
        for left, right in weights[order]:
            assert left == pytest.approx(right, abs=1e-15)
    assert any(abs(left - right) > 1e-3 for left, right in weights[tableau.order + 1])


def test_ralston_has_the_least_error_bound_of_its_family():
    """With a_21 = c the second-order family misses the condition b c^2 = 1/3 by |c / 2 - 1/3|: none at c = 2/3."""
    weights = elementary_weights(TABLEAUS["ralston"])
    left, right = weights[3][0]
    assert left == pytest.approx(right, abs=1e-15)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_interpolation_is_of_fourth_order(problem):
    steps, errors = [40, 80], []
    for n in steps:
        times = torch.linspace(0, problem.end, n + 1, dtype=torch.float64)
        # States within 1e-12, four digits below the least error measured here.
        solved = solve_ode(problem.field, problem.solution(times[:1]), times, method="dopri5", rtol=1e-12, atol=1e-13)
        between = torch.cat([times[:-1] + share * times.diff() for share in (0.25, 0.5, 0.8)])
        errors.append((solved.interpolate(between)[0] - problem.solution(between)).abs().max().item())
    assert errors[-1] > 1e-9
    assert slope(steps, errors) == pytest.approx(4, abs=0.1)


def test_interpolation_is_exact_on_cubics():
    """y' = 3 t^2 - 1 has the solution t^3 - t, which a cubic repeats everywhere, also beyond the ends."""
    times = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    solved = solve_ode(
        lambda t, y: (3 * t**2 - 1).view(-1, 1).expand_as(y), torch.zeros(2, 1).double(), times, method="rk4"
    )
    asked = torch.linspace(-1, 3, 41, dtype=torch.float64)
    expected = (asked**3 - asked).view(1, -1, 1).expand(2, -1, 1)
    torch.testing.assert_close(solved.interpolate(asked), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "optimism", "tolerances"),
    # How far the error of a step may exceed its estimate: 1 where that is the error of a lower-order solution, and 512
    # for Fehlberg's second-order pair, whose two solutions differ by 1 / 512 of a step's last slope.
    # Tolerances at which the solve takes more than a few steps; the eighth order needs tight ones for that.
    [
        ("dopri5", 1, [1e-4, 1e-6, 1e-8]),
        ("dopri8", 1, [1e-8, 1e-10, 1e-12]),
        ("bosh3", 1, [1e-3, 1e-5, 1e-7]),
        ("adaptive_heun", 1, [1e-3, 1e-4, 1e-6]),
        ("fehlberg2", 512, [1e-4, 1e-5, 1e-7]),
    ],
)
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)
def test_the_error_of_adaptive_methods_follows_the_tolerance(method: str, optimism: float, tolerances, problem):
    """Each accepted step errs by at most rtol |y| + atol, which the flow then amplifies.

    A neighbouring solution of the scalar problem draws nearer. That of the planar one turns about it in the plane of
    log u and log v, so that in u and v, which lie between 1/e and e, a distance grows by e^2 at the most. So the error
    at every output time is below steps * amplification * tolerance * (1 + |y|). At the last time it falls in proportion
    to the tolerance, within a factor of ten for all three or more decades.
    """
    times = torch.linspace(0, problem.end, 8, dtype=torch.float64)
    exact = problem.solution(times)
    amplification = 1 if isinstance(problem, Scalar) else np.e**2
    last = []
    for tolerance in tolerances:
        options = {"method": method, "rtol": tolerance, "atol": tolerance}
        solved = solve_ode(problem.field, exact[:1], times, **options)
        steps = int(solved.stats.accepted[0])
        bound = optimism * steps * amplification * tolerance * (1 + exact.abs().max().item())
        assert (solved.states[0] - exact).abs().max().item() < bound
        ends = solve_ode(problem.field, exact[:1], times[[0, -1]], **options).states[0, -1]
        last.append((ends - exact[-1]).abs().max().item())
    assert 0.1 < (last[0] / last[-1]) / (tolerances[0] / tolerances[-1]) < 10
