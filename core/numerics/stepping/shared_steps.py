"""Adaptive steps that the whole batch shares."""

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import along, combine_each
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.stepper import Step, Stepper
from integrand.core.numerics.modes import is_differentiated
from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stepping.walk import StepTaken, Walk

FINEST = 4 * 2.0**-52
"""Least step relative to the clock: below it the clock, a double, stands still."""


class Clock(Protocol):
    """What the batch's steps are counted in.

    Attributes:
        points: the clock at the output times, increasing or decreasing.
        lands: whether every output must end a step.
    """

    points: list[float]
    lands: bool

    def time(self, at: float) -> Tensor:
        """Return the time at a reading of the clock, a scalar or (B,)."""
        ...

    def shift(self, at: float) -> Tensor | None:
        """Return zero as a function of the output time at a reading, where a derivative by it is asked for."""
        ...

    def span(self, start: float, end: float) -> Tensor:
        """Return the time between two readings that a step may lie between."""
        ...

    def inside(self, first: int, last: int, start: float, end: float) -> Tensor:
        """Return the places of outputs first, ..., last - 1 between two readings, as fractions."""
        ...


class SharedClock:
    """The clock of samples that share their output times: time itself."""

    def __init__(self, times: Tensor, *, lands: bool, jumps: Iterable[float] = ()) -> None:
        self.times, self.lands = times, lands
        self.points: list[float] = times.detach().tolist()
        # Where a gradient with respect to the times is asked for, steps begin and end on the times themselves; but a
        # jump stays where it is when an output at it moves.
        exact = dict(zip(self.points, times.unbind(), strict=True)) if is_differentiated(times) else {}
        self._moving = {at: exact.pop(at) for at in jumps if at in exact}
        self._exact = exact

    def time(self, at: float) -> Tensor:
        """See ``Clock``."""
        exact = self._exact.get(at)
        return self._number(at) if exact is None else exact

    def span(self, start: float, end: float) -> Tensor:
        """See ``Clock``."""
        if start in self._exact or end in self._exact:
            return self.time(end) - self.time(start)
        return self._number(end - start)

    def shift(self, at: float) -> Tensor | None:
        """See ``Clock``."""
        exact = self._moving.get(at)
        return None if exact is None else exact - exact.detach()

    def inside(self, first: int, last: int, start: float, end: float) -> Tensor:
        """See ``Clock``."""
        return (self.times[first:last] - self.time(start)) / self.span(start, end)

    def _number(self, value: float) -> Tensor:
        return torch.full((), value, dtype=self.times.dtype, device=self.times.device)


class RowClock:
    """The clock of samples with output times of their own: s = i + share of the interval from t_i to t_{i+1}.

    On an interval t = t_i + (s - i) (t_{i+1} - t_i), so that all samples reach their own t_{i+1} at s = i + 1. The
    change of variable has a kink there, on which every step must end.
    """

    lands = True

    def __init__(self, times: Tensor) -> None:
        self.times = times
        self.starts, self.widths = times.unbind(1), times.diff(dim=1).unbind(1)
        self.points = [float(i) for i in range(times.shape[1])]

    def time(self, at: float) -> Tensor:
        """See ``Clock``."""
        interval = min(int(at), len(self.widths) - 1)
        return torch.add(self.starts[interval], self.widths[interval], alpha=at - interval)

    def span(self, start: float, end: float) -> Tensor:
        """See ``Clock``."""
        return self.widths[min(int(start), len(self.widths) - 1)] * (end - start)

    def shift(self, at: float) -> Tensor | None:
        """See ``Clock``; jumps of this clock move with its outputs."""
        return None

    def inside(self, first: int, last: int, start: float, end: float) -> Tensor:
        """Steps end on every output of this clock."""
        raise AssertionError("a step of this clock straddles an output")


def walk_shared(
    field: BoundField,
    y0: Tensor,
    clock: Clock,
    stepper: Stepper,
    norm: ErrorNorm,
    control: StepControl,
    *,
    max_steps: int,
    keep: bool = False,
) -> Walk:
    """Walk from the first output to the last, with one step size for the batch.

    The host waits for the device once a step, to read the error. Steps end on the last output, on those that the clock
    demands and on jumps; other outputs are read from the dense output of the steps they lie in.

    Args:
        field: the right-hand side, with its arguments bound.
        y0: (B, ...).
        clock: output times.
        stepper: the method.
        norm: size of an error relative to the tolerance.
        control: how steps are chosen, with their limits, in the units of the clock.
        max_steps: most steps tried.
        keep: whether to keep the slopes of every step.
    """
    return _Walker(field, y0, clock, stepper, norm, control, max_steps, keep).run()


