"""Forecasting as a data set: windows of a table, each a context to learn from and targets to predict."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS, ChronologicalSplit
from integrand.datasets.tables import MICROSECONDS, Table

Array = np.ndarray


@dataclass(frozen=True)
class ForecastTask:
    """What is forecast from what: all a network needs to be built, and a forecast to be read.

    Attributes:
        channels: names of the channels seen; the first ``targets`` of them are forecast.
        targets: how many channels are forecast.
        units: unit of each channel.
        time_unit: unit of all times.
        context: length of the past a forecast may use.
        horizon: length of the future it covers.
        resolution: typical interval between rows.
        periods: calendar periods the network may use, in time units.
        groups: names of the groups known in training.
        location: mean of each channel over the observed training values.
        scale: standard deviation of the same.
    """

    channels: list[str]
    targets: int
    units: list[str]
    time_unit: str
    context: float
    horizon: float
    resolution: float
    periods: list[float]
    groups: list[str]
    location: list[float]
    scale: list[float]

    @property
    def leads(self) -> int:
        """Number of lead times: intervals of the resolution in the horizon."""
        return max(1, round(self.horizon / self.resolution))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint stores them."""
        return asdict(self)


class Windows:
    """Rows of a table cut into contexts and targets at given forecast origins.

    Attributes:
        origins: (N,) forecast origins, in the table's time.
        series: (N,) index of the series of each window.
    """

    def __init__(self, table: Table, task: ForecastTask, origins: list[Array]) -> None:
        offsets = np.cumsum([0, *(len(s.times) for s in table.series)])
        self.table, self.task = table, task
        self._times_R = np.concatenate([s.times for s in table.series])
        standardised = (np.concatenate([s.values for s in table.series]) - task.location) / task.scale
        self._mask_RC = np.isfinite(standardised)
        self._values_RC = np.where(self._mask_RC, standardised, 0).astype(np.float32)
        self.origins = np.concatenate(origins)
        self.series = np.repeat(np.arange(len(origins)), [len(o) for o in origins])

        def rows(shift: float) -> Array:
            found = [
                offsets[i] + np.searchsorted(s.times, o + shift, side="right")
                for i, (s, o) in enumerate(zip(table.series, origins, strict=True))
            ]
            return np.concatenate(found)

        self._first, self._origin, self._last = rows(-task.context), rows(0.0), rows(task.horizon)
        known = {name: i for i, name in enumerate(task.groups)}
        self._static = np.zeros((len(table.series), len(task.groups)), dtype=np.float32)
        for i, s in enumerate(table.series):
            if s.group in known:
                self._static[i, known[s.group]] = 1
        # Calendar phases count from 1970 where stamps are dates, so that those of another file agree.
        self._calendar = 0.0 if table.epoch is None else table.epoch.timestamp() * 1e6 / MICROSECONDS[table.time_unit]

    def __len__(self) -> int:
        return len(self.origins)

    def batch(self, index: Array, keep: Array | None = None) -> IrregularBatch:
        """Build the batch of the windows ``index``; ``keep(B, L)`` says which context rows survive."""
        first, origin, last = self._first[index], self._origin[index], self._last[index]
        tau = self.origins[index]
        context = _ranges(first, origin)
        chosen = context >= 0
        if keep is not None:
            chosen &= keep[:, : context.shape[1]]
        context, chosen = _compress(context, chosen)
        target = _ranges(origin, last)
        future = target >= 0
        values, mask, times = self._gather(context, chosen, tau)
        target_values, target_mask, target_times = self._gather(target, future, tau)
        c = self.task.targets
        periods = np.asarray(self.task.periods, dtype=np.float64)
        phase = 2 * np.pi * np.mod((tau[:, None] + self._calendar) / periods, 1.0)
        groups = [self.table.series[s].group for s in self.series[index]]
        return IrregularBatch(
            values=torch.from_numpy(values),
            mask=torch.from_numpy(mask),
            times=torch.from_numpy(times),
            lengths=torch.from_numpy(chosen.sum(1)),
            static=torch.from_numpy(self._static[self.series[index]]),
            phase=torch.from_numpy(phase.astype(np.float32)),
            target=torch.from_numpy(np.ascontiguousarray(target_values[..., :c])),
            target_times=torch.from_numpy(target_times),
            target_mask=torch.from_numpy(np.ascontiguousarray(target_mask[..., :c])),
            group=groups,
            sample_id=[f"{g}@{t:.15g}" for g, t in zip(groups, tau, strict=True)],
            meta={"time_unit": self.task.time_unit, "cutoff": 0.0},
        )

    @property
    def longest(self) -> int:
        """Rows of the longest context."""
        return int((self._origin - self._first).max(initial=0))

    def context_rows(self, index: Array) -> Array:
        """Count the rows of each context, before any is dropped."""
        return self._origin[index] - self._first[index]

    def _gather(self, rows: Array, chosen: Array, tau: Array) -> tuple[Array, Array, Array]:
        safe = np.where(chosen, rows, 0)
        mask = self._mask_RC[safe] & chosen[..., None]
        values = np.where(mask, self._values_RC[safe], np.float32(0))
        times = self._times_R[safe] - tau[:, None]
        count = chosen.sum(1)
        if times.shape[1]:
            final = np.where(count > 0, times[np.arange(len(times)), np.maximum(count - 1, 0)], 0.0)
            times = np.where(chosen, times, final[:, None])
        return values, mask, times.astype(np.float32)


