"""Imputation as a data set: windows of a table in which observed values are hidden, to be told from those around them.

Dimension letters: N windows, B windows of a batch, L rows of a window, C channels.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.core.errors import InputError, unknown
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import ChronologicalSplit, IndexSplit
from integrand.datasets.tables import Table
from integrand.datasets.windows import TableRows, generator, ranges, spans

Array = np.ndarray
Hide = Literal["point", "rows", "block", "random", "none"]
HIDE: tuple[str, ...] = get_args(Hide)
_DRAWN = HIDE[:3]


@dataclass(frozen=True)
class ImputationTask:
    """What is imputed: all a network needs to be built, and its answers to be read.

    Attributes:
        channels: names of the channels, all of which are imputed.
        units: unit of each channel.
        time_unit: unit of all times.
        window: length of a window.
        resolution: typical interval between rows.
        periods: calendar periods the network may use, in time units.
        groups: names of the groups known in training.
        location: what is subtracted from each channel.
        scale: what it is divided by then.
        center: where values are not standardised by these, mean of each channel in their units over the observed
            training values.
        deviation: standard deviation likewise.
    """

    channels: list[str]
    units: list[str]
    time_unit: str
    window: float
    resolution: float
    periods: list[float]
    groups: list[str]
    location: list[float]
    scale: list[float]
    center: list[float] | None = None
    deviation: list[float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as a checkpoint stores them."""
        return asdict(self)


class Cuts:
    """Rows of a table cut into windows.

    Args:
        table: the data.
        task: what is imputed.
        starts: first time of the windows of each series.
        ends: end of each, itself excluded.

    Attributes:
        starts: (N,) first time of each window.
        series: (N,) index of the series of each window.
        rows: all rows of the table.
        first: (N,) number of the first row of each window.
    """

    def __init__(self, table: Table, task: ImputationTask, starts: list[Array], ends: list[Array]) -> None:
        self.table, self.task = table, task
        self.rows = TableRows(table, location=task.location, scale=task.scale, groups=task.groups)
        self.starts = np.concatenate(starts)
        self.series = np.repeat(np.arange(len(starts)), [len(own) for own in starts])
        self.first = self.rows.past(starts, side="left")
        self._last = self.rows.past(ends, side="left")

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, window: Array, hidden: Callable[[int, Array, Array], Array] | None = None) -> IrregularBatch:
        """Build the batch of windows.

        Args:
            window: (B,) their numbers.
            hidden: of a place in the batch, its times (L,) and which cells are observed (L, C), which of them are
                hidden, to be told; where None nothing is, and every observed value is a target as well.
        """
        rows = ranges(self.first[window], self._last[window])
        chosen = rows >= 0
        start = self.starts[window]
        values, observed, times = self.rows.gather(rows, chosen, start)
        target = observed
        if hidden is not None:
            asked = np.stack([hidden(place, times[place], observed[place]) for place in range(len(window))])
            target, observed = observed & asked, observed & ~asked
        groups = [self.table.series[s].group for s in self.series[window]]
        stamps = torch.from_numpy(times)
        return IrregularBatch(
            values=torch.from_numpy(np.where(observed, values, np.float32(0))),
            mask=torch.from_numpy(observed),
            times=stamps,
            lengths=torch.from_numpy(chosen.sum(1)),
            static=torch.from_numpy(self.rows.static[self.series[window]]),
            phase=torch.from_numpy(self.rows.phase(start, self.task.periods)),
            target=torch.from_numpy(np.where(target, values, np.float32(0))),
            target_times=stamps,
            target_mask=torch.from_numpy(target),
            group=groups,
            sample_id=[f"{group}@{t:.15g}" for group, t in zip(groups, start, strict=True)],
            meta={"time_unit": self.task.time_unit},
        )


