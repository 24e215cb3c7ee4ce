"""Solves done otherwise than their caller asked: against the same options asked for, and closed forms."""

import math
import threading
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.models import ContinuousNormalizingFlow, NeuralODE
from integrand.core.numerics import (
    BrownianPath,
    Event,
    Semilinear,
    SolveError,
    solve_cde,
    solve_log_ode,
    solve_ode,
    solve_sde,
    solve_semilinear,
    solved_by,
)
from integrand.core.paths import LinearPath, LogSignaturePath, log_signatures

F64 = torch.float64
ONE = torch.ones(1, 1, dtype=F64)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def euler_decay(steps: int) -> float:
    """(1 - 1/n)^n, Euler's answer to y' = -y at 1."""
    return (1 - 1 / steps) ** steps


def end(**options: object) -> float:
    return solve_ode(decay, ONE, [0.0, 1.0], **options).states[0, -1].item()  # pyright: ignore[reportArgumentType]


def test_options_take_the_place_of_those_of_the_caller():
    with solved_by(method="euler", step_size=0.25):
        assert end(method="dopri5", rtol=1e-9) == pytest.approx(euler_decay(4), abs=1e-15)
    assert end(method="dopri5", rtol=1e-9, atol=1e-9) == pytest.approx(math.exp(-1), abs=1e-8)
    with solved_by(method="dopri8", rtol=1e-11, atol=1e-11, step_size=None):
        assert end(method="euler", step_size=0.5) == pytest.approx(math.exp(-1), abs=1e-10)
    with solved_by(method="dopri5", rtol=1e-11, atol=1e-11):  # which leaves the caller's step
        assert abs(end(method="euler", step_size=1.0) - math.exp(-1)) > 1e-4


def test_a_record_tells_what_the_caller_asked_and_what_was_done():
    with solved_by() as record:
        end(method="rk4", step_size=0.3)
        end(rtol=1e-3)
    fixed, adaptive = record.calls
    assert (fixed.method, fixed.step_size, fixed.adaptive, fixed.order) == ("rk4", 0.3, False, 4)
    assert (fixed.start, fixed.end, fixed.steps, fixed.evaluations) == (0.0, 1.0, 4, 16)
    assert (adaptive.method, adaptive.step_size, adaptive.rtol, adaptive.atol) == ("dopri5", None, 1e-3, 1e-6)
    assert adaptive.adaptive
    assert adaptive.order == 5
    assert record.evaluations == 16 + adaptive.evaluations
    with solved_by(method="euler", step_size=0.1) as record:
        end(method="rk4", step_size=0.3)
    assert (record.calls[0].method, record.calls[0].step_size, record.calls[0].evaluations) == ("rk4", 0.3, 10)


@pytest.mark.parametrize(("step_size", "steps"), [(None, 1), (1.0, 1), (0.3, 4), (0.25, 4)])
@pytest.mark.parametrize("refine", [1, 2, 3, 8])
def test_refinement_divides_every_fixed_step(step_size: float | None, steps: int, refine: int):
    """0.3 divides the interval into 4, whose halves are 8: its own half, 0.15, would have made them 7."""
    with solved_by(refine=refine) as record:
        assert end(method="euler", step_size=step_size) == pytest.approx(euler_decay(steps * refine), abs=1e-14)
    assert record.calls[0].steps == steps * refine


def test_intervals_of_different_lengths_are_each_divided():
    with solved_by(refine=3) as record:
        got = solve_ode(decay, ONE, [0.0, 0.1, 1.0], method="euler").states[0, -1].item()
    assert got == pytest.approx((1 - 0.1 / 3) ** 3 * (1 - 0.3) ** 3, abs=1e-14)
    assert record.calls[0].steps == 6


def test_refined_adaptive_steps_are_about_so_many_times_shorter():
    """Of a solution whose steps settle: a rotation, over which each step is like the one before."""

    def rotation(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -y[:, 0]], -1)

    def solve() -> None:
        solve_ode(rotation, torch.tensor([[1.0, 0.0]], dtype=F64), [0.0, 100.0], rtol=0.0, atol=1e-4)

    counts = []
    for refine in (1, 2, 4):
        with solved_by(refine=refine) as record:
            solve()
        counts.append(record.calls[0].steps)
    assert counts[1] / counts[0] == pytest.approx(2, rel=0.1)
    assert counts[2] / counts[0] == pytest.approx(4, rel=0.1)


def test_blocks_stand_in_one_another_and_end():
    with solved_by(method="euler", step_size=0.5) as outer:
        with solved_by(step_size=0.25) as inner:
            assert end() == pytest.approx(euler_decay(4), abs=1e-15)
        with solved_by(refine=4):
            assert end() == pytest.approx(euler_decay(8), abs=1e-15)
        assert end() == pytest.approx(euler_decay(2), abs=1e-15)
    assert (len(outer.calls), len(inner.calls)) == (3, 1)
    with pytest.raises(RuntimeError), solved_by(method="euler"):
        raise RuntimeError
    assert end() == pytest.approx(math.exp(-1), abs=1e-4)
    assert len(outer.calls) == 3


