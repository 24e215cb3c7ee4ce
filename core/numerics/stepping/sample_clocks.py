"""The clocks of samples that choose their own steps.

They live on the host: a few numbers a sample, doubles also where the state is not, for which an accelerator would
launch dozens of kernels a step.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from integrand.core.numerics.stepping.host_link import HostLink
from integrand.core.numerics.stepping.step_control import StepControl

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

FINEST = 4 * 2.0**-52
"""Least step relative to the clock: below it the clock, a double, stands still."""


class Aim(NamedTuple):
    """The steps that samples try.

    Attributes:
        share: their lengths.
        wanted: what these would be if nothing were in the way.
        end: the clock at their ends.
        t, h: start and length as the field is to see them, which keeps just beside jumps.
    """

    share: Floats
    wanted: Floats
    end: Floats
    t: Floats
    h: Floats


@dataclass
class SampleClocks:
    """Where each of A samples is on its way, and how long its next step is.

    Attributes:
        row: place in the batch.
        at, goal: the clock now, and at the last output.
        sign: 1 where time increases, -1 where it decreases.
        upcoming: the next output's time.
        length: of the next step, if nothing limits it.
        errors: relative errors of the last two steps accepted, (A, 2).
        growth: most by which the next step may be longer than the last.
        accepted: steps accepted.
        evaluations: of the field.
        values: of the event functions, (A, E).
    """

    row: Whole
    at: Floats
    goal: Floats
    sign: Floats
    upcoming: Floats
    length: Floats
    errors: Floats
    growth: Floats
    accepted: Whole
    evaluations: Whole
    values: Floats

    @classmethod
    def start(cls, clock_BT: Floats, events: int) -> "SampleClocks":
        """Set the clocks to the first of the output times, (B, T)."""
        batch = len(clock_BT)
        at, goal = clock_BT[:, 0], clock_BT[:, -1]
        beyond = np.argmax(clock_BT != at[:, None], axis=1)
        return cls(
            row=np.arange(batch),
            at=at,
            goal=goal,
            sign=np.where(goal < at, -1.0, 1.0),
            upcoming=clock_BT[np.arange(batch), beyond],
            length=np.zeros(batch),
            errors=np.ones((batch, 2)),
            growth=np.full(batch, np.inf),
            accepted=np.zeros(batch, dtype=np.int64),
            evaluations=np.zeros(batch, dtype=np.int64),
            values=np.zeros((batch, events)),
        )

    def keep(self, which: Flags) -> None:
        """Go on with these samples alone."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[which])

    def aim(self, control: StepControl, jumps: Floats, precision: float, *, lands: bool = False) -> Aim:
        """Choose where the next steps end: no further than the last output and the next jump.

        ``precision`` is that of the field's times; ``lands``, whether steps end on the next output, too.
        """
        goal = self.upcoming if lands else self.goal
        stop = goal if not len(jumps) else self._next_stop(jumps, goal)
        left = np.abs(stop - self.at)
        wanted = np.minimum(self.length, control.max_step)
        # What is left before a stop is shared by the last two steps, lest the last one be a sliver.
        arrives = wanted >= 0.999 * left
        share = np.where(arrives, left, np.minimum(wanted, 0.5 * left))
        end = np.where(arrives, stop, self.at + self.sign * share)
        if not len(jumps):
            return Aim(share, wanted, end, self.at, end - self.at)
        # As many roundings lie between a step's start and the time of a stage.
        margin = self.sign * np.minimum(4 * precision * np.maximum(np.abs(self.at), np.abs(end)), 0.25 * share)
        after, before = margin * np.isin(self.at, jumps), margin * np.isin(end, jumps)
        return Aim(share, wanted, end, self.at + after, end - self.at - after - before)

    def settle(self, aim: Aim, size: Floats, control: StepControl, order: float) -> tuple[Flags, Flags]:
        """Choose the lengths of the next steps from the relative errors of these.

        Clocks stay where they are, see ``accept``.

        Returns:
            Which steps were good, and which samples cannot go on, since they would need too short a step.
        """
        size = np.fmin(size, np.inf)  # what is not a number counts as beyond all bounds
        good = size <= 1
        errors = (size, self.errors[:, 0].copy(), self.errors[:, 1].copy()) if control.p or control.d else (size,) * 3
        newest, last, older = (torch.from_numpy(each) for each in errors)
        factor = HostLink.fetch(control.factor(order, (newest, last, older)))
        factor = np.minimum(factor, np.where(good, self.growth, 0.9))
        length = aim.share * factor
        # A step cut short by a stop says little of how long the next may be.
        self.length = np.where(factor >= 1, np.maximum(length, aim.wanted), length)
        self.growth = np.where(good, np.inf, 1.0)
        if control.p or control.d:
            self.errors = np.where(good[:, None], np.stack(errors[:2], axis=1), self.errors)
        if good.all():
            return good, ~good
        least = np.maximum(control.min_step, FINEST * np.abs(self.at))
        return good, ~good & ((length < least) | (length == 0))

    def accept(self, aim: Aim, good: Flags) -> None:
        """Move the clocks of good steps to their ends."""
        self.at = aim.end if good.all() else np.where(good, aim.end, self.at)
        self.accepted = self.accepted + good

    def reach(self, crossing: Flags, reached: Floats, clock_BT: Floats) -> tuple[Whole, Whole]:
        """Return the outputs after the clocks and up to what some samples reached, as samples and outputs."""
        who = np.flatnonzero(crossing)
        sign = self.sign[who, None]
        ahead = clock_BT[self.row[who]] * sign
        passed = ahead <= (reached[who, None] * sign)
        sample, output = (passed & (ahead > self.at[who, None] * sign)).nonzero()
        following = np.minimum(passed.sum(axis=1), ahead.shape[1] - 1)
        self.upcoming[who] = clock_BT[self.row[who], following]
        return who[sample], output

    def _next_stop(self, jumps: Floats, goal: Floats) -> Floats:
        ahead = (jumps - self.at[:, None]) * self.sign[:, None]
        ahead = np.where(ahead > 0, ahead, np.inf)
        nearest = ahead.argmin(axis=1)
        sooner = ahead.min(axis=1) < np.abs(goal - self.at)
        return np.where(sooner, jumps[nearest], goal)
