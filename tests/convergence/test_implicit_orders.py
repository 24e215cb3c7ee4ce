"""Implicit methods: their coefficients, stability and orders, and the stiff problems they are for, in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.numerics import solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.diagonally_implicit import (
    DIAGONALLY_IMPLICIT,
    DiagonallyImplicit,
    DiagonallyImplicitStepper,
)
from integrand.core.numerics.methods.stepper import Step

TABLES = list(DIAGONALLY_IMPLICIT.values())
PAIRS = [table for table in TABLES if table.error]
tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
pairs = pytest.mark.parametrize("table", PAIRS, ids=lambda table: table.name)
torch64 = torch.float64


def dense_matrix(table: DiagonallyImplicit) -> np.ndarray:
    a = np.zeros((table.stages, table.stages))
    for i, row in enumerate(table.a):
        a[i, : i + 1] = row
    return a


def order_conditions(table: DiagonallyImplicit, b: np.ndarray) -> dict[int, list[tuple[Any, float]]]:
    """The conditions up to order 5 as (left, right): Hairer, Norsett and Wanner (1993), Table II.2.1; of 5 only one."""
    a, c = dense_matrix(table), np.array(table.c)
    return {
        1: [(b.sum(), 1)],
        2: [(b @ c, 1 / 2)],
        3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        4: [(b @ c**3, 1 / 4), ((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
        5: [(b @ c**4, 1 / 5)],
    }


def assert_order(table: DiagonallyImplicit, b: np.ndarray, order: int) -> None:
    conditions = order_conditions(table, b)
    for left, right in [pair for power in range(1, order + 1) for pair in conditions[power]]:
        assert left == pytest.approx(right, abs=4e-16)  # sums of up to six terms below 1
    assert any(abs(left - right) > 1e-4 for left, right in conditions[order + 1])


@tables
def test_coefficients_keep_the_order_conditions_and_no_more(table: DiagonallyImplicit):
    np.testing.assert_allclose(dense_matrix(table).sum(1), table.c, rtol=0, atol=4e-16)
    assert_order(table, np.array(table.b), table.order)
    if table.error:
        assert table.error_order is not None
        assert_order(table, np.array(table.b) - np.array(table.error), table.error_order)


@tables
def test_one_matrix_serves_all_stages(table: DiagonallyImplicit):
    assert {row[-1] for row in table.a} <= {0.0, table.gamma}
    assert all(row[-1] == table.gamma for row in table.a[1:])


@pytest.mark.parametrize("table", PAIRS, ids=lambda table: table.name)
def test_pairs_have_stage_order_two(table: DiagonallyImplicit):
    """Every stage integrates straight lines exactly: sum_j a_ij c_j = c_i^2 / 2."""
    np.testing.assert_allclose(dense_matrix(table) @ np.array(table.c), np.array(table.c) ** 2 / 2, rtol=0, atol=4e-16)


def amplification(table: DiagonallyImplicit, z: np.ndarray) -> np.ndarray:
    """R(z) = det(I - z A + z 1 b^T) / det(I - z A): Hairer and Wanner (1996), Eq. IV.3.3."""
    a, b, one = dense_matrix(table), np.array(table.b), np.eye(table.stages)
    z = z.reshape(-1, 1, 1)
    return np.linalg.det(one - z * a + z * np.outer(np.ones(len(b)), b)) / np.linalg.det(one - z * a)


@tables
def test_methods_are_stable_for_every_decaying_mode(table: DiagonallyImplicit):
    """All poles lie in the right half plane, so |R| <= 1 on the imaginary axis is |R| <= 1 left of it."""
    assert table.gamma > 0
    axis = 1j * np.concatenate([[0], np.logspace(-4, 4, 4001)])
    assert np.abs(amplification(table, axis)).max() <= 1 + 1e-12


@pytest.mark.parametrize(
    ("name", "limit"),
    [("implicit_euler", 0), ("implicit_midpoint", -1), ("trapezoid", -1), ("kvaerno3", 0), ("kencarp4", 0)],
)
@pytest.mark.parametrize("stiffness", [1e4, 1e6, 1e8])
def test_a_step_forgets_or_reflects_what_is_infinitely_stiff(name: str, limit: float, stiffness: float):
    """R(z) tends to its limit as C / |z|; with C below 30 for all five. The step itself, not its table, is measured."""
    table = DIAGONALLY_IMPLICIT[name]
    taken = step(table, lambda t, y: -stiffness * y, torch.ones(1, 1, dtype=torch64), 0.0, 1.0).y.item()
    assert abs(taken - limit) < 30 / stiffness


@tables
def test_a_step_multiplies_by_the_amplification(table: DiagonallyImplicit):
    """On y' = J y with the eigenvalues -0.3 +- 2i of a turning spiral."""
    matrix = torch.tensor([[-0.3, 2.0], [-2.0, -0.3]], dtype=torch64)
    end = step(table, lambda t, y: y @ matrix.T, torch.tensor([[1.0, 0.0]], dtype=torch64), 0.0, 0.7).y[0].numpy()
    expected = amplification(table, np.array([0.7 * (-0.3 - 2j)]))[0]
    assert complex(*end) == pytest.approx(expected, abs=1e-14)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch64)


