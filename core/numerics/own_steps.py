"""Adaptive steps that each sample chooses for itself."""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.event import Event, EventLog, EventRecord, find_zeros, on_event
from integrand.core.numerics.explicit import along
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.sample_clocks import Aim, Flags, Floats, SampleClocks, Whole
from integrand.core.numerics.solution import SolverStats, Status
from integrand.core.numerics.step_control import ErrorNorm, StepControl, wide
from integrand.core.numerics.stepper import Step, Stepper


@dataclass
class Pieces:
    """Rows of a tensor that come to light bit by bit, each with the place where it belongs."""

    values: list[Tensor] = field(default_factory=list)
    places: list[Whole] = field(default_factory=list)

    def add(self, values: Tensor, places: Whole) -> None:
        """Keep some rows."""
        self.values.append(values)
        self.places.append(places)

    def gather(self, count: int, fill: Tensor) -> Tensor:
        """Return the rows at places 0, ..., count - 1; where there is none, the rows of ``fill`` take equal shares."""
        total = sum(len(places) for places in self.places)
        source = np.full(count, -1)
        source[np.concatenate([*self.places, np.empty(0, dtype=np.int64)])] = np.arange(total)
        missing = np.flatnonzero(source < 0)
        source[missing] = total + missing * len(fill) // count
        values = [*self.values, fill] if len(missing) else self.values
        rows = torch.cat(values) if len(values) > 1 else values[0]
        return rows[torch.from_numpy(source).to(rows.device)]


