"""Orders measured: every method on problems whose solutions are known, in float64."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.diagonally_implicit import (
    DIAGONALLY_IMPLICIT,
    DiagonallyImplicit,
    DiagonallyImplicitStepper,
)
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.registry import TABLEAUS
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.stepping.step_control import StepControl

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


class Spin:
    """u' = -w v, v' = w u with w = u^2 + v^2 + cos(t) / 2: from (1, 0) a circle run through with angle t + sin(t) / 2.

    Errors grow with time, so that a high order shows before rounding hides it.
    """

    end = 20.0

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(-1)
        rate = u**2 + v**2 + (t if t.dim() == 0 else t.view(-1)).cos() / 2
        return torch.stack([-rate * v, rate * u], dim=-1)

    def solution(self, t: Tensor) -> Tensor:
        angle = t + t.sin() / 2
        return torch.stack([angle.cos(), angle.sin()], dim=-1)


class Mirrored:
    """y' = cos(t) sqrt(1 + y^2) from t = -2 to 2, where y = sinh(sin t).

    With f(-t, -y) = f(t, y) the solution is odd, and turning t and y round turns a method's steps round. Of the error's
    expansion in powers of h, the parts whose local terms are of even order, h^9 for a method of order 8 being the
    first, gather on the way to t = 0 what they lose on the way from there: at the end

        e = C h^p (1 + k h^2 + ...).
    """

    start, end = -2.0, 2.0

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.cos(t if t.dim() == 0 else t.view(-1, 1)) * torch.sqrt(1 + y**2)

    def solution(self, t: Tensor) -> Tensor:
        return torch.sinh(torch.sin(t)).unsqueeze(-1)


PROBLEMS = [Scalar(), Planar()]
STEPS = {1: (400, 800), 2: (400, 800), 3: (800, 1600), 4: (80, 160), 5: (800, 1600), 8: (200, 280)}
IMPLICIT_STEPS = {1: (200, 400), 2: (80, 160), 3: (60, 120), 4: (50, 100)}
"""Numbers of steps for each order: enough for the leading term to rule, few enough for it to exceed rounding."""


def error(problem, steps: int, **options) -> float:
    """Largest error over all output times of a solve with equal steps."""
    times = torch.linspace(0, problem.end, steps + 1, dtype=torch.float64)
    exact = problem.solution(times)
    return (solve_ode(problem.field, exact[:1], times, **options).states[0] - exact).abs().max().item()


def slope(steps: list[int], errors: list[float]) -> float:
    """The power of the step in the last halving, where the leading term rules."""
    return np.log(errors[-2] / errors[-1]) / np.log(steps[-1] / steps[-2])


def step_error(problem, steps: int, method: str, between: tuple[float, ...] = (), **options) -> float:
    """Largest error of a solve with equal steps, at their ends and at these shares of every one."""
    h = problem.end / steps
    ends = torch.linspace(0, problem.end, steps + 1, dtype=torch.float64)
    inner = [ends[:-1] + share * h for share in between]
    times = torch.cat([ends, *inner]).sort().values
    exact = problem.solution(times)
    return (solve_ode(problem.field, exact[:1], times, method=method, **options).states[0] - exact).abs().max().item()


@pytest.mark.parametrize("tableau", [t for t in TABLEAUS.values() if t.order < 8], ids=lambda t: t.name)
@pytest.mark.parametrize("problem", [*PROBLEMS, Spin()], ids=lambda p: type(p).__name__)
def test_native_methods_have_their_order(tableau: Tableau, problem):
    if (tableau.order >= 5) != isinstance(problem, Spin):
        pytest.skip("low orders are measured on the first two problems, high ones on the third")
    steps = STEPS[tableau.order]
    errors = [step_error(problem, n, tableau.name, step_size=problem.end / n) for n in steps]
    assert slope(list(steps), errors) == pytest.approx(tableau.order, abs=0.1)


def test_the_eighth_order_method_has_its_order():
    """Fitted is log e = log C + p log h + k h^2 to every number of steps whose error lies between two bounds.

    The coefficients were chosen to make C small, so that the terms after it bend the slope down to where rounding takes
    over. Of these terms the problem leaves the even ones, and k takes up the first. Errors level off at 2e-15, where
    sums of size 1 round: 1e-12 is some hundred times that. At 1e-8, four decades up, h is three times as long, and
    h^4, which is left out, eighty times what it was.
    """
    problem, points = Mirrored(), []
    ends = torch.tensor([problem.start, problem.end], dtype=torch.float64)
    exact = problem.solution(ends)
    for n in range(4, 40):
        solved = solve_ode(problem.field, exact[:1, None], ends, method="dopri8", step_size=(4.0 + 1e-9) / n)
        points.append((4.0 / n, abs(float(solved.states[0, -1]) - float(exact[-1]))))
    h, errors = np.array([point for point in points if 1e-12 < point[1] < 1e-8]).T
    assert len(h) > 10
    assert h.max() / h.min() > 2  # more than a halving
    columns = np.stack([np.ones_like(h), np.log(h), h**2], axis=1)
    order = np.linalg.lstsq(columns, np.log(errors), rcond=None)[0][1]
    assert order == pytest.approx(8, abs=0.1)


implicit = pytest.mark.parametrize("table", DIAGONALLY_IMPLICIT.values(), ids=lambda t: t.name)
problems = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: type(p).__name__)


@problems
@implicit
def test_implicit_methods_have_their_order(table: DiagonallyImplicit, problem):
    """Stages are solved to 1e-14, a thousandth of the least error here."""
    steps = IMPLICIT_STEPS[table.order]
    errors = [error(problem, n, method=table.name, step_size=problem.end / n, rtol=1e-12, atol=1e-12) for n in steps]
    assert errors[1] > 1e-11
    assert slope(list(steps), errors) == pytest.approx(table.order, abs=0.1)


@problems
@implicit
def test_dense_output_of_implicit_methods_has_their_order(table: DiagonallyImplicit, problem):
    """At three places inside every step of a whole solve."""
    errors, steps = [], IMPLICIT_STEPS[table.order]
    for count in steps:
        stepper = DiagonallyImplicitStepper(table, rtol=1e-12, atol=1e-12)
        field = BoundField(problem.field, None, 1)
        times = torch.linspace(0, problem.end, count + 1, dtype=torch.float64)
        y, first, h, worst = problem.solution(times[:1]), None, times[1] - times[0], 0.0
        with torch.no_grad():
            for t in times[:-1]:
                taken = stepper.step(field, t, h, y, first)
                for share in (0.3, 0.5, 0.8):
                    weights = stepper.weights(times.new_tensor(share))
                    dense = y + h * sum(w * k for w, k in zip(weights, taken.slopes, strict=True))
                    worst = max(worst, (dense - problem.solution(t + share * h)).abs().max().item())
                y, first = taken.y, taken.last
        errors.append(worst)
    assert slope(list(steps), errors) == pytest.approx(table.order, abs=0.1)


@pytest.mark.parametrize("table", [t for t in DIAGONALLY_IMPLICIT.values() if t.error], ids=lambda t: t.name)
@problems
def test_error_estimates_of_implicit_methods_have_the_order_declared(table: DiagonallyImplicit, problem):
    """The estimate of one step from the same start is O(h^{p+1})."""
    t, estimates = torch.tensor(0.5, dtype=torch.float64), []
    for h in (0.01, 0.005):
        stepper, field = DiagonallyImplicitStepper(table, rtol=1e-14, atol=1e-14), BoundField(problem.field, None, 1)
        with torch.no_grad():
            found = stepper.step(field, t, t.new_tensor(h), problem.solution(t[None]), None).error
        assert found is not None
        estimates.append(found.abs().max().item())
    assert table.error_order is not None
    assert slope([1, 2], estimates) == pytest.approx(table.error_order + 1, abs=0.1)


@pytest.mark.parametrize("stepping", ["shared", "per_sample"])
@pytest.mark.parametrize("name", [t.name for t in TABLEAUS.values() if t.dense])
def test_dense_output_has_the_order_of_its_method(name: str, stepping: Any):
    """With a tolerance that any step keeps, all steps have the length of the longest; outputs lie inside them."""
    order = TABLEAUS[name].order
    errors = []
    for n in STEPS[order]:
        control = StepControl(first_step=20.0 / n, max_step=20.0 / n)
        options: dict[str, Any] = {"control": control, "rtol": 1e9, "atol": 1e9, "stepping": stepping}
        errors.append(step_error(Spin(), n, name, between=(0.3, 0.5, 0.8), **options))
    assert slope(list(STEPS[order]), errors) == pytest.approx(order, abs=0.1)


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


Tree = tuple["Tree", ...]


@cache
def rooted_trees(order: int) -> list[Tree]:
    """Every rooted tree with so many vertices: 1, 1, 2, 4, 9, 20, 48, 115, ... of them (Butcher, 2008, section 300)."""
    if order == 1:
        return [()]
    found = set()
    for smaller in range(1, order):
        for branch in rooted_trees(smaller):
            for rest in rooted_trees(order - smaller):
                found.add(tuple(sorted((*rest, branch))))
    return sorted(found)


def vertices(tree: Tree) -> int:
    return 1 + sum(vertices(branch) for branch in tree)


def density(tree: Tree) -> int:
    return vertices(tree) * int(np.prod([density(branch) for branch in tree], dtype=np.int64))


def elementary_weights(tableau: Tableau, weights: Any, order: int) -> list[float]:
    """Return sum_i b_i Phi_i(tree) for every tree of an order (Butcher, 2008, section 312)."""
    rows = [*tableau.a, tableau.b, *tableau.extra_a][: len(weights)]
    a = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        a[i, : len(row)] = row

    def elementary(tree: Tree) -> Array:
        return np.prod([a @ elementary(branch) for branch in tree], axis=0) if tree else np.ones(len(rows))

    return [float(np.dot(weights, elementary(tree))) for tree in rooted_trees(order)]


def misses(tableau: Tableau, weights: Any, order: int, theta: float = 1.0) -> float:
    """How far weights are from the order conditions sum_i b_i Phi_i(tree) = theta^order / density (section 315)."""
    found = zip(elementary_weights(tableau, weights, order), rooted_trees(order), strict=True)
    return max(abs(weight - theta**order / density(tree)) for weight, tree in found)


@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=lambda t: t.name)
def test_coefficients_keep_the_order_conditions_and_no_more(tableau: Tableau):
    assert [len(rooted_trees(order)) for order in range(1, 6)] == [1, 1, 2, 4, 9]
    assert [len(row) for row in tableau.a] == list(range(tableau.stages))
    # Coefficients of size up to 13, in products of up to five, and of the eighth order up to 40, are held to 16 digits.
    rounding = 1e-12 if tableau.order == 8 else 1e-13
    np.testing.assert_allclose([sum(row) for row in tableau.a], tableau.c, rtol=0, atol=rounding)
    for order in range(1, tableau.order + 1):
        assert misses(tableau, tableau.b, order) < rounding
    assert misses(tableau, tableau.b, tableau.order + 1) > 1e-7


@pytest.mark.parametrize("tableau", [t for t in TABLEAUS.values() if t.dense], ids=lambda t: t.name)
def test_dense_output_keeps_the_order_conditions_of_one_order_less(tableau: Tableau):
    """y(t + theta h) is as accurate as a method of order p - 1 in one step of length theta h, and ends on y'."""
    stepper = ExplicitRungeKutta(tableau, estimate=True)
    ends = stepper.weights(torch.tensor([0.0, 1.0], dtype=torch.float64)).numpy()  # pyright: ignore[reportOptionalMemberAccess]
    np.testing.assert_allclose(ends[0], 0, atol=0)
    np.testing.assert_allclose(ends[1], [*tableau.b, *[0] * (ends.shape[1] - tableau.stages)], atol=1e-11)
    for theta in (0.25, 0.6):
        weights = stepper.weights(torch.tensor(theta, dtype=torch.float64)).numpy()  # pyright: ignore[reportOptionalMemberAccess]
        for order in range(1, tableau.order):
            assert misses(tableau, weights, order, theta) < (1e-11 if tableau.order == 8 else 1e-14)