def step(table: DiagonallyImplicit, function: Callable[..., Tensor], y: Tensor, t: float, h: float) -> Step:
    # Stages solved to rounding: what is left is the method's own error.
    stepper = DiagonallyImplicitStepper(table, rtol=1e-14, atol=1e-14)
    with torch.no_grad():
        taken = stepper.step(BoundField(function, None, len(y)), number(t), number(h), y, None)
    assert taken.failed is not None
    assert not taken.failed.any()
    return taken


@tables
def test_dense_output_starts_and_ends_with_the_step(table: DiagonallyImplicit):
    stepper = DiagonallyImplicitStepper(table, 1e-6, 1e-6)
    weights = stepper.weights(torch.tensor([[0.0, 1.0]], dtype=torch64))
    assert weights.shape == (1, 2, table.stages)
    expected = torch.tensor([[0.0] * table.stages, list(table.b)], dtype=torch64)
    torch.testing.assert_close(weights[0], expected, rtol=0, atol=0)


def dense_weights(table: DiagonallyImplicit, theta: np.ndarray) -> np.ndarray:
    return DiagonallyImplicitStepper(table, 1e-6, 1e-6).weights(torch.from_numpy(theta)).numpy()


@pairs
def test_dense_output_keeps_the_conditions_of_its_methods_order_but_one(table: DiagonallyImplicit):
    """All to order p for abscissae alone, and with them, by the order of the stages, all of order 3.

    Of order 4 that leaves sum b a c^2 = theta^4 / 12, which nothing else implies.
    """
    theta = np.linspace(0, 1, 11)
    b, a, c = dense_weights(table, theta), dense_matrix(table), np.array(table.c)
    for power in range(1, table.order + 1):
        # Coefficients of size 10 come out of systems with a condition number below 1000.
        np.testing.assert_allclose(b @ c ** (power - 1), theta**power / power, rtol=0, atol=1e-12)
    np.testing.assert_allclose(b @ a @ c, theta**3 / 6, rtol=0, atol=1e-12)
    if table.order == 4:
        np.testing.assert_allclose(b @ (c * (a @ c)), theta**4 / 8, rtol=0, atol=1e-12)
        assert np.abs(b @ a @ c**2 - theta**4 / 12).max() > 1e-4


@tables
def test_dense_output_damps_every_real_decaying_mode(table: DiagonallyImplicit):
    """|R(theta, z)| <= 1 for 0 <= theta <= 1 and all z <= 0; with a slope of the step's start it would grow as |z|."""
    theta, a = np.linspace(0, 1, 41), dense_matrix(table)
    b, one = dense_weights(table, theta), np.eye(table.stages)
    for z in -np.logspace(-3, 8, 221):
        growth = 1 + z * b @ np.linalg.solve(one - z * a, np.ones(table.stages))
        assert np.abs(growth).max() <= 1 + 1e-12


@pytest.mark.parametrize(("name", "degree"), [("kvaerno3", 2), ("kencarp4", 3)])
def test_dense_output_of_a_stiff_problem_is_exact_for_low_powers(name: str, degree: int):
    """y' = -r (y - p) + p' with a polynomial p: stages err by C / r, and dense output by no more than a few of that."""
    table, rate, h = DIAGONALLY_IMPLICIT[name], 1e8, 0.5
    shares = torch.linspace(0, 1, 11, dtype=torch64)
    for power in range(1, degree + 2):

        def field(t: Tensor, y: Tensor, power: int = power) -> Tensor:
            return -rate * (y - t**power) + power * t ** (power - 1)

        y = number(1.0).view(1, 1)
        taken = step(table, field, y, 1.0, h)
        weights = DiagonallyImplicitStepper(table, 1e-6, 1e-6).weights(shares)
        dense = y.squeeze() + h * weights @ torch.cat(taken.slopes).squeeze(1)
        error = (dense - (1 + shares * h) ** power).abs().max().item()
        # Not of the next power, which no sum of the stages gives.
        assert error < 10 / rate if power <= degree else error > 1e-4


