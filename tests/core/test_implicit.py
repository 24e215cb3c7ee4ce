"""Implicit steps as the drivers see them: samples of their own, slopes at the ends, trouble flagged."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import SolveError, solve_ode
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.diagonally_implicit import (
    DIAGONALLY_IMPLICIT,
    IMPLICIT_EULER,
    KENCARP4,
    KVAERNO3,
    DiagonallyImplicit,
    DiagonallyImplicitStepper,
)
from integrand.core.numerics.methods.stepper import Step, Stepper
from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.step_control import StepControl

tables = pytest.mark.parametrize("table", DIAGONALLY_IMPLICIT.values(), ids=lambda table: table.name)
torch64 = torch.float64


def tensor(values) -> Tensor:
    return torch.tensor(values, dtype=torch64)


def relaxation(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """y' = -rate (y - cos t) - y^3, nonlinear and as stiff as its argument says."""
    clock, rate = (t if t.dim() == 0 else t.view(-1, 1)), rate.view(-1, 1)
    return -rate * (y - torch.cos(clock)) - y**3


def step(table: DiagonallyImplicit, y: Tensor, t: Tensor, h: Tensor, rate: Tensor, tolerance: float = 1e-10) -> Step:
    with torch.no_grad():
        return DiagonallyImplicitStepper(table, tolerance, tolerance).step(
            BoundField(relaxation, rate, len(y)), t, h, y, None
        )


@tables
def test_a_batch_equals_its_samples_one_by_one(table: DiagonallyImplicit):
    """With clocks, steps and stiffness of their own, over seven decades."""
    y, rate = tensor([[1.0], [0.3], [-2.0], [0.9]]), tensor([0.1, 10.0, 1e3, 1e6])
    t, h = tensor([0.0, 0.7, -1.0, 3.0]), tensor([0.1, 0.02, 0.5, 1.0])
    together = step(table, y, t, h, rate)
    assert together.failed is not None
    assert not together.failed.any()
    for i in range(4):
        rows = slice(i, i + 1)
        for clock, length in ((t[rows], h[rows]), (t[i], h[i])):  # a batch of one, and a clock that a batch shares
            alone = step(table, y[rows], clock, length, rate[rows])
            torch.testing.assert_close(alone.y[0], together.y[i], rtol=1e-15, atol=0)
            if table.error:
                assert alone.error is not None
                assert together.error is not None
                torch.testing.assert_close(alone.error[0], together.error[i], rtol=1e-12, atol=1e-18)


def test_one_sample_that_fails_leaves_the_others_their_step():
    y, h = tensor([[1.0], [math.nan], [0.4], [math.inf]]), tensor(0.1)
    rate = tensor([1.0, 1.0, 100.0, 1.0])
    together = step(KENCARP4, y, tensor(0.0), h, rate)
    assert together.failed is not None
    assert together.failed.tolist() == [False, True, False, True]
    alone = step(KENCARP4, y[[0, 2]], tensor(0.0), h, rate[[0, 2]])
    torch.testing.assert_close(together.y[[0, 2]], alone.y, rtol=1e-15, atol=0)


def test_a_step_too_long_for_its_equation_is_flagged_and_a_shorter_one_is_not():
    """y' = y^2 from 1 is at infinity at t = 1; backward Euler has a real stage for h up to 1/4 alone."""
    field, y, stepper = BoundField(lambda t, y: y**2, None, 2), tensor([[1.0], [1.0]]), None
    stepper = DiagonallyImplicitStepper(IMPLICIT_EULER, 1e-10, 1e-10)
    with torch.no_grad():
        taken = stepper.step(field, tensor(0.0), tensor([0.24, 0.26]), y, None)
    assert taken.failed is not None
    assert taken.failed.tolist() == [False, True]
    assert taken.y[0].item() == pytest.approx((1 - math.sqrt(1 - 0.96)) / 0.48, rel=1e-9)