@pytest.mark.parametrize("tableau", [t for t in TABLEAUS.values() if t.adaptive], ids=lambda t: t.name)
def test_error_estimates_vanish_to_the_order_declared(tableau: Tableau):
    """The estimate is h^(p + 1): its weights annul every condition up to p = error_order, and not the next."""
    estimates = {tableau.error_order: tableau.error}
    if tableau.error_damping:  # the first of two estimates is of fifth order, the pair of them of seventh
        estimates = {5: tableau.error, 3: tableau.error_damping}
    for order, weights in estimates.items():
        trimmed = weights[: tableau.stages] if weights[-1] == 0 else weights
        assert order is not None
        for lower in range(1, order + 1):
            assert max(map(abs, elementary_weights(tableau, trimmed, lower))) < 1e-13
        assert max(map(abs, elementary_weights(tableau, trimmed, order + 1))) > 1e-6


def test_ralston_has_the_least_error_bound_of_its_family():
    """With a_21 = c the second-order family misses the condition b c^2 = 1/3 by |c / 2 - 1/3|: none at c = 2/3."""
    ralston = TABLEAUS["ralston"]
    assert np.dot(ralston.b, np.square(ralston.c)) == pytest.approx(1 / 3, abs=1e-15)


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


@pytest.mark.parametrize("name", ["bosh3", "dopri5", "tsit5", "dopri8"])
def test_kept_steps_interpolate_as_outputs_do(name: str):
    """One interval, no output inside it; asked afterwards, as (Q,) and as (B, Q), with gradients."""
    problem, asked = Planar(), torch.linspace(0, 1.5, 40, dtype=torch.float64)
    start = problem.solution(asked[:1]).repeat(2, 1).requires_grad_()
    options: dict[str, Any] = {"method": name, "rtol": 1e-7, "atol": 1e-9}
    solved = solve_ode(problem.field, start, asked[[0, -1]], dense=True, **options)
    outputs = solve_ode(problem.field, start, asked, **options).states
    between = solved.interpolate(asked)
    # The same steps, the same polynomials; sums in another order.
    torch.testing.assert_close(between, outputs, rtol=1e-12, atol=1e-12)
    own = solved.interpolate(torch.stack([asked, asked.flip(0)]))
    torch.testing.assert_close(own[1], between[1].flip(0), rtol=1e-13, atol=1e-13)
    grads = [torch.autograd.grad(states.sin().sum(), start, retain_graph=True)[0] for states in (between, outputs)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)


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
