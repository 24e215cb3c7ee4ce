"""Forecasting as a data set: windows of a table, each a context to learn from and targets to predict."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import ChronologicalSplit, IndexSplit
from integrand.datasets.tables import Table
from integrand.datasets.windows import TableRows, compress, generator, ranges, spans

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
        location: what is subtracted from each channel: its mean over the observed training values, where values are
            standardised.
        scale: what it is divided by then: the standard deviation of the same.
        center: where another scale was chosen, mean of each channel in its units over the observed training values.
        deviation: standard deviation likewise.
        static: names of the static features of a series.
        static_location, static_scale: mean and standard deviation of each over the training series.
        known: those of the channels, none of them a target, that are known beforehand, as a holiday is.
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
    center: list[float] | None = None
    deviation: list[float] | None = None
    static: list[str] = field(default_factory=list)
    static_location: list[float] = field(default_factory=list)
    static_scale: list[float] = field(default_factory=list)
    known: list[str] = field(default_factory=list)

    @property
    def described(self) -> int:
        """Number of static features a sample has: one for each group, then those named."""
        return len(self.groups) + len(self.static)

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
        rows: all rows of the table, which the windows are cut from.
    """

    def __init__(self, table: Table, task: ForecastTask, origins: list[Array]) -> None:
        self.table, self.task = table, task
        self.rows = TableRows(
            table,
            location=task.location,
            scale=task.scale,
            groups=task.groups,
            static=task.static,
            static_location=task.static_location,
            static_scale=task.static_scale,
        )
        self._known = [task.channels.index(name) for name in task.known]
        self.origins = np.concatenate(origins)
        self.series = np.repeat(np.arange(len(origins)), [len(o) for o in origins])
        self._first = self.rows.past(origins, -task.context)
        self._origin, self._last = self.rows.past(origins), self.rows.past(origins, task.horizon)

    def __len__(self) -> int:
        return len(self.origins)

    def batch(self, index: Array, keep: Array | None = None) -> IrregularBatch:
        """Build the batch of the windows ``index``; ``keep(B, L)`` says which context rows survive."""
        first, origin, last = self._first[index], self._origin[index], self._last[index]
        tau = self.origins[index]
        context = ranges(first, origin)
        chosen = context >= 0
        if keep is not None:
            chosen &= keep[:, : context.shape[1]]
        context, chosen = compress(context, chosen)
        target = ranges(origin, last)
        values, mask, times = self.rows.gather(context, chosen, tau)
        target_values, target_mask, target_times = self.rows.gather(target, target >= 0, tau)
        c = self.task.targets
        groups = [self.table.series[s].group for s in self.series[index]]
        return IrregularBatch(
            values=torch.from_numpy(values),
            mask=torch.from_numpy(mask),
            times=torch.from_numpy(times),
            lengths=torch.from_numpy(chosen.sum(1)),
            static=torch.from_numpy(self.rows.static[self.series[index]]),
            phase=torch.from_numpy(self.rows.phase(tau, self.task.periods)),
            target=torch.from_numpy(np.ascontiguousarray(target_values[..., :c])),
            target_times=torch.from_numpy(target_times),
            target_mask=torch.from_numpy(np.ascontiguousarray(target_mask[..., :c])),
            known=torch.from_numpy(target_values[..., self._known]) if self._known else None,
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
        origin: the time of every series at which it is forecast, once; where None, each of its rows is an origin that
            has context and horizon within the series.
        stride: every how many rows a window starts.
        drop: least and greatest share of context rows dropped.
        seed: of the drops.
    """

    def __init__(
        self,
        table: Table,
        task: ForecastTask,
        split: ChronologicalSplit | IndexSplit,
        part: str,
        *,
        origin: float | None = None,
        stride: int = 1,
        drop: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        if not 0 <= drop[0] <= drop[1] < 1:
            raise InputError(f"drop must be two shares with 0 <= low <= high < 1, got {drop}.")
        origins = []
        for series, (start, end) in zip(table.series, spans(table, split, part), strict=True):
            times = series.times
            if origin is None:
                inside = (times - task.context >= (start if np.isfinite(start) else times[0])) & (
                    times + task.horizon < end
                )
                inside &= times + task.horizon <= times[-1]
                origins.append(times[inside][::stride])
            else:
                known = (start <= times[0]) & (times[-1] < end) & (times[0] <= origin) & (origin < times[-1])
                origins.append(np.array([origin] if known else []))
        self.windows = Windows(table, task, origins)
        if not len(self.windows):
            raise InputError(
                f"the {part} part spans {_extent(table, split, part)} and holds no window of context {task.context:g} "
                f"and horizon {task.horizon:g}{'' if origin is None else f' from {origin:g} on'}: shorten them, or "
                "give longer series."
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
            draw = generator(self.seed, self.part, e, w).random(length + 1)
            keep[row] = draw[1:] >= self.drop[0] + (self.drop[1] - self.drop[0]) * draw[0]
        # A context is never emptied: its last row stays when no other does.
        count = self.windows.context_rows(window)
        inside = np.arange(length) < count[:, None]
        empty = ~(keep & inside).any(1) & (count > 0)
        keep[empty, count[empty] - 1] = True
        return keep


def _extent(table: Table, split: ChronologicalSplit | IndexSplit, part: str) -> str:
    if isinstance(split, IndexSplit):
        return f"{len(split.rows(part))} series"
    start, end = split.span(part)
    return f"{end - start:g} {table.time_unit}"