@tables
def test_the_shape_of_a_state_does_not_matter(table: DiagonallyImplicit):
    flat = torch.linspace(-1, 2, 12, dtype=torch64).view(2, 6)

    def coupled(t: Tensor, y: Tensor) -> Tensor:
        z = y.flatten(1)
        return (torch.tanh(z.roll(1, 1)) - 30 * z**3).view_as(y)

    def run(y: Tensor) -> Step:
        stepper = DiagonallyImplicitStepper(table, 1e-10, 1e-10)
        return stepper.step(BoundField(coupled, None, 2), tensor(0.0), tensor([0.1, 0.2]), y, None)

    shaped = run(flat.view(2, 3, 2))
    assert shaped.y.shape == (2, 3, 2)
    assert torch.equal(shaped.y.flatten(1), run(flat).y)


@pytest.mark.parametrize("table", [KVAERNO3, KENCARP4], ids=lambda table: table.name)
def test_slopes_at_the_ends_are_the_fields(table: DiagonallyImplicit):
    """The last one comes from the stage, so that it differs by what is left of the iteration, over h gamma."""
    y, rate, t, h = tensor([[1.0], [0.3]]), tensor([1.0, 20.0]), tensor(0.3), tensor(0.1)
    taken = step(table, y, t, h, rate, tolerance=1e-12)
    assert taken.first is not None
    assert taken.last is not None
    assert torch.equal(taken.first, relaxation(t, y, rate))
    assert taken.last is taken.slopes[-1]
    torch.testing.assert_close(taken.last, relaxation(t + h, taken.y, rate), rtol=1e-10, atol=1e-12)


def test_the_last_slope_is_not_magnified_by_stiffness():
    """At rate 1e14 the field turns a rounding of y into 1e-2; from the stage it is known to the method's own error."""
    y, h, rate = tensor([[1.0]]), tensor(0.1), tensor([1e14])
    taken = step(KENCARP4, y, tensor(0.0), h, rate)
    assert taken.last is not None
    assert taken.last.item() == pytest.approx(-math.sin(0.1), abs=0.1**4)
    assert relaxation(h, taken.y, rate).item() != pytest.approx(-math.sin(0.1), abs=1e-3)


@tables
def test_a_slope_that_is_known_is_not_evaluated_again(table: DiagonallyImplicit):
    calls: list[Tensor] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls.append(y)
        return -y

    y, h = tensor([[1.0]]), tensor(0.1)
    stepper = DiagonallyImplicitStepper(table, 1e-10, 1e-10)
    counts = []
    for first in (None, -y):
        calls.clear()
        taken = stepper.step(BoundField(field, None, 1), tensor(0.0), h, y, first)
        counts.append(len(calls))
        if table.explicit_first:
            assert taken.first is not None
            assert torch.equal(taken.first, -y)
    assert counts[0] - counts[1] == int(table.explicit_first)


def test_single_precision_stays_single():
    """And meets a tolerance below its rounding as well as it can."""
    y = torch.ones(3, 2)
    stepper = DiagonallyImplicitStepper(KENCARP4, 1e-9, 1e-9)
    taken = stepper.step(BoundField(lambda t, y: -100 * y**3, None, 3), torch.tensor(0.0), torch.tensor(0.05), y, None)
    assert taken.failed is not None
    assert not taken.failed.any()
    assert {x.dtype for x in (taken.y, taken.error, *taken.slopes) if x is not None} == {torch.float32}


def test_the_filter_keeps_the_estimate_of_a_stiff_component_small():
    """y' = -r (y - cos t) off its solution by 1: unfiltered, the estimate is R_hat(-inf) = -0.15 of that."""
    errors = []
    for rate in (1e4, 1e6):
        taken = step(KENCARP4, tensor([[2.0]]), tensor(0.0), tensor(0.1), tensor([rate]))
        assert taken.error is not None
        errors.append(abs(taken.error.item()))
        plain = 0.1 * sum(e * k.item() for e, k in zip(KENCARP4.error, taken.slopes, strict=True))
        assert abs(plain) == pytest.approx(0.15, rel=0.1)
        assert errors[-1] == pytest.approx(abs(plain) / (1 + 0.1 / 4 * (rate + 12)), rel=1e-3)  # 12 = 3 y^2, of y^3
    assert errors[1] < errors[0] / 50