class _Walker:
    def __init__(
        self,
        field: BoundField,
        y0: Tensor,
        clock: Clock,
        stepper: Stepper,
        norm: ErrorNorm,
        control: StepControl,
        max_steps: int,
        keep: bool,
    ) -> None:
        self.field, self.clock, self.stepper, self.norm, self.control = field, clock, stepper, norm, control
        self.max_steps, self.keep = max_steps, keep
        self.walk = Walk([y0], y0)
        points = clock.points
        self.sign = 1.0 if points[-1] > points[0] else -1.0
        self.ahead = [self.sign * point for point in points]
        inner = points[1:] if clock.lands else points[-1:]
        jumps = [t for t in control.jump_times if self.ahead[0] < self.sign * t < self.ahead[-1]]
        self.jumps = frozenset(control.jump_times)
        self.stops = sorted({*inner, *jumps}, key=lambda t: self.sign * t)
        self.at, self.y = points[0], y0
        self.first: Tensor | None = None
        self.errors = (1.0, 1.0, 1.0)
        self.refused = False

    def run(self) -> Walk:
        length = self._begin()
        tried = 0
        for stop in self.stops:
            while self.at != stop and self.walk.status is Status.OK:
                if tried == self.max_steps:
                    return self._give_up(Status.MAX_STEPS, f"max_steps={self.max_steps} did not suffice")
                tried += 1
                length = self._step(stop, length)
        return self.walk

    def _begin(self) -> float:
        """Evaluate the first slope, and choose the first step."""
        if self.stepper.stages:
            self.first = self.field(self._start(self.at), self.y)
        if self.control.first_step is not None:
            return self.control.first_step
        length = self._first_step()
        if not math.isfinite(length):
            self._give_up(Status.NONFINITE, f"the field is not finite at the start{_culprit(self.first)}")
        return length

    def _step(self, stop: float, length: float) -> float:
        """Try one step towards ``stop``; return the length of the next."""
        left = abs(stop - self.at)
        length = min(length, self.control.max_step)
        # What is left before a stop is shared by the last two steps, lest the last one be a sliver.
        share = left if length >= 0.999 * left else min(length, 0.5 * left)
        end = stop if share == left else self.at + self.sign * share
        t, h = self._start(self.at), self._length(self.at, end)
        mark = self.field.mark()
        step = self.stepper.step(self.field, t, h, self.y, self.first)
        size = self._measure(step)
        if size > 1 or math.isnan(size):
            self.field.rewind(mark)
            return self._refuse(step, size, share)
        self._accept(step, t, h, end)
        self.errors = (size, *self.errors[:2])
        factor = self.control.factor(self.stepper.error_order or 0, self.errors)
        if self.refused:  # just found too long: no longer than it is
            factor = min(factor, 1.0)
        self.refused = False
        # A step cut short by a stop says little of how long the next may be.
        return max(share * factor, length) if share < length and factor >= 1 else share * factor

    def _measure(self, step: Step) -> float:
        if step.error is None:
            raise AssertionError("an adaptive walk needs a method with an error estimate")
        size = self.norm(step.error.detach(), step.damping, self.y, step.y)
        if step.failed is not None:
            size = torch.where(step.failed.any(), math.inf, size)
        return float(size)

    def _accept(self, step: Step, t: Tensor, h: Tensor, end: float) -> None:
        walk, clock = self.walk, self.clock
        reached = bisect_right(self.ahead, self.sign * end)
        landed = reached - 1 if clock.points[reached - 1] == end else None
        first, last = len(walk.states), reached - (landed is not None)
        weights, completed = None, False
        if first < last or self.keep:
            before = len(step.slopes)
            step = self.stepper.complete(self.field, t, h, self.y, step)
            completed = len(step.slopes) > before
        if first < last:
            theta = clock.inside(first, last, self.at, end)
            weights = self.stepper.weights(theta)
            if weights is None:
                raise AssertionError("this method has no dense output: its clock must land")
            weights = weights * h
            walk.states.extend(combine_each(self.y, weights, step.slopes))
        if landed is not None:
            moved = clock.shift(end)
            if moved is None:
                walk.states.append(step.y)
            else:  # the output follows its time with the slope before the jump
                slope = self.field(t + h, step.y) if step.last is None else step.last
                walk.states.append(step.y + moved * slope)
        taken = StepTaken(
            self.at,
            end,
            t,
            h,
            fresh=self.first is None,
            has_last=step.last is not None,
            completed=completed,
            landed=landed,
            inside=(first, last),
            weights=weights,
        )
        if self.keep:
            taken = taken._replace(y=self.y, slopes=tuple(slope.clone() for slope in step.slopes))
        walk.steps.append(taken)
        self.at, self.y, walk.last = end, step.y, step.y
        self.first = None if end in self.jumps else step.last

    def _refuse(self, step: Step, size: float, share: float) -> float:
        self.walk.rejected += 1
        self.refused = True
        if self.first is not None:
            self.first = step.first  # the method may have moved it to memory of its own
        finite = math.isfinite(size)
        order = self.stepper.error_order or 0
        length = share * (self.control.factor(order, (size, *self.errors[:2])) if finite else self.control.min_factor)
        length = min(length, 0.9 * share)
        if length < max(self.control.min_step, FINEST * abs(self.at)) or length == 0:
            judged = step.y if step.error is None else step.y + step.error
            if finite:
                status, what = Status.STEP_TOO_SMALL, f"its error is {size:.3g} times the tolerance"
            elif step.failed is not None and bool(step.failed.any()):
                row = int(step.failed.nonzero()[0])
                status, what = Status.UNSOLVED, f"the implicit equation of sample {row} was not solved"
            else:
                status, what = Status.NONFINITE, f"not finite{_culprit(judged)}"
            self._give_up(status, f"the step shrank to {length:.3g}; {what}")
        return length

    def _give_up(self, status: Status, reason: str) -> Walk:
        self.walk.status, self.walk.reason = status, f"at time {_readable(self.clock.time(self.at))}, {reason}"
        return self.walk

    def _start(self, at: float) -> Tensor:
        """Time at the start of a step; just after a jump, where the field has its new value."""
        t = self.clock.time(at)
        return torch.nextafter(t, t + self.clock.span(at, at + self.sign)) if at in self.jumps else t

    def _length(self, at: float, end: float) -> Tensor:
        """Time that a step takes; it ends just before a jump."""
        if at not in self.jumps and end not in self.jumps:
            return self.clock.span(at, end)
        t = self.clock.time(end)
        return (torch.nextafter(t, self._start(at)) if end in self.jumps else t) - self._start(at)

    def _first_step(self) -> float:
        """Choose the first step from the sizes of the state, its slope and the slope's change.

        Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.4, page 169.
        """
        y, order = self.y, self.stepper.order
        here, limit = self.clock.time(self.at), abs(self.stops[0] - self.at)
        slope = self.field.peek(here, y) if self.first is None else self.first.detach()
        unit = along(self.clock.span(self.at, self.at + self.sign), y).detach()  # slopes by the clock's unit
        scale = self.norm.scale(y)
        size, change = torch.stack(
            [self.norm.measure(y.detach(), scale), self.norm.measure(slope * unit, scale)]
        ).tolist()
        if not math.isfinite(change):  # a slope may be finite, and its square not
            return 1e-6 * limit if bool(torch.isfinite(slope).all()) else math.nan
        probe = 0.01 * size / change if min(size, change) >= 1e-5 else 1e-6 * limit
        probe = min(probe, limit)
        end = self.at + self.sign * probe
        ahead = y + along(self.clock.span(self.at, end), y).detach() * slope
        other = self.field.peek(self.clock.time(end), ahead)
        bend = float(self.norm.measure((other - slope) * unit, scale)) / probe
        if not math.isfinite(bend):
            return probe
        largest = max(change, bend)
        guess = max(1e-6 * limit, 1e-3 * probe) if largest <= 1e-15 else (0.01 / largest) ** (1 / (order + 1))
        return min(100 * probe, guess, limit)


def _culprit(values: Tensor | None) -> str:
    """Name the first sample whose values are not finite."""
    if values is None:
        return ""
    bad = ~torch.isfinite(values.detach()).reshape(values.shape[0], -1).all(1)
    return f" in sample {int(bad.nonzero()[0])}" if bool(bad.any()) else ""


def _readable(time: Tensor) -> str:
    return f"{float(time.detach().flatten()[0]):g}"