def test_a_block_holds_in_its_own_thread():
    found: list[float] = []
    with solved_by(method="euler", step_size=1.0) as record:
        thread = threading.Thread(target=lambda: found.append(end(rtol=1e-9, atol=1e-9)))
        thread.start()
        thread.join()
    assert found[0] == pytest.approx(math.exp(-1), abs=1e-8)
    assert record.calls == []


def test_a_solve_within_a_field_is_changed_and_counted_too():
    def nested(t: Tensor, y: Tensor) -> Tensor:
        return solve_ode(decay, y, [0.0, 1.0], method="euler").states[:, -1]

    with solved_by(refine=2) as record:
        got = solve_ode(nested, ONE, [0.0, 1.0], method="euler").states[0, -1].item()
    assert got == pytest.approx((1 + 0.25 / 2) ** 2, abs=1e-15)
    assert [call.steps for call in record.calls] == [2, 2, 2]


def test_failures_and_events_are_as_before():
    with solved_by(max_steps=3), pytest.raises(SolveError, match="could not go on"):
        end(rtol=1e-12, atol=1e-12)
    landing = Event(lambda t, y: y[:, 0] - 0.5, terminal=True)
    with solved_by(rtol=1e-10, atol=1e-10) as record:
        solved = solve_ode(decay, ONE, [0.0, 2.0], event=landing, on_failure="last")
    assert solved.event_times is not None
    assert solved.event_times[0].item() == pytest.approx(math.log(2), abs=1e-8)
    assert len(record.calls) == 1
    with solved_by(method="rk4"), pytest.raises(InputError, match="an event takes the steps of an adaptive"):
        solve_ode(decay, ONE, [0.0, 2.0], event=landing)


def test_models_are_reached_with_the_gradients_they_ask_for():
    torch.manual_seed(0)
    model, x = NeuralODE(MLP(2, (8,)), gradient="adjoint").double(), torch.randn(3, 2, dtype=F64)
    with solved_by(method="rk4", step_size=0.1, gradient="direct") as record:
        got = model(x, [0.0, 1.0]).states
    torch.testing.assert_close(
        got, solve_ode(model.field, x, [0.0, 1.0], method="rk4", step_size=0.1).states, rtol=0, atol=0
    )
    assert (record.calls[0].gradient, record.calls[0].evaluations) == ("adjoint", 40)
    flow = ContinuousNormalizingFlow(MLP(2, (8,), time=True), (2,)).double()
    with solved_by(method="euler") as record:
        flow.log_prob(x)
    assert len(record.calls) == 1


def rotating(t: Tensor, z: Tensor) -> Tensor:
    """dz = A z dX_1 + z dX_2: columns (B, 2, 2)."""
    return torch.stack([torch.stack([-z[:, 1], z[:, 0]], -1), z], -1)


def zigzag() -> LinearPath:
    knots = torch.tensor([0.0, 1.0, 3.0], dtype=F64)
    return LinearPath(torch.tensor([[[0.0, 0.0], [2.0, 0.5], [1.0, -0.5]]], dtype=F64), knots)


def test_controlled_equations_count_once_and_divide_the_intervals_between_knots():
    start, times = torch.tensor([[1.0, 0.0]], dtype=F64), [0.0, 2.0]
    exact = torch.tensor([[math.cos(1.5), math.sin(1.5)]], dtype=F64)  # X ends at (1.5, 0)
    with solved_by(refine=4) as record:
        got = solve_cde(rotating, zigzag(), start, times, method="rk4").states
    assert [call.kind for call in record.calls] == ["controlled"]
    assert record.calls[0].steps == 8  # two intervals to the last time, one at the knot
    torch.testing.assert_close(
        got, solve_cde(rotating, zigzag(), start, times, method="rk4", step_size=0.25).states, rtol=0, atol=0
    )
    for method in ("rk4", "dopri5"):
        with solved_by(method="dopri5", rtol=1e-10, atol=1e-10, step_size=None) as record:
            got = solve_cde(rotating, zigzag(), start, times, method=method).states[:, -1]
        torch.testing.assert_close(got, exact, rtol=0, atol=1e-8)
        assert [(call.kind, call.method) for call in record.calls] == [("controlled", method)]
    with solved_by(stepping="per_sample"), pytest.raises(InputError, match="solve_cde, which takes no stepping"):
        solve_cde(rotating, zigzag(), start, times)