def test_steppers_keep_the_protocol():
    def order(stepper: Stepper) -> tuple[int, int | None, int]:
        return stepper.order, stepper.error_order, stepper.stages

    made = {name: order(DiagonallyImplicitStepper(table, 1e-6, 1e-6)) for name, table in DIAGONALLY_IMPLICIT.items()}
    assert made == {
        "implicit_euler": (1, None, 0),
        "implicit_midpoint": (2, None, 0),
        "trapezoid": (2, None, 0),
        "kvaerno3": (3, 2, 0),
        "kencarp4": (4, 3, 0),
    }


def test_complex_states_are_refused():
    y = torch.ones(1, 1, dtype=torch.complex128)
    with pytest.raises(InputError, match="real state"):
        DiagonallyImplicitStepper(KENCARP4, 1e-6, 1e-6).step(
            BoundField(lambda t, y: y, None, 1), tensor(0.0), tensor(0.1), y, None
        )


class Reactor(torch.nn.Module):
    """A field that counts, of one sample, how many rows it is called with."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function, self.rows = function, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.rows += len(y)
        return self.function(t, y)


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_evaluations_are_counted_as_the_work_they_are(dim: int):
    """Of every sample: one for each call, and one for each component of a Jacobian."""
    reactor, y = Reactor(lambda t, y: -(y**3)), torch.rand(4, dim, dtype=torch64, requires_grad=True)
    field = BoundField(reactor, None, 4)
    DiagonallyImplicitStepper(KENCARP4, 1e-8, 1e-8).step(field, tensor(0.0), tensor(0.1), y, None)
    assert 4 * field.evaluations == reactor.rows


class VanDerPol:
    """The oscillator with mu = 1000, which notes where it was asked for its Jacobian."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, ...]] = []

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(1)
        return torch.stack([v, 1000 * (1 - u**2) * v - u], dim=1)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        places = torch.cat([t.expand(len(y)).unsqueeze(1), y], dim=1)
        self.asked += [tuple(place) for place in places.tolist()]
        u, v = y.unbind(1)
        rows = [torch.zeros_like(u), torch.ones_like(u), -2000 * u * v - 1, 1000 * (1 - u**2)]
        return torch.stack(rows, dim=1).view(-1, 2, 2)


@pytest.mark.parametrize("stepping", ["shared", "per_sample"])
def test_a_step_tried_again_has_its_jacobian(stepping: Any):
    """Past a jump, before which many steps are refused: no place is asked about twice.

    But where a sample leaves the batch: who was refused in that very step is asked again.
    """
    field, y0 = VanDerPol(), tensor([[2.0, 0.0]] if stepping == "shared" else [[2.0, 0.0], [1.8, 0.0], [1.5, 0.0]])
    with torch.no_grad():
        solved = solve_ode(field, y0, [0.0, 850.0], method="kencarp4", rtol=1e-4, atol=1e-4, stepping=stepping)
    assert (solved.stats.rejected >= 10).all()
    assert len(field.asked) - len(set(field.asked)) <= len(y0) - 1


