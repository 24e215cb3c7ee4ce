"""Newton's method for a batch of stage equations: closed-form roots, and trouble that stays with its sample."""

import math

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.newton import ITERATIONS, SHARE, StageEquations, StartJacobians, jacobian

torch64 = torch.float64


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch64)


def column(*values: float) -> Tensor:
    return tensor(*values).unsqueeze(1)


ZERO, ONE = torch.zeros((), dtype=torch64), torch.ones((), dtype=torch64)


def quadratic(t: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """f_i = t y_i^2 + w y_1 y_2: its Jacobian is at hand."""
    return (t if t.dim() == 0 else t.view(-1, 1, 1)) * y**2 + weights.view(-1, 1, 1) * y.prod(2, keepdim=True)


@pytest.mark.parametrize("t", [tensor(0.7)[0], tensor(0.7, -0.2)], ids=["one clock", "own clocks"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_jacobians_are_the_known_ones(t: Tensor, mode):
    with mode():
        y, w = tensor(1.0, 2.0, -3.0, 0.5).view(2, 1, 2), tensor(0.3, 5.0)
        field = BoundField(quadratic, w, 2)
        actual = jacobian(field, t.clone(), y)
        (a, b), time = y[:, 0].unbind(1), t.expand(2)
        expected = torch.stack([2 * time * a + w * b, w * a, w * b, 2 * time * b + w * a], dim=1).view(2, 2, 2)
        torch.testing.assert_close(actual, expected, rtol=1e-15, atol=1e-15)
        assert field.evaluations == 2  # one for each component
        # A state of one dimension is a single copy of the batch.
        square = BoundField(lambda t, y, w: w.view(-1, 1) * y**2, w, 2)
        assert torch.equal(jacobian(square, t.clone(), y[:, 0, :1]), (2 * w * a).view(2, 1, 1))


def test_a_field_of_time_alone_has_none():
    constant = BoundField(lambda t, y: torch.ones_like(y) * t, None, 3)
    assert torch.equal(jacobian(constant, ONE, torch.ones(3, 2, dtype=torch64)), torch.zeros(3, 2, 2, dtype=torch64))


class Own:
    """A field that knows its Jacobian, of a shape to choose."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return 3 * y

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor | None:
        return 3 * torch.eye(2, dtype=torch64).expand(self.shape)


def test_a_field_gives_its_own_jacobian():
    y = torch.ones(4, 2, dtype=torch64)
    field = BoundField(Own(4, 2, 2), None, 4)
    assert torch.equal(jacobian(field, ZERO, y), 3 * torch.eye(2, dtype=torch64).expand(4, 2, 2))
    assert field.evaluations == 0
    with pytest.raises(InputError, match=r"shape \(2, 2\) for a state of shape \(4, 2\).*\(4, 2, 2\)"):
        jacobian(BoundField(Own(2, 2), None, 4), ZERO, y)


def test_a_field_that_does_not_know_its_jacobian_is_differentiated():
    class Silent(Own):
        def jacobian(self, t: Tensor, y: Tensor) -> None:
            return None

    found = jacobian(BoundField(Silent(), None, 4), ZERO, torch.ones(4, 2, dtype=torch64))
    assert torch.equal(found, 3 * torch.eye(2, dtype=torch64).expand(4, 2, 2))


class Watched:
    """y' = w y^2, which notes for how many samples it was asked for a Jacobian."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return w.view(-1, 1) * y**2

    def jacobian(self, t: Tensor, y: Tensor, w: Tensor) -> Tensor:
        self.asked.append(len(y))
        return torch.diag_embed(2 * w.view(-1, 1) * y)


def test_jacobians_are_made_anew_for_samples_that_moved_alone():
    watched, w = Watched(), tensor(1.0, 2.0, 3.0)
    field, starts = BoundField(watched, w, 3), StartJacobians()
    t, y = torch.zeros(3, dtype=torch64), column(1.0, 1.0, 1.0)
    tries = [
        (t, y, 3),
        (t, y.clone(), None),  # all try again
        (t, column(1.0, 5.0, 1.0), 1),  # one has moved on
        (tensor(0.0, 0.0, 0.5), column(1.0, 5.0, 1.0), 1),  # in time alone
        (t + 1, column(7.0, 8.0, 9.0), 3),
        (t + 1, column(7.0, math.nan, 9.0), 1),
        (t + 1, column(7.0, math.nan, 9.0), 1),  # what is not a number equals nothing
    ]
    for clock, state, asked in tries:
        watched.asked.clear()
        found = starts.find(field, clock, state)
        torch.testing.assert_close(found[:, 0], 2 * w.view(3, 1) * state, rtol=0, atol=0, equal_nan=True)
        assert watched.asked == ([] if asked is None else [asked])


def test_jacobians_are_not_those_of_other_samples_in_the_same_place():
    """Two samples of three leave, and the third stands where the first stood, with arguments of its own."""
    watched, w, y = Watched(), tensor(1.0, 2.0, 3.0), column(1.0, 1.0, 1.0)
    field, starts = BoundField(watched, w, 3), StartJacobians()
    for rows in ([0, 1], [1, 2]):
        found = starts.find(field.at(torch.tensor(rows)), torch.zeros(2, dtype=torch64), y[rows])
        assert torch.equal(found[:, 0, 0], 2 * w[rows])


def test_a_clock_that_all_share_knows_the_state_it_stands_at():
    watched, y = Watched(), column(1.0, 2.0)
    field, starts = BoundField(watched, tensor(1.0, 1.0), 2), StartJacobians()
    for t, state in ((ZERO, y), (ZERO.clone(), y), (ONE, y), (ONE, y + 1)):
        assert torch.equal(starts.find(field, t, state)[:, 0], 2 * state)
    assert watched.asked == [2, 2, 2]  # the second try alone was at the place before


def test_a_given_jacobian_is_used_and_any_leads_to_the_root():
    """Y = 1 - s Y^2 with the slope of Y = 3 instead of that of 1: more iterations, the same answer."""
    base, s, calls = column(1.0), tensor(0.3), []

    def counted(t: Tensor, y: Tensor) -> Tensor:
        calls.append(1)
        return -(y**2)

    for slope in (-2.0, -6.0):
        calls.clear()
        equations = StageEquations(
            BoundField(counted, None, 1), ZERO, base, s, rtol=1e-12, atol=1e-12, matrices=tensor(slope).view(1, 1, 1)
        )
        stage = equations.solve(ZERO, base, base).item()
        assert stage == pytest.approx((math.sqrt(2.2) - 1) / 0.6, rel=1e-13)
        assert len(calls) > 3  # iterations alone


def test_complex_states_are_refused():
    with pytest.raises(InputError, match="real state"):
        jacobian(BoundField(lambda t, y: y, None, 1), ZERO, torch.ones(1, 1, dtype=torch.complex128))


def solve(function, base: Tensor, s: Tensor, *, args=None, tolerance: float = 1e-12, start: Tensor | None = None):
    """Solve Y = base + s f(Y) with the Jacobian at ``base``."""
    field = BoundField(function, args, len(base))
    equations = StageEquations(field, ZERO, base, s, rtol=tolerance, atol=tolerance)
    with torch.no_grad():
        return equations.solve(ZERO, base, base if start is None else start), equations, field


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-8, 1e-12])
def test_the_error_is_a_small_share_of_the_tolerance(tolerance: float):
    """Y = base - s Y^2 has the root (sqrt(1 + 4 s base) - 1) / 2s; each sample has its own, and its own stiffness."""
    base, s = column(1.0, 3.0, 0.1, 40.0), tensor(0.01, 0.3, 2.0, 5.0)
    stage, equations, _ = solve(lambda t, y: -(y**2), base, s, tolerance=tolerance)
    root = ((1 + 4 * s * base[:, 0]).sqrt() - 1) / (2 * s)
    assert not equations.failed.any()
    # The share is of the error as the contraction predicts it; the root of it rounds like the iteration does.
    allowed = SHARE * tolerance * (1 + base.abs().amax(1)) + 8 * torch.finfo(torch64).eps * base.abs().amax(1)
    assert ((stage[:, 0] - root).abs() <= allowed).all()


def test_a_linear_field_takes_one_iteration_and_one_to_see_it():
    matrix = torch.tensor([[-1e3, 2.0], [5.0, -1e-2]], dtype=torch64)
    base, s = torch.tensor([[1.0, -2.0]], dtype=torch64), tensor(0.5)
    stage, equations, field = solve(lambda t, y: y @ matrix.T, base, s, tolerance=1e-6)
    expected = torch.linalg.solve(torch.eye(2, dtype=torch64) - 0.5 * matrix, base[0])
    torch.testing.assert_close(stage[0], expected, rtol=1e-13, atol=0)
    assert field.evaluations == 2 + 2  # the Jacobian's two components, and two iterations
    # The next stage knows from this one that one iteration will do.
    equations.solve(ZERO, 2 * base, base)
    assert field.evaluations == 2 + 2 + 1


def cubic(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    return -rate.view(-1, 1) * y**3


def test_slow_contraction_renews_the_jacobian_of_that_sample_alone():
    """From y = 3 with s = 100 the root of Y = 3 - 100 Y^3 is near 0.3, where the slope is a hundredth of what it was.

    With the first Jacobian alone an iteration would take a hundredth off the error, a thousand iterations all of it.
    """
    batches = []

    def watched(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        batches.append(len(y))
        return cubic(t, y, rate)

    base, s = column(3.0, 3.0), tensor(100.0, 1e-3)
    stage, equations, _ = solve(watched, base, s, args=tensor(1.0, 1.0))
    assert not equations.failed.any()
    torch.testing.assert_close(stage + s.view(2, 1) * stage**3, base, rtol=1e-12, atol=0)
    assert set(batches[1:]) == {1, 2}  # one Jacobian of both, and renewals of one


def test_a_sample_is_solved_as_if_it_were_alone():
    """Stiff, slow, hopeless and easy ones together: none changes a bit of the others."""
    base, s, rate = (
        column(3.0, 1.0, 2.0, 0.5, -7.0),
        tensor(100.0, 0.1, 1.0, 1e-4, 3.0),
        tensor(1.0, 1.0, math.nan, 1.0, 0.2),
    )
    together, equations, _ = solve(cubic, base, s, args=rate)
    assert equations.failed.tolist() == [False, False, True, False, False]
    for i in range(5):
        alone, one, _ = solve(cubic, base[i : i + 1], s[i : i + 1], args=rate[i : i + 1])
        assert torch.equal(one.failed, equations.failed[i : i + 1])
        if not one.failed:
            assert torch.equal(alone[0], together[i])


def test_a_jacobian_that_leads_astray_is_renewed_where_it_did_not_yet():
    """Y = 4 - exp(Y), with the slope exp(-9) of the step's start: two iterations on, Y would be -50."""
    field = BoundField(lambda t, y: -torch.exp(y), None, 1)
    equations = StageEquations(field, ZERO, column(-9.0), ONE, rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        stage = equations.solve(ZERO, column(4.0), column(-9.0)).item()
    assert not equations.failed.any()
    assert stage + math.exp(stage) == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize(
    ("function", "base", "most"),
    [
        (lambda y: y - (y - 1) ** 5, 0.0, 1 + 2 * ITERATIONS),  # (Y - 1)^5 = 0: an iteration takes off a fifth at best
        (lambda y: y**2 + 1, 0.0, 10),  # Y^2 - Y + 1 = 0 has no real root
        (lambda y: y + 1, 1.0, 10),  # I - s J = 0: parallel lines
        (lambda y: torch.full_like(y, math.nan) * y, 1.0, 10),
        (lambda y: torch.sqrt(y), -2.0, 10),  # NaN where the iteration starts
        (lambda y: y * math.inf, 1.0, 10),
        (lambda y: torch.sqrt(y), 0.0, 10),  # an infinite Jacobian
    ],
    ids=["flat", "no root", "singular", "NaN", "NaN at the start", "infinite", "vertical"],
)
def test_trouble_is_flagged_and_stays_with_its_sample(function, base: float, most: int):
    def mixed(t: Tensor, y: Tensor, which: Tensor) -> Tensor:
        slopes, odd = -(1 + which / 2).view(-1, 1) * y, (which == 1).nonzero().squeeze(1)
        return slopes.index_copy(0, odd, function(y[odd]))

    stage, equations, field = solve(mixed, column(1.0, base, 1.0), tensor(1.0, 1.0, 1.0), args=tensor(0.0, 1.0, 2.0))
    assert equations.failed.tolist() == [False, True, False]
    torch.testing.assert_close(stage[[0, 2]], column(1 / 2, 1 / 3), rtol=1e-12, atol=0)
    assert field.evaluations <= most  # given up at once, unless it comes nearer all the time


def test_a_tolerance_below_rounding_is_met_to_rounding():
    base = torch.tensor([[2.0]])
    stage, equations, _ = solve(lambda t, y: -(y**2), base, torch.ones(1), tolerance=1e-12)
    assert not equations.failed.any()
    assert stage.dtype == torch.float32
    torch.testing.assert_close(stage, torch.ones(1, 1), rtol=4 * torch.finfo(torch.float32).eps, atol=0)


def test_a_small_component_is_solved_to_the_rounding_of_large_ones():
    """v' = -3 ((u + v) - u) with u = 1e8 knows v in steps of 1.5e-8: the last digits cannot be had, nor are asked."""

    def steps(t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(1)
        return torch.stack([0 * u, -3 * ((u + v) - u)], dim=1)

    base = torch.stack([torch.full((50,), 1e8, dtype=torch64), torch.linspace(0.1, 0.2, 50, dtype=torch64)], dim=1)
    stage, equations, _ = solve(steps, base, ONE, tolerance=1e-14)
    assert not equations.failed.any()
    torch.testing.assert_close(stage[:, 1], base[:, 1] / 4, rtol=0, atol=4 * 1.5e-8)


def test_the_filter_is_the_inverse_of_the_matrix():
    rates = torch.tensor([[-1.0, -1e6], [-3.0, 0.0]], dtype=torch64)
    field = BoundField(lambda t, y, rates: rates * y, rates, 2)
    equations = StageEquations(field, ZERO, torch.ones(2, 2, dtype=torch64), tensor(0.5, 2.0), rtol=1e-6, atol=1e-6)
    expected = 1 / (1 - tensor(0.5, 2.0).view(2, 1) * rates)
    torch.testing.assert_close(equations.filter(torch.ones(2, 2, dtype=torch64)), expected, rtol=1e-15, atol=0)