class ImputationWindows(Dataset[IrregularBatch]):
    """The windows of one part of a split, with observed values hidden at random: these are the targets.

    What is hidden is a pure function of (seed, part, epoch, window), so it is the same on every machine, in every
    worker and after every restart. An index i stands for window i mod N in epoch i div N: training hides anew each
    epoch, and validation and test, read in epoch 0, always the same. Training windows start every ``stride`` rows;
    those of the other parts follow one another, so that every value is in one of them. A series shorter than a window
    is one.

    Hidden values are nowhere but in ``target``; a batch has ``target_times == times``.

    Args:
        table: the data.
        task: what is imputed.
        split: the parts; a window lies wholly within its own.
        part: ``"train"``, ``"validation"`` or ``"test"``.
        stride: every how many rows a training window starts.
        hide: which values: ``"point"``, each by itself; ``"rows"``, all of a row; ``"block"``, those of a channel
            within stretches of time; ``"random"``, one of these drawn for each window; or ``"none"``: nothing is hidden
            and every observed value is a target, so that a network is asked to reconstruct what it was given.
        share: least and greatest expected share of values hidden, drawn anew for each window.
        block: length of a stretch, in time units.
        seed: of what is hidden.

    Raises:
        InputError: an option out of range, or no window.
    """

    def __init__(
        self,
        table: Table,
        task: ImputationTask,
        split: ChronologicalSplit | IndexSplit,
        part: str,
        *,
        stride: int = 1,
        hide: str = "point",
        share: tuple[float, float] = (0.5, 0.5),
        block: float = 1.0,
        seed: int = 0,
    ) -> None:
        if hide not in HIDE:
            raise unknown("pattern of hidden values", hide, HIDE)
        if not 0 < share[0] <= share[1] < 1:
            raise InputError(f"share must be two shares with 0 < low <= high < 1, got {share}.")
        if block <= 0:
            raise InputError(f"block={block!r} is out of range: it must be positive.")
        self.task, self.part, self.hide, self.share, self.block, self.seed = task, part, hide, share, block, seed
        starts, ends = [], []
        for series, (start, end) in zip(table.series, spans(table, split, part), strict=True):
            times = series.times[(series.times >= start) & (series.times < end)]
            own = _starts(times, task.window, stride if part == "train" else None)
            starts.append(own)
            ends.append(np.minimum(own + task.window, np.nextafter(times[-1], np.inf)) if len(times) else own)
        self.cuts = Cuts(table, task, starts, ends)
        if not len(self.cuts):
            unit = "" if task.time_unit == "1" else f" {task.time_unit}"
            raise InputError(f"the {part} part holds no window of {task.window:g}{unit}: shorten it.")

    def __len__(self) -> int:
        return len(self.cuts)

    def __getitem__(self, index: int) -> IrregularBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> IrregularBatch:
        """Build the batch of several windows at once."""
        epoch, window = np.divmod(np.asarray(indices, dtype=np.int64), len(self))
        if self.hide == "none":
            return self.cuts.batch(window)

        def hidden(place: int, times: Array, observed: Array) -> Array:
            draw = generator(self.seed, self.part, int(epoch[place]), int(window[place]))
            return self._hidden(draw, times, observed.shape[1])

        return self.cuts.batch(window, hidden)

    def _hidden(self, draw: np.random.Generator, times: Array, channels: int) -> Array:
        """Return which cells (L, C) are hidden where they are observed."""
        low, high = self.share
        share = low + (high - low) * draw.random()
        hide = _DRAWN[draw.integers(len(_DRAWN))] if self.hide == "random" else self.hide
        if hide == "point":
            return draw.random((len(times), channels)) < share
        if hide == "rows":
            return np.repeat(draw.random((len(times), 1)) < share, channels, axis=1)
        # Starts of stretches are a Poisson process, so a moment is in none of them with probability exp(-rate block).
        reach = self.task.window + self.block
        count = draw.poisson(-np.log1p(-share) * reach / self.block, channels)
        starts = [draw.uniform(-self.block, self.task.window, n) for n in count]
        return np.stack(
            [((times[:, None] >= own) & (times[:, None] < own + self.block)).any(1) for own in starts], axis=1
        )


def _starts(times: Array, window: float, stride: int | None) -> Array:
    """Return where windows start in increasing stamps: every ``stride`` rows, or one after another where None."""
    if not len(times):
        return times
    if times[-1] - times[0] < window:
        return times[:1]
    if stride is not None:
        return times[times + window <= np.nextafter(times[-1], np.inf)][::stride]
    found = [times[0]]
    while (place := np.searchsorted(times, found[-1] + window)) < len(times):
        found.append(times[place])
    return np.array(found)