def trouble(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """y' = rate y; with a rate of -2 instead y' = -1 / y, where y = sqrt(1 - 2 t) ends at t = 1/2.

    There Y = b - s / Y has no real root as soon as b^2 < 4 s.
    """
    rate = rate.view(-1, 1)
    return torch.where(rate == -2, -1 / y, rate * y)


def test_a_singular_matrix_costs_its_sample_one_step_tried_and_the_others_nothing():
    """Of kencarp4 gamma = 1/4: with y' = 16 y and h = 1/4, I - h gamma J = 0 to the last bit."""
    y0, rate = tensor([[1.0], [1.0], [2.0]]), tensor([-1.0, 16.0, -1.0])
    options: dict[str, Any] = {"method": "kencarp4", "stepping": "per_sample", "rtol": 1e-6, "atol": 1e-8}
    options["control"] = StepControl(first_step=0.25)
    solved = solve_ode(trouble, y0, [0.0, 0.5], args=rate, **options)
    assert solved.status.tolist() == [int(Status.OK)] * 3
    others = solve_ode(trouble, y0[[0, 2]], [0.0, 0.5], args=rate[[0, 2]], **options)
    assert torch.equal(solved.states[[0, 2]], others.states)
    assert torch.equal(solved.stats.rejected[[0, 2]], others.stats.rejected)
    assert solved.stats.rejected[1] > 0
    # What the singular matrix left would be off by orders of magnitude; a tolerance of 1e-6 gives four digits or more.
    assert solved.states[1, -1].item() == pytest.approx(math.exp(8), rel=1e-4)


def test_an_equation_without_a_root_ends_its_sample_alone():
    """Others are as they would be without it, in value and in gradient."""
    rate = tensor([-1.0, -2.0, -1.0])
    options: dict[str, Any] = {"method": "kencarp4", "stepping": "per_sample", "rtol": 1e-6, "atol": 1e-8}
    answers = []
    for rows in ([0, 1, 2], [0, 2]):
        y0 = tensor([[1.0], [1.0], [2.0]])[rows].requires_grad_()
        solved = solve_ode(trouble, y0, [0.0, 1.0], args=rate[rows], on_failure="nan", **options)
        fine = [i for i, row in enumerate(rows) if row != 1]
        (grad,) = torch.autograd.grad(solved.states[fine, -1].sum(), y0)
        answers.append((solved, solved.states[fine].detach(), grad[fine]))
    (solved, *together), (_, *apart) = answers
    assert solved.status.tolist()[::2] == [int(Status.OK)] * 2
    assert solved.status[1] == int(Status.UNSOLVED)
    assert solved.states[1, -1].isnan().all()
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one, other)
    # Of y' = -y; a handful of steps, each within the tolerance.
    torch.testing.assert_close(apart[1], torch.full_like(apart[1], math.exp(-1)), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("stepping", "message"),
    [
        ("shared", "the implicit equation of sample 1 was not solved"),
        ("per_sample", "sample 1 could not go on: its implicit equation was not solved"),
    ],
)
def test_an_equation_without_a_root_is_named(stepping: Any, message: str):
    y0, rate = tensor([[1.0], [1.0], [2.0]]), tensor([-1.0, -2.0, -1.0])
    with pytest.raises(SolveError, match=message):
        solve_ode(trouble, y0, [0.0, 1.0], args=rate, method="kencarp4", stepping=stepping, rtol=1e-6, atol=1e-8)


def prothero_robinson(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """y' = -k (y - cos t) - sin t, whose solution from 1 is cos t, to which k draws back whatever is off it."""
    t = t if t.dim() == 0 else t.unsqueeze(-1)
    return -rate * (y - torch.cos(t)) - torch.sin(t)


@pytest.mark.parametrize("rate", [1e2, 1e3])
def test_steps_of_samples_own_end_on_their_outputs(rate: float):
    """Steps soon outgrow the solution, for nothing is wrong at their ends; between them no slope tells of it."""
    y0, k = torch.ones(2, 1, dtype=torch.float64), torch.full((2, 1), rate, dtype=torch.float64)
    times = tensor([[0.0, 0.3, 1.1, 1.1, 2.0], [0.0, 0.2, 0.9, 1.4, 3.0]]).requires_grad_()
    options: dict[str, Any] = {"method": "kencarp4", "stepping": "per_sample", "rtol": 1e-7, "atol": 1e-7}
    solved = solve_ode(prothero_robinson, y0, times, args=k, **options)
    known = torch.cos(times.detach())
    # The error of a step is some tolerances, and does not add up.
    torch.testing.assert_close(solved.states[..., 0].detach(), known, rtol=0, atol=1e-6)
    (by_time,) = torch.autograd.grad(solved.states.sum(), times)
    # An output follows its time with the slope there, which is as wrong as the state, times k.
    torch.testing.assert_close(by_time[:, 1:], -torch.sin(times.detach())[:, 1:], rtol=0, atol=rate * 1e-6)


def test_shared_outputs_and_rows_of_the_same_are_landed_on_alike():
    y0, times, k = tensor([[1.0], [0.5]]), tensor([0.0, 0.4, 1.0]), tensor([[1e6], [1e4]])
    options: dict[str, Any] = {"args": k, "method": "kvaerno3", "stepping": "per_sample", "rtol": 1e-6, "atol": 1e-8}
    rows, shared = (solve_ode(prothero_robinson, y0, given, **options) for given in (times.expand(2, 3), times))
    assert torch.equal(rows.states, shared.states)
    assert torch.equal(rows.stats.accepted, shared.stats.accepted)
