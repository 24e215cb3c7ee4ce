"""Adaptive steps that each sample chooses for itself."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import along
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.own_adjoint import (
    Departure,
    Journal,
    Output,
    OwnStep,
    SlopesTaken,
    Travelled,
    travel_taped,
)
from integrand.core.numerics.gradients.tape import TapedField, open_tape
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Step, Stepper
from integrand.core.numerics.solution import SolverStats, Status
from integrand.core.numerics.stepping.event import Event
from integrand.core.numerics.stepping.event_watch import EventWatch, Meeting
from integrand.core.numerics.stepping.host_link import HostLink
from integrand.core.numerics.stepping.own_walk import DensePath, OwnWalk, Pieces
from integrand.core.numerics.stepping.sample_clocks import Aim, Flags, Floats, SampleClocks, Whole
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl


def walk_own(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    stepper: Stepper,
    norm: ErrorNorm,
    control: StepControl,
    *,
    max_steps: int,
    events: tuple[Event, ...] = (),
    lands: bool = False,
) -> OwnWalk:
    """Walk every sample from its first output to its last, with steps of its own.

    All samples still on their way try a step together. Those that have arrived, or cannot go on, leave the batch, so
    that one stiff sample costs what it costs alone. What comes of a sample does not depend on its companions. Host and
    device exchange one message each way in a step: down, the errors of the steps tried; up, the times of the next.

    Args:
        bound: the right-hand side, with its arguments bound.
        y0: (B, ...).
        times: (B, T), every row in order, with repeats if need be.
        stepper: the method, which must estimate its error and have dense output.
        norm: size of an error relative to the tolerance, for each sample.
        control: how steps are chosen, with their limits, in the units of time.
        max_steps: most steps that a sample may try.
        events: what to look out for.
        lands: whether steps end on output times, instead of being read between their ends.
    """

    def walker(bound: BoundField, y0: Tensor) -> _Walker:
        return _Walker(bound, y0, times, stepper, norm, control, max_steps, events, lands)

    tape = open_tape(bound, y0, times) if not events and _is_first_same_as_last(stepper) else None
    if tape is None:
        return walker(bound, y0).run()
    walks: list[OwnWalk] = []

    def travel(bound: BoundField, y0: Tensor) -> Travelled:
        one = walker(bound, y0)
        walk = one.run()
        walks.append(walk)
        starts = torch.from_numpy(walk.outputs.places[0] // times.shape[1]).to(y0.device)
        return Travelled(torch.cat(walk.outputs.values), walk.last, starts, one.journal)

    outputs, last = travel_taped(travel, bound, tape, stepper.tableau, y0)  # pyright: ignore[reportAttributeAccessIssue]
    walk = walks.pop()
    attached = Pieces()
    attached.add(outputs, np.concatenate(walk.outputs.places))
    return replace(walk, outputs=attached, last=last)


def _is_first_same_as_last(stepper: Stepper) -> bool:
    """Tell methods whose steps begin with the last one's end, and need nothing more for dense output."""
    return isinstance(stepper, ExplicitRungeKutta) and stepper.shares_last and not stepper.tableau.extra_a


@dataclass(frozen=True)
class _Trial:
    """A step that was tried, on the device.

    Attributes:
        t, h: start and length, (A,).
        step: the step.
        moved: zeros with the derivatives, by the caller's times, of either end; None without any.
        entry: what the journal will tell of it.
    """

    t: Tensor
    h: Tensor
    step: Step
    moved: tuple[Tensor, Tensor] | None
    entry: OwnStep


