"""Events against zeros known in closed form: where they lie, in which order, for which samples."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.solution import Status
from integrand.core.numerics.solve_ode import SolveError, solve_ode
from integrand.core.numerics.stepping.event import Event, find_zeros
from integrand.core.numerics.stepping.step_control import StepControl

torch64 = torch.float64
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
methods = pytest.mark.parametrize("method", ["bosh3", "dopri5", "tsit5", "dopri8"])


def turning(t: Tensor, y: Tensor) -> Tensor:
    """y'' = -y: from (sin a, cos a) the position is sin(t + a)."""
    return torch.stack([y[:, 1], -y[:, 0]], dim=1)


def phases(*a: float) -> Tensor:
    angle = torch.tensor(a, dtype=torch64)
    return torch.stack([angle.sin(), angle.cos()], dim=1)


def position(t: Tensor, y: Tensor) -> Tensor:
    return y[:, 0]


def velocity(t: Tensor, y: Tensor) -> Tensor:
    return y[:, 1]


def clock_at(time: float) -> Any:
    return lambda t, y: t - time


# Roots


def test_zeros_are_found_to_the_last_digits():
    """Simple, multiple, flat and steep zeros, at the ends too, all at once."""
    for dtype in (torch.float32, torch64):
        places = torch.tensor([0.5, 1e-3, 0.999, 0.3, 0.7, 0.25, 1.0, 0.0], dtype=dtype)

        def g(x: Tensor, at: Tensor = places) -> Tensor:
            d = x - at
            return torch.stack(
                [
                    d[0],
                    d[1] * (1 + d[1]),
                    d[2].exp() - 1,
                    d[3] ** 3,
                    torch.tanh(1e6 * d[4]),
                    torch.sign(d[5]),
                    d[6],
                    d[7],
                ]
            )

        found = find_zeros(g, g(torch.zeros_like(places)), g(torch.ones_like(places)))
        eps = torch.finfo(dtype).eps
        assert (found - places).abs().max() <= 2 * eps
        assert (g(found) * g(torch.ones_like(places)) >= 0).all()  # beyond the zero, or on it


def test_smooth_zeros_take_few_evaluations_and_wild_ones_not_many():
    calls = []

    def find(g) -> float:
        calls.clear()
        zero, one = torch.zeros(1, dtype=torch64), torch.ones(1, dtype=torch64)

        def counted(x: Tensor) -> Tensor:
            calls.append(x)
            return g(x)

        return find_zeros(counted, g(zero), g(one)).item()

    assert find(lambda x: torch.cos(2 * x) - 0.3) == pytest.approx(math.acos(0.3) / 2, abs=1e-15)
    assert len(calls) <= 14  # bisection: 52
    assert find(lambda x: torch.sign(x - 1 / 3)) == pytest.approx(1 / 3, abs=1e-15)
    assert find(lambda x: (x - 1 / 3) ** 9) == pytest.approx(1 / 3, abs=1e-15)
    assert len(calls) <= 54  # two more than bisection at the worst


# Where events lie


@methods
@pytest.mark.parametrize("grad", [False, True])
def test_every_sample_ends_at_its_own_event(method: str, grad: bool):
    """sin(t + a) comes down through zero at t = pi - a; outputs up to there are those of the solve without event."""
    a = torch.tensor([0.1, 1.0, 2.0, -2.5], dtype=torch64)
    times = torch.linspace(0, 4, 9, dtype=torch64)
    y0 = phases(*a.tolist()).requires_grad_(grad)
    solved = solve_ode(turning, y0, times, method=method, event=Event(position, direction=-1), **TIGHT)
    assert solved.event_times is not None
    assert solved.event_states is not None
    # A few hundred steps within 1e-10.
    exact = torch.where(a > 0, math.pi - a, torch.inf)
    torch.testing.assert_close(solved.event_times.detach(), exact, rtol=0, atol=2e-8)
    expected = torch.tensor([[0.0, -1.0]] * 3 + [[math.nan] * 2], dtype=torch64)
    torch.testing.assert_close(solved.event_states.detach(), expected, rtol=0, atol=2e-8, equal_nan=True)
    # The event lies on the dense output, whatever the solve's own error: zero but for rounding in its weights, which
    # reach 528 in dopri8.
    assert solved.event_states[:3, 0].abs().max() < 1000 * torch.finfo(torch64).eps
    assert solved.status.tolist() == [Status.EVENT] * 3 + [Status.OK]
    free = solve_ode(turning, y0, times, method=method, stepping="per_sample", **TIGHT)
    reached = times <= exact.unsqueeze(1)
    torch.testing.assert_close(solved.states[reached], free.states[reached], rtol=0, atol=1e-13)
    assert solved.states[~reached].isnan().all()
    last = solve_ode(turning, y0, times, method=method, event=Event(position, direction=-1), on_failure="last", **TIGHT)
    for i in range(3):
        assert torch.equal(last.states[i, ~reached[i]], solved.event_states[i].expand_as(last.states[i, ~reached[i]]))
    assert (solved.stats.accepted[:3] < free.stats.accepted[:3]).all()


def test_a_sample_and_its_event_do_not_depend_on_companions():
    y0, times = phases(0.1, 1.0, -2.5, 2.0), torch.linspace(0, 12, 7, dtype=torch64)
    events = [Event(velocity, terminal=False), Event(position, direction=-1)]
    together = solve_ode(turning, y0, times, event=events, **TIGHT)
    for i in range(4):
        alone = solve_ode(turning, y0[i : i + 1], times, event=events, **TIGHT)
        torch.testing.assert_close(together.event_times[i], alone.event_times[0], rtol=1e-13, atol=0)  # pyright: ignore[reportOptionalSubscript]
        assert together.stats.evaluations[i] == alone.stats.evaluations[0]
        count = alone.events.times.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
        torch.testing.assert_close(together.events.times[i, :count], alone.events.times[0], rtol=1e-13, atol=0)  # pyright: ignore[reportOptionalMemberAccess]
        assert together.events.times[i, count:].isinf().all()  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize(
    ("direction", "expected"),
    [(0, [1.0, 2.0, 3.0, 4.0, 5.0]), (1, [2.0, 4.0]), (-1, [1.0, 3.0, 5.0])],
)
def test_passing_events_are_recorded_by_direction(direction: int, expected: list[float]):
    """sin t from t = 0.5 on: down through zero at odd multiples of pi, up at even ones. The solve goes on."""
    event = Event(position, terminal=False, direction=direction)
    times = torch.tensor([0.0, 16.0], dtype=torch64)
    solved = solve_ode(turning, phases(0.5), times, event=event, **TIGHT)
    assert solved.events is not None
    exact = torch.tensor([expected], dtype=torch64) * math.pi - 0.5
    torch.testing.assert_close(solved.events.times, exact, rtol=0, atol=1e-7)
    torch.testing.assert_close(solved.events.states[..., 1].abs(), torch.ones_like(exact), rtol=0, atol=1e-7)
    assert solved.events.which.tolist() == [[0] * len(expected)]
    assert solved.event_times.tolist() == [math.inf]  # pyright: ignore[reportOptionalMemberAccess]
    free = solve_ode(turning, phases(0.5), times, stepping="per_sample", **TIGHT)
    assert torch.equal(solved.states, free.states)
    assert solved.status.tolist() == [Status.OK]
    assert solved.stats.accepted.tolist() == free.stats.accepted.tolist()


def test_several_events_come_in_the_order_of_time():
    """Of several within one step (it is long here, and exact: y' = 1), those after the terminal one do not happen."""
    events = [
        Event(clock_at(0.75), terminal=False),
        Event(lambda t, y: y[:, 0] - 0.5, terminal=False),
        Event(lambda t, y: 0.9 - y[:, 0]),
        Event(clock_at(0.95), terminal=False),
        Event(clock_at(0.96)),
    ]
    y0 = torch.tensor([[0.0], [0.2], [-5.0]], dtype=torch64)
    times = torch.tensor([0.0, 0.4, 0.6, 0.8, 1.0], dtype=torch64)
    solved = solve_ode(lambda t, y: torch.ones_like(y), y0, times, event=events, control=StepControl(first_step=1.0))
    assert solved.stats.accepted.tolist() == [1, 1, 1]
    log = solved.events
    assert log is not None
    assert log.which.tolist() == [[1, 0, 2], [1, 2, -1], [0, 3, 4]]
    exact = torch.tensor([[0.5, 0.75, 0.9], [0.3, 0.7, torch.inf], [0.75, 0.95, 0.96]], dtype=torch64)
    torch.testing.assert_close(log.times, exact, rtol=0, atol=1e-15)
    torch.testing.assert_close(solved.event_times, exact[[0, 1, 2], [2, 1, 2]], rtol=0, atol=1e-15)
    expected = y0 + times
    expected[0, 4] = expected[1, 3:] = expected[2, 4] = torch.nan
    torch.testing.assert_close(solved.states[..., 0], expected, rtol=0, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("control", [None, StepControl(first_step=0.25, max_step=0.25)])
def test_events_at_the_start_and_at_the_end(control: StepControl | None):
    """Zero at the start is an event if it leaves in the right direction, zero at the end if it comes in it."""
    y0 = torch.zeros(3, 1, dtype=torch64)
    times = torch.tensor([[0.0, 0.5, 1.0], [-1.0, -0.5, 0.0], [-0.5, 0.0, 0.5]], dtype=torch64)

    def solve(direction: int, terminal: bool = True):
        event = Event(clock_at(0.0), direction=direction, terminal=terminal)
        return solve_ode(lambda t, y: torch.ones_like(y), y0, times, event=event, control=control)

    for direction in (0, 1):
        solved = solve(direction)
        assert solved.event_times.tolist() == [0.0] * 3  # pyright: ignore[reportOptionalMemberAccess]
        assert solved.status.tolist() == [Status.EVENT] * 3
        # The output at the event is still an output.
        assert solved.states[..., 0].isnan().tolist() == [[False, True, True], [False] * 3, [False, False, True]]
        torch.testing.assert_close(solved.event_states[:, 0], -times[:, 0], rtol=0, atol=1e-15)  # pyright: ignore[reportOptionalSubscript]
        passed = solve(direction, terminal=False)
        # With steps of 0.25 the third lands on zero: once is enough.
        assert passed.events.times.tolist() == [[0.0]] * 3  # pyright: ignore[reportOptionalMemberAccess]
    solved = solve(-1)
    assert solved.event_times.tolist() == [math.inf] * 3  # pyright: ignore[reportOptionalMemberAccess]
    assert solved.events.times.shape == (3, 0)  # pyright: ignore[reportOptionalMemberAccess]
    assert solved.status.tolist() == [Status.OK] * 3


def test_touching_zero_is_no_event():
    """1 - cos t touches zero at 2 pi, and 1 - 1e-3 - cos t passes it on either side."""
    times = torch.tensor([1.0, 8.0], dtype=torch64)
    y0 = torch.ones(1, 1, dtype=torch64)
    events = [
        Event(lambda t, y: 1 - torch.cos(t), terminal=False),
        Event(lambda t, y: 1 - 1e-3 - torch.cos(t), terminal=False),
    ]
    control = StepControl(max_step=0.05)  # passages are 0.09 apart
    solved = solve_ode(lambda t, y: -y, y0, times, event=events, control=control)
    assert solved.events.which.tolist() == [[1, 1]]  # pyright: ignore[reportOptionalMemberAccess]
    near = math.acos(1 - 1e-3)
    exact = torch.tensor([[2 * math.pi - near, 2 * math.pi + near]], dtype=torch64)
    torch.testing.assert_close(solved.events.times, exact, rtol=0, atol=1e-13)  # pyright: ignore[reportOptionalMemberAccess]


def test_back_in_time_directions_follow_the_solve():
    """Backwards from t = 5, sin t rises through zero at pi, where it falls in time. Forwards it starts on zero."""
    times = torch.tensor([[5.0, 2.0], [0.0, 5.0]], dtype=torch64)
    y0 = phases(5.0, 0.0)
    for direction, expected in ((1, [math.pi, 0.0]), (-1, [math.inf, math.pi]), (0, [math.pi, 0.0])):
        solved = solve_ode(turning, y0, times, event=Event(position, direction=direction), **TIGHT)
        torch.testing.assert_close(solved.event_times, torch.tensor(expected, dtype=torch64), rtol=0, atol=1e-8)


def test_single_precision():
    """sin(t + a) = 0 within the tolerance of the solve; on the dense output to a few roundings."""
    times = torch.tensor([0.0, 4.0])
    y0 = phases(0.1, 1.0, 2.0).float()
    solved = solve_ode(turning, y0, times, event=Event(position, direction=-1), rtol=1e-5, atol=1e-6)
    assert solved.event_times is not None
    assert solved.event_states is not None
    assert solved.event_times.dtype == torch.float32
    exact = math.pi - torch.tensor([0.1, 1.0, 2.0])
    steps = int(solved.stats.accepted.max())
    torch.testing.assert_close(solved.event_times, exact, rtol=0, atol=2e-5 * steps)
    # A step of order 1 moves the position by 1: theta to eps, and seven slopes summed.
    assert solved.event_states[:, 0].abs().max() < 16 * torch.finfo(torch.float32).eps


def test_arguments_reach_the_event_and_follow_their_samples():
    """y' = r with an event at y = level, for each sample its own, some long gone when others arrive."""
    rate = torch.tensor([[1.0], [0.1], [5.0], [0.0]], dtype=torch64)
    level = torch.tensor([1.0, 0.9, 3.0, 1.0], dtype=torch64)

    def field(t: Tensor, y: Tensor, args: dict[str, Tensor]) -> Tensor:
        return args["rate"].expand_as(y)

    def reaches(t: Tensor, y: Tensor, args: dict[str, Tensor]) -> Tensor:
        return y.sum(1) / 2 - args["level"]

    y0 = torch.zeros(4, 2, dtype=torch64)
    solved = solve_ode(field, y0, [0.0, 5.0, 20.0], args={"rate": rate, "level": level}, event=Event(reaches))
    torch.testing.assert_close(solved.event_times, level / rate[:, 0], rtol=1e-14, atol=0)


def test_an_event_saves_a_sample_from_what_lies_behind_it():
    """y' = y^2 has a pole at t = 1, and is stopped at y = 100, t = 0.99."""
    y0 = torch.tensor([[1.0], [1.0]], dtype=torch64)
    times = torch.tensor([[0.0, 2.0], [0.0, 0.5]], dtype=torch64)
    solved = solve_ode(lambda t, y: y**2, y0, times, event=lambda t, y: y[:, 0] - 100, **TIGHT)
    assert solved.status.tolist() == [Status.EVENT, Status.OK]
    assert solved.event_times[0].item() == pytest.approx(0.99, abs=1e-8)  # pyright: ignore[reportOptionalSubscript]
    with pytest.raises(SolveError, match="sample 0 could not go on"):
        solve_ode(lambda t, y: y**2, y0, times, event=lambda t, y: y[:, 0] + 100)


def test_evaluations_are_the_fields_own():
    calls = [0]

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls[0] += y.shape[0]
        return turning(t, y)

    y0 = phases(0.1, 1.0, 2.0).requires_grad_()
    learned = torch.tensor(0.0, dtype=torch64, requires_grad=True)
    for method in ("dopri5", "dopri8"):
        for inner in ([], [0.7, 1.9]):
            calls[0] = 0
            events = [Event(lambda t, y: y[:, 0] - learned, direction=-1), Event(velocity, terminal=False)]
            solved = solve_ode(field, y0, [0.0, *inner, 4.0], method=method, event=events)
            assert int(solved.stats.evaluations.sum()) == calls[0]


# Refusals


@pytest.mark.parametrize(
    ("event", "options", "pattern"),
    [
        (lambda t, y: y, {}, r"event's function returned shape \(2, 2\) for 2 samples.*\(B,\)"),
        (lambda t, y: 1.0, {}, "event's function returned a float"),
        (position, {"method": "rk4"}, "an event takes the steps of an adaptive.*which method 'rk4'"),
        (position, {"step_size": 0.1}, "an event takes the steps of an adaptive.*which method 'dopri5'"),
        (position, {"engine": "torchdiffeq"}, "an event takes the steps of an adaptive.*which engine 'torchdiffeq'"),
        ([position, 3.0], {}, "the event's function is a float: give a function"),
    ],
)
def test_mistakes_are_told_in_one_line(event: Any, options: dict[str, Any], pattern: str):
    with pytest.raises(InputError, match=pattern) as caught:
        solve_ode(turning, phases(0.1, 0.2), [0.0, 1.0], event=event, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_other_directions_are_refused():
    with pytest.raises(InputError, match="direction=2 of an event must be 1"):
        Event(position, direction=2)