@pytest.mark.parametrize("name", ["implicit_euler", "kvaerno3", "kencarp4"])
def test_stiffly_accurate_methods_follow_a_stiff_solution(name: str):
    """Prothero and Robinson (1974): y' = -r (y - cos t) - sin t from y = 1, whose solution is cos t for every r.

    A stiffly accurate L-stable method errs by C h^q / r when r h is large: ten times as stiff, a tenth the error.
    """
    table, errors = DIAGONALLY_IMPLICIT[name], []
    for rate in (1e5, 1e6):

        def field(t: Tensor, y: Tensor, rate: float = rate) -> Tensor:
            return -rate * (y - torch.cos(t)) - torch.sin(t)

        y, h = torch.ones(1, 1, dtype=torch64), 0.1
        for i in range(10):
            y = step(table, field, y, i * h, h).y
        errors.append(abs(y.item() - np.cos(1.0)))
    assert errors[1] < 1e-7
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.02)  # next term: 1 / (r h) = 1e-4, times ten


def rober(t: Tensor, y: Tensor) -> Tensor:
    """Robertson's reactions (1966), with rates from 0.04 to 3e7."""
    a, b, c = y.unbind(-1)
    slow, fast, fastest = 0.04 * a, 1e4 * b * c, 3e7 * b**2
    return torch.stack([fast - slow, slow - fast - fastest, fastest], dim=-1)


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    """The oscillator with mu = 1000, whose jumps are a millionth of its period."""
    return torch.stack([y[:, 1], 1000 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], dim=-1)


Vector = Sequence[float]


def rober_plainly(t: float, y: Vector) -> list[float]:
    slow, fast, fastest = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return [fast - slow, slow - fast - fastest, fastest]


def rober_jacobian(t: float, y: Vector) -> list[list[float]]:
    one, two, three = 1e4 * y[2], 1e4 * y[1], 6e7 * y[1]
    return [[-0.04, one, two], [0.04, -one - three, -two], [0.0, three, 0.0]]


def van_der_pol_plainly(t: float, y: Vector) -> list[float]:
    return [y[1], 1000 * (1 - y[0] ** 2) * y[1] - y[0]]


def van_der_pol_jacobian(t: float, y: Vector) -> list[list[float]]:
    return [[0.0, 1.0], [-2000 * y[0] * y[1] - 1, 1000 * (1 - y[0] ** 2)]]


def radau(
    function: Callable[..., Any], derivative: Callable[..., Any], y0: list[float], end: float, atol: float
) -> np.ndarray:
    """The reference, by an independent method of order 5; with rtol 1e-12 it agrees within 2e-10."""
    solved = solve_ivp(function, (0, end), y0, method="Radau", rtol=1e-9, atol=atol, jac=derivative)
    return solved.y[:, -1]


def solve_stiff(function: Callable[..., Tensor], y0: list[float], end: float, options: dict[str, Any]) -> Tensor:
    """Return the last state, reached in under two thousand steps."""
    times = torch.tensor([0.0, end], dtype=torch64)
    with torch.no_grad():
        solved = solve_ode(function, torch.tensor([y0], dtype=torch64), times, **options)
    assert solved.stats.accepted[0] + solved.stats.rejected[0] < 2000
    return solved.states[0, -1]


def test_rober_to_six_digits_in_under_two_thousand_steps():
    """Every species, the second having fallen to 1e-13."""
    y0, options = [1.0, 0.0, 0.0], {"method": "kencarp4", "rtol": 1e-8, "atol": 1e-20}
    exact = radau(rober_plainly, rober_jacobian, y0, 1e11, 1e-25)
    np.testing.assert_allclose(solve_stiff(rober, y0, 1e11, options), exact, rtol=1e-6, atol=0)


def test_van_der_pol_to_six_digits_in_under_two_thousand_steps():
    """Past the jumps at t = 807 and 1614, whose times depend on all that was before."""
    y0, options = [2.0, 0.0], {"method": "kencarp4", "rtol": 2e-9, "atol": 2e-9}
    exact = radau(van_der_pol_plainly, van_der_pol_jacobian, y0, 2000, 1e-9)
    np.testing.assert_allclose(solve_stiff(van_der_pol, y0, 2000, options), exact, rtol=1e-6, atol=0)


def test_the_pair_of_third_order_solves_rober():
    y0, options = [1.0, 0.0, 0.0], {"method": "kvaerno3", "rtol": 5e-7, "atol": 1e-18}
    exact = radau(rober_plainly, rober_jacobian, y0, 1e5, 1e-25)
    np.testing.assert_allclose(solve_stiff(rober, y0, 1e5, options), exact, rtol=1e-6, atol=0)