class _Walker:
    def __init__(
        self,
        bound: BoundField,
        y0: Tensor,
        times: Tensor,
        stepper: Stepper,
        norm: ErrorNorm,
        control: StepControl,
        max_steps: int,
        events: tuple[Event, ...],
        lands: bool,
    ) -> None:
        self.all, self.bound, self.stepper, self.norm, self.control = bound, bound, stepper, norm, control
        # A stepper's own memory has the shape of the batch, while dense output may be completed for a few of it.
        self.completer = copy.copy(stepper)
        self.max_steps, self.tried, self.lands = max_steps, 0, lands
        self.times_BT, self.link = times, HostLink(times.dtype, times.device)
        self.clock_BT: Floats = self.link.fetch(times)
        self.jumps = np.unique(np.array(control.jump_times, dtype=np.float64))
        self.moved_BT = times - times.detach() if times.requires_grad and torch.is_grad_enabled() else None
        self.clocks = SampleClocks.start(self.clock_BT, len(events))
        self.y0, self.y, self.first = y0, y0, None
        # Whether what the field does is recorded: by autograd, or on a tape, which goes with a journal.
        self.taped = isinstance(bound, TapedField)
        self.records = self.taped or torch.is_grad_enabled()
        self.journal: Journal = []

        batch, count = self.clock_BT.shape
        self.outputs, self.last = Pieces(), Pieces()
        self.watch = EventWatch(events, batch, self.link) if events else None
        row, output = (self.clock_BT == self.clock_BT[:, :1]).nonzero()
        self.outputs.add(self._starts(row, output), row * count + output)
        self.status_B, self.stopped_B = np.full(batch, int(Status.OK)), np.zeros(batch)
        self.counts_B3 = np.zeros((batch, 3), dtype=np.int64)  # evaluations, accepted, rejected

    def run(self) -> OwnWalk:
        clocks, batch = self.clocks, len(self.status_B)
        self._leave(clocks.goal == clocks.at, np.full(batch, int(Status.OK)))
        if len(clocks.row):
            self._begin()
        while len(clocks.row):
            self._step()
        last = self.last.gather(batch, self.y0)
        lost = ~torch.isfinite(last.detach()).reshape(batch, -1).all(1)
        (status,) = self.link.send(self.status_B, dtype=torch.int64)
        status = torch.where((status == int(Status.OK)) & lost, int(Status.NONFINITE), status)
        stats = SolverStats(*self.link.send(*self.counts_B3.T, dtype=torch.int64))
        walk = OwnWalk(self.outputs, status, stats, self.stopped_B, last)
        if self.watch is not None:
            walk.log, walk.event_times, walk.event_states = self.watch.record.read(self.y0, self.times_BT)
        return walk

    def _starts(self, row: Whole, output: Whole) -> Tensor:
        """Return the states at the outputs that equal a sample's first."""
        y = self.y0[self.link.send_rows(row)]
        if self.moved_BT is None or not output.any():
            return y
        # A repeat of the first time is y0 only until it moves away from the first.
        again = np.flatnonzero(output)
        rows, outputs = self.link.send_rows(row[again]), self.link.send_rows(output[again])
        moved = self.moved_BT[rows, outputs] - self.moved_BT[rows, 0]
        slope = self.all.at(rows)(self.times_BT[rows, 0], self.y0[rows])
        np.add.at(self.clocks.evaluations, row[again], 1)
        return y.index_add(0, self.link.send_rows(again), along(moved, slope) * slope)

    def _begin(self) -> None:
        """Evaluate the first slopes and choose the first steps. Samples whose slope is not finite end here."""
        clocks, bound = self.clocks, self.bound
        before, mark = bound.evaluations, bound.mark()
        (t,) = self.link.send(clocks.at)
        if self.moved_BT is not None:
            t = t + self.moved_BT[self.link.send_rows(clocks.row), 0]
        slope = self.first = bound(t, self.y) if self.stepper.stages else None
        slope = bound.peek(t, self.y) if slope is None else slope.detach()
        if self.control.first_step is None:
            clocks.length = self._first_step(slope)
        else:
            clocks.length = np.full_like(clocks.at, self.control.first_step)
        clocks.evaluations += bound.evaluations - before
        if self.watch is not None:
            clocks.values = self.link.fetch(self.watch.values(t, self.y, bound))
        finite = self.link.fetch(torch.isfinite(slope).reshape(len(clocks.row), -1).all(1)) == 1
        if not finite.all():
            self._leave(~finite, np.full(len(finite), int(Status.NONFINITE)))
            if self.first is not None and self.records:
                # Again, for a slope that is not finite would spoil the gradients of what samples share.
                bound.rewind(mark)
                if len(clocks.row):
                    self.first = self.bound(t[self.link.send_rows(np.flatnonzero(finite))], self.y)
                    clocks.evaluations += 1
        if len(clocks.row):
            self._note(SlopesTaken(None))

    def _first_step(self, slope: Tensor) -> Floats:
        """Choose the first steps from the sizes of the state, its slope and the slope's change.

        Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.4, page 169.
        """
        clocks, y = self.clocks, self.y.detach()
        limit, scale = np.abs(clocks.goal - clocks.at), self.norm.scale(y)
        size, change = self.link.fetch(torch.stack([self.norm.measure(y, scale), self.norm.measure(slope, scale)]))
        with np.errstate(all="ignore"):  # where the slope is not finite, the sample does not go on
            probe = np.where(np.minimum(size, change) >= 1e-5, 0.01 * size / change, 1e-6 * limit)
            probe = np.fmin(probe, limit)
            t, h = self.link.send(clocks.at + clocks.sign * probe, clocks.sign * probe)
            other = self.bound.peek(t, y + along(h, y) * slope)
            bend = self.link.fetch(self.norm.measure(other - slope, scale)) / probe
            steepest = np.maximum(change, bend)
            calm = np.maximum(1e-6 * limit, 1e-3 * probe)
            guess = np.where(steepest <= 1e-15, calm, (0.01 / steepest) ** (1 / (self.stepper.order + 1)))
            guess = np.where(np.isfinite(steepest), np.minimum(100 * probe, guess), probe)
        return np.minimum(guess, limit)

    def _step(self) -> None:
        """Try a step of every sample on its way."""
        clocks = self.clocks
        aim = clocks.aim(self.control, self.jumps, torch.finfo(self.times_BT.dtype).eps, lands=self.lands)
        t, h, moved = self._clock_times(aim)
        if len(self.jumps):
            self._renew(t)
        before, mark = self.bound.evaluations, self.bound.mark()
        trial = _Trial(t, h, self.stepper.step(self.bound, t, h, self.y, self.first), moved, OwnStep(h))
        clocks.evaluations += self.bound.evaluations - before
        self.tried += 1
        size, values = self._look(trial)
        good, stuck = clocks.settle(aim, size, self.control, self.stepper.error_order or 0)
        lost = ~np.isfinite(size)
        if self.records and not good.any():
            self.bound.rewind(mark)
        elif self.records and lost.any():
            self.bound.rewind(mark)
            trial = self._without(lost, trial)

        meeting = None
        if self.watch is not None:
            meeting = self.watch.meet(clocks, good, values, aim.end, self.bound, lambda who: self._path(who, trial))
        reached = aim.end if meeting is None else meeting.reached
        crossing = good & (clocks.sign * (reached - clocks.upcoming) >= 0)
        if crossing.any():
            self._write(crossing, reached, aim, trial)
        self._accept(good, aim, trial)
        gone = stuck | good & (aim.end == clocks.goal)
        if meeting is not None:
            gone |= self._end(meeting)
        if self.tried >= self.max_steps:
            gone = np.ones_like(good)
        if gone.any():
            arrived = good & (aim.end == clocks.goal)
            unsolved = stuck & np.isposinf(size) & (trial.step.failed is not None)
            cases = {Status.OK: arrived, Status.UNSOLVED: unsolved, Status.NONFINITE: stuck & lost}
            cases[Status.STEP_TOO_SMALL] = stuck
            status = np.select(list(cases.values()), [int(case) for case in cases], int(Status.MAX_STEPS))
            if meeting is not None and meeting.ended.any():
                status[meeting.ended] = int(Status.EVENT)
            self._leave(gone, status)

    def _clock_times(self, aim: Aim) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Tell the device where steps start and how long they are."""
        t, h = self.link.send(aim.t, aim.h)
        if self.moved_BT is None:
            return t, h, None
        clocks = self.clocks
        fresh, final = self.link.send(clocks.accepted == 0, aim.end == clocks.goal)
        rows = self.link.send_rows(clocks.row)
        start, end = fresh * self.moved_BT[rows, 0], final * self.moved_BT[rows, -1]
        return t + start, h + (end - start), (start, end)

    def _renew(self, t: Tensor) -> None:
        """Evaluate the slopes of samples that have come to stand on a jump, just after it."""
        clocks = self.clocks
        jumped = np.flatnonzero(np.isin(clocks.at, self.jumps) & (clocks.growth > 1))
        if len(jumped) and self.first is not None:
            rows = self.link.send_rows(jumped)
            self.first = self.first.index_copy(0, rows, self.bound.at(rows)(t[rows], self.y[rows]))
            self._note(SlopesTaken(rows))
            clocks.evaluations[jumped] += 1

    def _look(self, trial: _Trial) -> tuple[Floats, Floats]:
        """Read the relative errors, and the events' values at the ends: here the host waits for the device."""
        step = trial.step
        if step.error is None:
            raise AssertionError("an adaptive walk needs a method with an error estimate")
        size = self.norm(step.error.detach(), step.damping, self.y, step.y)
        if step.failed is not None:
            # Not a number where the state is not finite, infinite where the implicit equation was not solved.
            size = torch.where(step.failed, torch.inf, torch.where(torch.isfinite(size), size, torch.nan))
        if self.watch is None:
            return self.link.fetch(size), self.clocks.values
        values = self.watch.values(trial.t + trial.h, step.y, self.bound)
        seen = self.link.fetch(torch.cat([size.unsqueeze(1).to(values), values], dim=1))
        return np.ascontiguousarray(seen[:, 0]), seen[:, 1:]

    def _without(self, lost: Flags, trial: _Trial) -> _Trial:
        """Take the step again without some samples: what is not finite would spoil the gradients of the others."""
        kept = np.flatnonzero(~lost)
        rows = self.link.send_rows(kept)
        # Where a slope was given, the step tells where it is now: the method may have moved it, and reused its memory.
        some, first = self.bound.at(rows), None if self.first is None else trial.step.first
        given = None if first is None else first[rows]
        again = self.stepper.step(some, trial.t[rows], trial.h[rows], self.y[rows], given)
        self.clocks.evaluations[kept] += some.evaluations

        def spread(part: Tensor) -> Tensor:
            return torch.zeros_like(self.y).index_copy(0, rows, part)

        step = trial.step._replace(
            y=spread(again.y),
            slopes=tuple(spread(slope) for slope in again.slopes),
            last=None if again.last is None else spread(again.last),
            first=first,
        )
        trial.entry.tried = rows
        return replace(trial, step=step)

    def _accept(self, good: Flags, aim: Aim, trial: _Trial) -> None:
        """Move the samples whose step was good to its end."""
        step = trial.step
        if good.any():
            self._note(trial.entry)
        if good.all():
            self.y, self.first = step.y, step.last
        elif not good.any():
            self.first = None if step.last is None else step.first
        else:
            (took,) = self.link.send(good, dtype=torch.bool)
            trial.entry.good, mask = took, along(took, self.y)
            self.y = torch.where(mask, step.y, self.y)
            ends = None if step.last is None or step.first is None else (step.last, step.first)
            self.first = None if ends is None else torch.where(mask, *ends)
        self.clocks.accept(aim, good)

    def _end(self, meeting: Meeting) -> Flags:
        """Put samples that met a terminal event where they met it."""
        self.clocks.at = np.where(meeting.ended, meeting.reached, self.clocks.at)
        for rows, state in meeting.endings:
            self.y = self.y.index_copy(0, rows, state)
        return meeting.ended

    def _write(self, crossing: Flags, reached: Floats, aim: Aim, trial: _Trial) -> None:
        """Keep the states at the outputs that lie in a step or at its end."""
        clocks = self.clocks
        start = clocks.at
        sample, output = clocks.reach(crossing, reached, self.clock_BT)
        rows = clocks.row[sample]
        asked, places = self.clock_BT[rows, output], rows * self.clock_BT.shape[1] + output
        # A state at a step's end moves with the step alone, not with the time that was asked for.
        last = trial.step.last if self.lands else None
        at_end = (asked == aim.end[sample]) & (trial.moved is None or last is not None)
        if at_end.any():
            ends = self.link.send_rows(sample[at_end])
            trial.entry.outputs.append(Output(self.outputs.count, ends, None))
            states = trial.step.y[ends]
            if trial.moved is not None and last is not None:
                asked_rows, outputs = self.link.send_rows(rows[at_end]), self.link.send_rows(output[at_end])
                follows = self.moved_BT[asked_rows, outputs] - trial.moved[1][ends]  # pyright: ignore[reportOptionalSubscript]
                states = states + along(follows, states) * last[ends]
            self.outputs.add(states, places[at_end])
        if at_end.all():
            return
        sample, rows, output, places = (each[~at_end] for each in (sample, rows, output, places))
        offset, span = asked[~at_end] - start[sample], aim.end[sample] - start[sample]
        if trial.moved is None:
            (theta,) = self.link.send(offset / span)
        else:
            begin, end = (each[self.link.send_rows(sample)] for each in trial.moved)
            offset, span = self.link.send(offset, span)
            moved = self.moved_BT[self.link.send_rows(rows), self.link.send_rows(output)]  # pyright: ignore[reportOptionalSubscript]
            theta = (offset + moved - begin) / (span + end - begin)
        path = self._path(sample, trial)
        weights = path.weights(theta)
        trial.entry.outputs.append(Output(self.outputs.count, self.link.send_rows(sample), weights.detach()))
        self.outputs.add(path.combine(weights), places)

    def _path(self, sample: Whole, trial: _Trial) -> DensePath:
        """Return the dense output of some samples' steps."""
        rows, slopes = self.link.send_rows(sample), trial.step.slopes
        one = self.times_BT.new_ones(1)
        weights = self.stepper.weights(one)
        if weights is not None and weights.shape[1] > len(slopes):
            who, back = np.unique(sample, return_inverse=True)
            some = self.link.send_rows(who)
            step = Step(trial.step.y[some], None, tuple(slope[some] for slope in slopes))
            called = self.bound.at(some)
            slopes = self.completer.complete(called, trial.t[some], trial.h[some], self.y[some], step).slopes
            self.clocks.evaluations[who] += called.evaluations
            chosen = self.link.send_rows(back)
        else:
            chosen = rows
        block = torch.stack([slope.reshape(slope.shape[0], -1) for slope in slopes], dim=1)
        return DensePath(self.stepper, trial.t[rows], trial.h[rows], self.y[rows], block[chosen])

    def _leave(self, gone: Flags, status: Whole) -> None:
        """Take those who arrived, or cannot go on, out of the batch."""
        if not gone.any():
            return
        clocks, left, stay = self.clocks, np.flatnonzero(gone), np.flatnonzero(~gone)
        rows = clocks.row[left]
        departure = Departure(self.link.send_rows(left), self.link.send_rows(stay), self.link.send_rows(clocks.row))
        self._note(departure)
        self.last.add(self.y[departure.left], rows)
        self.status_B[rows], self.stopped_B[rows] = status[left], clocks.at[left]
        accepted = clocks.accepted[left]
        self.counts_B3[rows] = np.stack([clocks.evaluations[left], accepted, self.tried - accepted], axis=1)
        clocks.keep(~gone)
        if len(stay):
            self.y = self.y[departure.stayed]
            self.first = None if self.first is None else self.first[departure.stayed]
            self.bound = self.all.at(self.link.send_rows(clocks.row))

    def _note(self, entry: SlopesTaken | Departure | OwnStep) -> None:
        if self.taped:
            self.journal.append(entry)