@dataclass
class OwnWalk:
    """Where an adaptive solve with each sample's own steps has come to.

    Attributes:
        outputs: states at output times, output i of a sample in place sample * T + i.
        status: ``Status`` of each sample, (B,).
        stats: work done.
        stopped_at: time at which a sample stopped, (B,), on the host.
        last: its state there, (B, ...).
        log: the events met; None where none were asked for.
        event_times: time of the terminal event, (B,), infinite without one; None likewise.
        event_states: the state there, (B, ...), NaN without one; None likewise.
    """

    outputs: Pieces
    status: Tensor
    stats: SolverStats
    stopped_at: Floats
    last: Tensor
    log: EventLog | None = None
    event_times: Tensor | None = None
    event_states: Tensor | None = None

    def stack(self, count: int, on_failure: str) -> Tensor:
        """Return the states as (B, T, ...), those not reached filled with NaN or with the sample's last state."""
        fill = self.last if on_failure == "last" else torch.full_like(self.last, torch.nan)
        batch = fill.shape[0]
        return self.outputs.gather(batch * count, fill).view(batch, count, *fill.shape[1:])


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
    """
    return _Walker(bound, y0, times, stepper, norm, control, max_steps, events).run()


@dataclass(frozen=True)
class _Trial:
    """A step that was tried, on the device.

    Attributes:
        t, h: start and length, (A,).
        step: the step.
        moved: zeros with the derivatives, by the caller's times, of either end; None without any.
    """

    t: Tensor
    h: Tensor
    step: Step
    moved: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class _Meeting:
    """What events make of a step.

    Attributes:
        reached: the clock up to which each step counts.
        ended: whether that is a terminal event.
        endings: for each terminal event, the samples that met it, and their states.
    """

    reached: Floats
    ended: Flags
    endings: list[tuple[Tensor, Tensor]]


class _Path:
    """The dense output y + h sum_i b_i(theta) k_i of P steps, and its time; slopes are (P, stages, D)."""

    def __init__(self, stepper: Stepper, t: Tensor, h: Tensor, y: Tensor, slopes: Tensor) -> None:
        self.stepper, self.t, self.h, self.y, self.slopes = stepper, t, h, y, slopes

    def time(self, theta: Tensor) -> Tensor:
        return self.t + theta.to(self.t.dtype) * self.h

    def state(self, theta: Tensor) -> Tensor:
        weights = self.stepper.weights(theta)
        if weights is None:
            raise AssertionError("steps of each sample's own need a method with dense output")
        weights = (weights * self.h.unsqueeze(1)).to(self.slopes.dtype)
        return self.y + torch.bmm(weights.unsqueeze(1), self.slopes).view_as(self.y)

    def detach(self) -> "_Path":
        return _Path(self.stepper, self.t.detach(), self.h.detach(), self.y.detach(), self.slopes.detach())


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
    ) -> None:
        self.all, self.bound, self.stepper, self.norm, self.control = bound, bound, stepper, norm, control
        # A stepper's own memory has the shape of the batch, while dense output may be completed for a few of it.
        self.completer = copy.copy(stepper)
        self.max_steps, self.events, self.tried = max_steps, events, 0
        self.times_BT, self.real, self.device = times, times.dtype, times.device
        self.clock_BT: Floats = times.detach().cpu().double().numpy()
        self.jumps = np.unique(np.array(control.jump_times, dtype=np.float64))
        self.moved_BT = times - times.detach() if times.requires_grad and torch.is_grad_enabled() else None
        self.clocks = SampleClocks.start(self.clock_BT, len(events))
        self.y0, self.y, self.first = y0, y0, None

        batch, count = self.clock_BT.shape
        self.outputs, self.last, self.record = Pieces(), Pieces(), EventRecord(batch)
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
        (status,) = self._send(self.status_B, dtype=torch.int64)
        status = torch.where((status == int(Status.OK)) & lost, int(Status.NONFINITE), status)
        stats = SolverStats(*self._send(*self.counts_B3.T, dtype=torch.int64))
        walk = OwnWalk(self.outputs, status, stats, self.stopped_B, last)
        if self.events:
            walk.log, walk.event_times, walk.event_states = self.record.read(self.y0, self.times_BT)
        return walk

    def _starts(self, row: Whole, output: Whole) -> Tensor:
        """Return the states at the outputs that equal a sample's first."""
        y = self.y0[self._send_rows(row)]
        if self.moved_BT is None or not output.any():
            return y
        # A repeat of the first time is y0 only until it moves away from the first.
        again = np.flatnonzero(output)
        rows, outputs = self._send_rows(row[again]), self._send_rows(output[again])
        moved = self.moved_BT[rows, outputs] - self.moved_BT[rows, 0]
        slope = self.all.at(rows)(self.times_BT[rows, 0], self.y0[rows])
        np.add.at(self.clocks.evaluations, row[again], 1)
        return y.index_add(0, self._send_rows(again), along(moved, slope) * slope)

    def _begin(self) -> None:
        """Evaluate the first slopes and choose the first steps. Samples whose slope is not finite end here."""
        clocks, bound = self.clocks, self.bound
        before = bound.evaluations
        (t,) = self._send(clocks.at)
        if self.moved_BT is not None:
            t = t + self.moved_BT[self._send_rows(clocks.row), 0]
        slope = self.first = bound(t, self.y) if self.stepper.stages else None
        slope = bound.peek(t, self.y) if slope is None else slope.detach()
        if self.control.first_step is None:
            clocks.length = self._first_step(slope)
        else:
            clocks.length = np.full_like(clocks.at, self.control.first_step)
        clocks.evaluations += bound.evaluations - before
        if self.events:
            clocks.values = self._fetch(self._event_values(t, self.y))
        finite = torch.isfinite(slope).reshape(len(clocks.row), -1).all(1).cpu().numpy()
        if finite.all():
            return
        self._leave(~finite, np.full(len(finite), int(Status.NONFINITE)))
        if self.first is not None and torch.is_grad_enabled() and len(clocks.row):
            # Again, for a slope that is not finite would spoil the gradients of what samples share.
            self.first = self.bound(t[self._send_rows(np.flatnonzero(finite))], self.y)
            clocks.evaluations += 1

    @torch.no_grad()
    def _first_step(self, slope: Tensor) -> Floats:
        """Choose the first steps from the sizes of the state, its slope and the slope's change.

        Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.4, page 169.
        """
        clocks, y = self.clocks, self.y.detach()
        limit, scale = np.abs(clocks.goal - clocks.at), self.norm.scale(y)
        size, change = self._fetch(torch.stack([self.norm.measure(y, scale), self.norm.measure(slope, scale)]))
        with np.errstate(all="ignore"):  # where the slope is not finite, the sample does not go on
            probe = np.where(np.minimum(size, change) >= 1e-5, 0.01 * size / change, 1e-6 * limit)
            probe = np.fmin(probe, limit)
            t, h = self._send(clocks.at + clocks.sign * probe, clocks.sign * probe)
            other = self.bound.peek(t, y + along(h, y) * slope)
            bend = self._fetch(self.norm.measure(other - slope, scale)) / probe
            steepest = np.maximum(change, bend)
            calm = np.maximum(1e-6 * limit, 1e-3 * probe)
            guess = np.where(steepest <= 1e-15, calm, (0.01 / steepest) ** (1 / (self.stepper.order + 1)))
            guess = np.where(np.isfinite(steepest), np.minimum(100 * probe, guess), probe)
        return np.minimum(guess, limit)

    def _step(self) -> None:
        """Try a step of every sample on its way."""
        clocks = self.clocks
        aim = clocks.aim(self.control, self.jumps, torch.finfo(self.real).eps)
        t, h, moved = self._clock_times(aim)
        if len(self.jumps):
            self._renew(t)
        before = self.bound.evaluations
        trial = _Trial(t, h, self.stepper.step(self.bound, t, h, self.y, self.first), moved)
        clocks.evaluations += self.bound.evaluations - before
        self.tried += 1
        size, values = self._look(trial)
        good, stuck = clocks.settle(aim, size, self.control, self.stepper.error_order or 0)
        lost = ~np.isfinite(size)
        if lost.any() and good.any() and torch.is_grad_enabled():
            trial = self._without(lost, trial)

        meeting = self._meet(good, values, aim, trial) if self.events else None
        reached = aim.end if meeting is None else meeting.reached
        crossing = good & (clocks.sign * (reached - clocks.upcoming) >= 0)
        if crossing.any():
            self._write(crossing, reached, aim, trial)
        self._accept(good, aim, trial.step)
        gone = stuck | good & (aim.end == clocks.goal)
        if meeting is not None:
            gone |= self._end(meeting)
        if self.tried >= self.max_steps:
            gone = np.ones_like(good)
        if gone.any():
            arrived = good & (aim.end == clocks.goal)
            cases = {Status.OK: arrived, Status.NONFINITE: stuck & lost, Status.STEP_TOO_SMALL: stuck}
            status = np.select(list(cases.values()), [int(case) for case in cases], int(Status.MAX_STEPS))
            if meeting is not None and meeting.ended.any():
                status[meeting.ended] = int(Status.EVENT)
            self._leave(gone, status)

    def _clock_times(self, aim: Aim) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Tell the device where steps start and how long they are."""
        t, h = self._send(aim.t, aim.h)
        if self.moved_BT is None:
            return t, h, None
        clocks = self.clocks
        fresh, final = self._send(clocks.accepted == 0, aim.end == clocks.goal)
        rows = self._send_rows(clocks.row)
        start, end = fresh * self.moved_BT[rows, 0], final * self.moved_BT[rows, -1]
        return t + start, h + (end - start), (start, end)

    def _renew(self, t: Tensor) -> None:
        """Evaluate the slopes of samples that have come to stand on a jump, just after it."""
        clocks = self.clocks
        jumped = np.flatnonzero(np.isin(clocks.at, self.jumps) & (clocks.growth > 1))
        if len(jumped) and self.first is not None:
            rows = self._send_rows(jumped)
            self.first = self.first.index_copy(0, rows, self.bound.at(rows)(t[rows], self.y[rows]))
            clocks.evaluations[jumped] += 1

    def _look(self, trial: _Trial) -> tuple[Floats, Floats]:
        """Read the relative errors, and the events' values at the ends: here the host waits for the device."""
        step = trial.step
        if step.error is None:
            raise AssertionError("an adaptive walk needs a method with an error estimate")
        size = self.norm(step.error.detach(), step.damping, self.y, step.y)
        if step.failed is not None:
            size = torch.where(step.failed, torch.inf, size)
        if not self.events:
            return self._fetch(size), self.clocks.values
        values = self._event_values(trial.t + trial.h, step.y)
        seen = self._fetch(torch.cat([size.unsqueeze(1).to(values), values], dim=1))
        return np.ascontiguousarray(seen[:, 0]), seen[:, 1:]

    def _without(self, lost: Flags, trial: _Trial) -> _Trial:
        """Take the step again without some samples: what is not finite would spoil the gradients of the others."""
        kept = np.flatnonzero(~lost)
        rows = self._send_rows(kept)
        some, first = self.bound.at(rows), None if self.first is None else self.first[rows]
        again = self.stepper.step(some, trial.t[rows], trial.h[rows], self.y[rows], first)
        self.clocks.evaluations[kept] += some.evaluations

        def spread(part: Tensor) -> Tensor:
            return torch.zeros_like(self.y).index_copy(0, rows, part)

        step = trial.step._replace(
            y=spread(again.y),
            slopes=tuple(spread(slope) for slope in again.slopes),
            last=None if again.last is None else spread(again.last),
            first=self.first,
        )
        return _Trial(trial.t, trial.h, step, trial.moved)

    def _accept(self, good: Flags, aim: Aim, step: Step) -> None:
        """Move the samples whose step was good to its end."""
        if good.all():
            self.y, self.first = step.y, step.last
        elif not good.any():
            self.first = None if step.last is None else step.first
        else:
            (mask,) = self._send(good, dtype=torch.bool)
            mask = along(mask, self.y)
            self.y = torch.where(mask, step.y, self.y)
            ends = None if step.last is None or step.first is None else (step.last, step.first)
            self.first = None if ends is None else torch.where(mask, *ends)
        self.clocks.accept(aim, good)

    def _write(self, crossing: Flags, reached: Floats, aim: Aim, trial: _Trial) -> None:
        """Keep the states at the outputs that lie in a step or at its end."""
        clocks = self.clocks
        start = clocks.at
        sample, output = clocks.reach(crossing, reached, self.clock_BT)
        rows = clocks.row[sample]
        asked, places = self.clock_BT[rows, output], rows * self.clock_BT.shape[1] + output
        # A state at a step's end moves with the step alone, not with the time that was asked for.
        at_end = (asked == aim.end[sample]) & (trial.moved is None)
        if at_end.any():
            self.outputs.add(trial.step.y[self._send_rows(sample[at_end])], places[at_end])
        if at_end.all():
            return
        sample, rows, output, places = (each[~at_end] for each in (sample, rows, output, places))
        offset, span = asked[~at_end] - start[sample], aim.end[sample] - start[sample]
        if trial.moved is None:
            (theta,) = self._send(offset / span)
        else:
            begin, end = (each[self._send_rows(sample)] for each in trial.moved)
            offset, span = self._send(offset, span)
            moved = self.moved_BT[self._send_rows(rows), self._send_rows(output)]  # pyright: ignore[reportOptionalSubscript]
            theta = (offset + moved - begin) / (span + end - begin)
        self.outputs.add(self._path(sample, trial).state(theta), places)

    def _path(self, sample: Whole, trial: _Trial) -> _Path:
        """Return the dense output of some samples' steps."""
        rows, slopes = self._send_rows(sample), trial.step.slopes
        one = torch.ones(1, dtype=self.real, device=self.device)
        weights = self.stepper.weights(one)
        if weights is not None and weights.shape[1] > len(slopes):
            who, back = np.unique(sample, return_inverse=True)
            some = self._send_rows(who)
            step = Step(trial.step.y[some], None, tuple(slope[some] for slope in slopes))
            called = self.bound.at(some)
            slopes = self.completer.complete(called, trial.t[some], trial.h[some], self.y[some], step).slopes
            self.clocks.evaluations[who] += called.evaluations
            chosen = self._send_rows(back)
        else:
            chosen = rows
        block = torch.stack([slope.reshape(slope.shape[0], -1) for slope in slopes], dim=1)
        return _Path(self.stepper, trial.t[rows], trial.h[rows], self.y[rows], block[chosen])

    @torch.no_grad()
    def _event_values(self, t: Tensor, y: Tensor) -> Tensor:
        """Return the values of the event functions, (A, E)."""
        args = self.bound.args
        return torch.stack([wide(event.value(t, y, args)) for event in self.events], dim=1)

    def _meet(self, good: Flags, values: Floats, aim: Aim, trial: _Trial) -> _Meeting | None:
        """Find the events of good steps."""
        clocks = self.clocks
        before, fresh = clocks.values, clocks.accepted == 0
        found = [event.crossed(before[:, e], values[:, e], fresh) & good for e, event in enumerate(self.events)]
        clocks.values = np.where(good[:, None], values, before)
        which, sample = np.stack(found).nonzero()
        if not len(sample):
            return None
        theta = np.zeros(len(sample))
        for e in np.unique(which):
            chosen = which == e
            theta[chosen] = self._locate(self.events[e], sample[chosen], before[:, e], values[:, e], trial)
        terminal = np.array([event.terminal for event in self.events])[which]
        limit = np.full(len(good), np.inf)
        np.minimum.at(limit, sample[terminal], theta[terminal])
        kept = theta <= limit[sample]
        which, sample, theta, terminal = (each[kept] for each in (which, sample, theta, terminal))
        slots = self.record.number(clocks.row[sample], theta)
        endings = []
        for e in np.unique(which):
            mine = which == e
            who = sample[mine]
            (share,) = self._send(theta[mine])
            path = self._path(who, trial)
            called = self.bound.at(self._send_rows(who))
            met = on_event(self.events[e], path.time(share), path.state(share), called)
            clocks.evaluations[who] += called.evaluations
            self.record.add(met, clocks.row[who], slots[mine], e, terminal=self.events[e].terminal)
            if self.events[e].terminal:
                endings.append((self._send_rows(who), met.y))
        ended = np.isfinite(limit)
        part = np.where(ended, limit, 1.0)
        reached = np.where(part < 1, clocks.at + part * (aim.end - clocks.at), aim.end)
        return _Meeting(reached, ended, endings)

    def _end(self, meeting: "_Meeting") -> Flags:
        """Put samples that met a terminal event where they met it."""
        self.clocks.at = np.where(meeting.ended, meeting.reached, self.clocks.at)
        for rows, state in meeting.endings:
            self.y = self.y.index_copy(0, rows, state)
        return meeting.ended

    @torch.no_grad()
    def _locate(self, event: Event, sample: Whole, before: Floats, after: Floats, trial: _Trial) -> Floats:
        """Return the shares of the steps after which events happen."""
        path = self._path(sample, trial)
        args = self.bound.at(self._send_rows(sample)).args
        low, high = self._send(before[sample], after[sample])
        zeros = find_zeros(lambda theta: event.value(path.time(theta), path.state(theta), args), low, high)
        return self._fetch(zeros)

    def _leave(self, gone: Flags, status: Whole) -> None:
        """Take those who arrived, or cannot go on, out of the batch."""
        if not gone.any():
            return
        clocks, left, stay = self.clocks, np.flatnonzero(gone), np.flatnonzero(~gone)
        rows = clocks.row[left]
        self.last.add(self.y[self._send_rows(left)], rows)
        self.status_B[rows], self.stopped_B[rows] = status[left], clocks.at[left]
        accepted = clocks.accepted[left]
        self.counts_B3[rows] = np.stack([clocks.evaluations[left], accepted, self.tried - accepted], axis=1)
        clocks.keep(~gone)
        if len(stay):
            kept = self._send_rows(stay)
            self.y = self.y[kept]
            self.first = None if self.first is None else self.first[kept]
            self.bound = self.all.at(self._send_rows(clocks.row))

    # Messages between host and device

    def _send(self, *columns: np.ndarray, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
        """Copy numbers to the device, in one message."""
        host = torch.from_numpy(np.stack(columns)) if len(columns) > 1 else torch.from_numpy(columns[0]).unsqueeze(0)
        return host.to(dtype or self.real).to(self.device).unbind(0)

    def _send_rows(self, rows: Whole) -> Tensor:
        return torch.from_numpy(rows).to(self.device)

    @staticmethod
    def _fetch(values: Tensor) -> Floats:
        return values.detach().cpu().double().numpy()
