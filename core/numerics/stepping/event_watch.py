"""Events in a solve in which each sample chooses its own steps."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.stepping.event import Event, EventLog, Met, find_zeros, on_event
from integrand.core.numerics.stepping.host_link import HostLink
from integrand.core.numerics.stepping.own_walk import DensePath
from integrand.core.numerics.stepping.sample_clocks import Flags, Floats, SampleClocks, Whole
from integrand.core.numerics.stepping.step_control import wide


@dataclass(frozen=True)
class Meeting:
    """What events make of a step.

    Attributes:
        reached: the clock up to which each step counts.
        ended: whether that is a terminal event.
        endings: for each terminal event, the samples that met it, and their states.
    """

    reached: Floats
    ended: Flags
    endings: list[tuple[Tensor, Tensor]]


class EventWatch:
    """The events looked out for, and those met so far.

    Args:
        events: the events.
        batch: number of samples.
        link: to the device.
    """

    def __init__(self, events: tuple[Event, ...], batch: int, link: HostLink) -> None:
        self.events, self.link = events, link
        self.terminal = np.array([event.terminal for event in events])
        self.record = EventRecord(batch)

    @torch.no_grad()
    def values(self, t: Tensor, y: Tensor, field: BoundField) -> Tensor:
        """Return the values of all event functions, (A, E)."""
        return torch.stack([wide(event.value(t, y, field.args)) for event in self.events], dim=1)

    def meet(
        self,
        clocks: SampleClocks,
        good: Flags,
        values: Floats,
        end: Floats,
        field: BoundField,
        path: Callable[[Whole], DensePath],
    ) -> Meeting | None:
        """Find the events of the steps that were good, and keep those that no terminal one forestalls.

        Args:
            clocks: at the steps' starts.
            good: which steps count, (A,).
            values: of the event functions at the ends, (A, E).
            end: clock at the ends, (A,).
            field: the right-hand side, bound to the A samples.
            path: gives the dense output of some of the steps.
        """
        before, fresh = clocks.values, clocks.accepted == 0
        clocks.values = np.where(good[:, None], values, before)
        found = [event.crossed(before[:, e], values[:, e], fresh) & good for e, event in enumerate(self.events)]
        which, sample = np.stack(found).nonzero()
        if not len(sample):
            return None
        theta = np.zeros(len(sample))
        for e in np.unique(which):
            mine = sample[which == e]
            theta[which == e] = self._locate(self.events[e], path(mine), before[mine, e], values[mine, e], field, mine)
        limit = np.full(len(good), np.inf)
        final = self.terminal[which]
        np.minimum.at(limit, sample[final], theta[final])
        kept = theta <= limit[sample]
        which, sample, theta = which[kept], sample[kept], theta[kept]
        slots = self.record.number(clocks.row[sample], theta)
        endings = []
        for e in np.unique(which):
            mine = sample[which == e]
            rows = self.link.send_rows(mine)
            some, way = field.at(rows), path(mine)
            (share,) = self.link.send(theta[which == e])
            met = on_event(self.events[e], way.time(share), way.state(share), some)
            clocks.evaluations[mine] += some.evaluations
            self.record.add(met, clocks.row[mine], slots[which == e], int(e), terminal=bool(self.terminal[e]))
            if self.terminal[e]:
                endings.append((rows, met.y))
        ended = np.isfinite(limit)
        part = np.where(ended, limit, 1.0)
        reached = np.where(part < 1, clocks.at + part * (end - clocks.at), end)
        return Meeting(reached, ended, endings)

    @torch.no_grad()
    def _locate(
        self, event: Event, path: DensePath, before: Floats, after: Floats, field: BoundField, sample: Whole
    ) -> Floats:
        """Return the shares of the steps after which events happen."""
        args = field.at(self.link.send_rows(sample)).args
        low, high = self.link.send(before, after)
        zeros = find_zeros(lambda theta: event.value(path.time(theta), path.state(theta), args), low, high)
        return self.link.fetch(zeros)


class EventRecord:
    """The events met so far."""

    def __init__(self, batch: int) -> None:
        self.count_B = np.zeros(batch, dtype=np.int64)
        self.met: list[Met] = []
        self.found: list[tuple[Whole, Whole, int, bool]] = []

    def number(self, rows: Whole, theta: Floats) -> Whole:
        """Number the events of a step in the order of ``theta`` for each sample, after those of the steps before."""
        order = np.lexsort((theta, rows))
        sorted_rows = rows[order]
        slots = np.empty_like(rows)
        slots[order] = self.count_B[sorted_rows] + np.arange(len(rows)) - np.searchsorted(sorted_rows, sorted_rows)
        np.add.at(self.count_B, rows, 1)
        return slots

    def add(self, met: Met, rows: Whole, slots: Whole, which: int, *, terminal: bool) -> None:
        """Keep events of one function, with their samples and numbers."""
        self.met.append(met)
        self.found.append((rows, slots, which, terminal))

    def read(self, y0: Tensor, times: Tensor) -> tuple[EventLog, Tensor, Tensor]:
        """Return all events, and the times (B,) and states (B, ...) of terminal ones."""
        batch, most = len(self.count_B), int(self.count_B.max(initial=0))
        total = sum(len(rows) for rows, *_ in self.found)
        source_BK = np.full((batch, most), total)
        source_B = np.full(batch, total)
        which_BK = np.full((batch, most), -1)
        place = 0
        for rows, slots, which, terminal in self.found:
            each = np.arange(place, place + len(rows))
            source_BK[rows, slots], which_BK[rows, slots] = each, which
            if terminal:
                source_B[rows] = each
            place += len(rows)
        t = torch.cat([*(met.t for met in self.met), times.new_full((1,), torch.inf)])
        y = torch.cat([*(met.y for met in self.met), torch.full_like(y0[:1], torch.nan)])
        rows_BK, rows_B, which = (torch.from_numpy(a).to(y.device) for a in (source_BK, source_B, which_BK))
        return EventLog(t[rows_BK], y[rows_BK], which), t[rows_B], y[rows_B]