def _ranges(start: Array, stop: Array) -> Array:
    """Rows start..stop of each window side by side, -1 beyond the end."""
    width = int((stop - start).max(initial=0))
    rows = start[:, None] + np.arange(width)
    return np.where(rows < stop[:, None], rows, -1)


def _compress(rows: Array, chosen: Array) -> tuple[Array, Array]:
    """Move the chosen rows to the front, in order, and cut off what no window needs."""
    order = np.argsort(~chosen, axis=1, kind="stable")
    width = int(chosen.sum(1).max(initial=0))
    order = order[:, :width]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(chosen, order, 1)


class ForecastWindows(Dataset[IrregularBatch]):
    """The windows of one part of a split, with context rows dropped at random.

    Which rows go is a pure function of (seed, part, epoch, window), so it is the same on every machine, in every
    worker and after every restart. An index i stands for window i mod N in epoch i div N: training sees new drops each
    epoch, and validation and test, read in epoch 0, always the same.

    Args:
        table: the data.
        task: what is forecast.
        split: the parts; a window lies wholly within its own.
        part: ``"train"``, ``"validation"`` or ``"test"``.
        stride: every how many rows a window starts.
        drop: least and greatest share of context rows dropped.
        seed: of the drops.
    """

    def __init__(
        self,
        table: Table,
        task: ForecastTask,
        split: ChronologicalSplit,
        part: str,
        *,
        stride: int = 1,
        drop: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        if not 0 <= drop[0] <= drop[1] < 1:
            raise InputError(f"drop must be two shares with 0 <= low <= high < 1, got {drop}.")
        start, end = split.span(part)
        origins = []
        for series in table.series:
            times = series.times
            inside = (times - task.context >= start) & (times + task.horizon < end)
            inside &= times + task.horizon <= times[-1]
            origins.append(times[inside][::stride])
        self.windows = Windows(table, task, origins)
        if not len(self.windows):
            raise InputError(
                f"the {part} part spans {end - start:g} {task.time_unit} and holds no window of context "
                f"{task.context:g} and horizon {task.horizon:g}: shorten them, or give a longer series."
            )
        self.part, self.drop, self.seed = part, drop, seed

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> IrregularBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> IrregularBatch:
        """Build the batch of several windows at once."""
        epoch, window = np.divmod(np.asarray(indices, dtype=np.int64), len(self))
        return self.windows.batch(window, self._keep(epoch, window))

    def _keep(self, epoch: Array, window: Array) -> Array | None:
        if self.drop[1] == 0:
            return None
        length = self.windows.longest
        keep = np.empty((len(window), length), dtype=bool)
        for row, (e, w) in enumerate(zip(epoch.tolist(), window.tolist(), strict=True)):
            key = [(self.seed << 32) + 4 * e + PARTS.index(self.part), w]
            draw = np.random.Generator(np.random.Philox(key=key)).random(length + 1)
            keep[row] = draw[1:] >= self.drop[0] + (self.drop[1] - self.drop[0]) * draw[0]
        # A context is never emptied: its last row stays when no other does.
        count = self.windows.context_rows(window)
        inside = np.arange(length) < count[:, None]
        empty = ~(keep & inside).any(1) & (count > 0)
        keep[empty, count[empty] - 1] = True
        return keep