def test_log_ode_is_reached_once():
    walk = zigzag()
    windows = torch.tensor([0.0, 3.0], dtype=F64)
    path = LogSignaturePath(log_signatures(walk, windows, depth=2), windows)
    with solved_by(refine=16) as record:
        got = solve_log_ode(rotating, path, torch.tensor([[1.0, 0.0]], dtype=F64), windows, depth=2).states[0, -1]
    assert [(call.kind, call.steps) for call in record.calls] == [("controlled", 16)]
    # The columns commute, so the end depends on X alone, which ends at (1, -0.5).
    expected = math.exp(-0.5) * torch.tensor([math.cos(1.0), math.sin(1.0)], dtype=F64)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_semilinear_solves_are_reached_by_either_door():
    field = Semilinear(torch.tensor([-1.0], dtype=F64), lambda t, y: torch.sin(y))
    fine = solve_semilinear(field, ONE, [0.0, 1.0], method="etd1", step_size=0.25).states
    for solve in (solve_semilinear, solve_ode):
        with solved_by(refine=4) as record:
            got = solve(field, ONE, [0.0, 1.0], method="etd1").states  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(got, fine, rtol=0, atol=1e-15)
        assert [(call.kind, call.steps, call.order) for call in record.calls] == [("semilinear", 4, 1)]
    with solved_by(method="dopri5"), pytest.raises(InputError, match="unknown method 'dopri5'"):
        solve_semilinear(field, ONE, [0.0, 1.0])
    with solved_by(rtol=1e-9), pytest.raises(InputError, match="solve_semilinear, which takes no rtol"):
        solve_semilinear(field, ONE, [0.0, 1.0])


def geometric(**options: object) -> Tensor:
    """dy = y dW / 2 from 1, in Ito calculus."""
    start = torch.ones(64, 1, dtype=F64)
    times = torch.linspace(0, 1, 5, dtype=F64)
    solved = solve_sde(lambda t, y: 0 * y, lambda t, y: y / 2, start, times, **options)  # pyright: ignore[reportArgumentType]
    return solved.states[:, -1]


def test_refined_stochastic_steps_follow_the_same_path():
    """Against exp(W / 2 - 1 / 8) on the path of the seeds: Milstein's error falls as the step."""
    seeds = torch.arange(64)
    path = BrownianPath(seeds, (1,), 0.0, 1.0, dtype=F64)
    exact = torch.exp(path.increments(torch.tensor([0.0, 1.0], dtype=F64))[0][0] / 2 - 1 / 8)
    errors = []
    for refine in (1, 4, 16):
        with solved_by(refine=refine) as record:
            errors.append((geometric(method="milstein", seeds=seeds) - exact).square().mean().sqrt().item())
        assert record.calls[0].steps == 4 * refine
    assert [math.log(a / b, 4) for a, b in pairwise(errors)] == pytest.approx([1, 1], abs=0.15)


def test_fresh_noise_is_kept_by_a_seed_of_the_block_and_differs_from_call_to_call():
    def two(**block: int) -> tuple[Tensor, Tensor]:
        with solved_by(**block):  # pyright: ignore[reportArgumentType]
            return geometric(method="milstein"), geometric(generator=torch.Generator().manual_seed(3))

    (a, b), (c, d) = two(seed=1), two(seed=1, refine=64)
    assert torch.corrcoef(torch.cat([a, c], 1).T)[0, 1] > 0.99
    assert torch.corrcoef(torch.cat([b, d], 1).T)[0, 1] > 0.95
    assert torch.corrcoef(torch.cat([a, b], 1).T)[0, 1].abs() < 0.5
    assert not torch.equal(a, two(seed=2)[0])
    torch.manual_seed(0)
    plain = geometric()
    torch.manual_seed(0)
    with solved_by():
        assert torch.equal(geometric(), plain)


def test_kinds_choose_the_equations_that_change():
    with solved_by(kinds=("stochastic",), method="milstein", seed=0) as record:
        assert end(method="euler") == 0
        geometric()
    assert [call.kind for call in record.calls] == ["ordinary", "stochastic"]


def test_mistakes_have_one_line():
    with (
        pytest.raises(InputError, match="unknown option of solved_by 'step': did you mean 'stepping'"),
        solved_by(
            step=0.1  # pyright: ignore[reportCallIssue]
        ),
    ):
        pass
    with pytest.raises(InputError, match="refine=0 must be a whole number"), solved_by(refine=0):
        pass
    with pytest.raises(InputError, match="unknown kind of equation"), solved_by(kinds=("odes",)):  # pyright: ignore[reportArgumentType]
        pass
    with solved_by(method="dopri"), pytest.raises(InputError, match="did you mean 'dopri5'"):
        end()
    with solved_by(step_size=-1.0), pytest.raises(InputError, match="step_size must be positive"):
        end()


def test_problems_that_are_kept_can_be_solved_again():
    start, times = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0, 1, 5, dtype=torch.float64)
    rate = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    with solved_by(keep=True) as record:
        first = solve_ode(lambda t, y, a: -a * y, start, times, args=rate, rtol=1e-9, atol=1e-9)
    (problem,) = record.problems
    again = solve_ode(problem.field, problem.y0, problem.times, args=problem.args, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(again.states, first.states, rtol=0, atol=0)
    with solved_by() as record:
        solve_ode(lambda t, y: -y, start, times)
    assert record.problems == []
