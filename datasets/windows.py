"""Windows on the rows of a table: what forecasting and imputation cut their samples from.

Dimension letters: N windows or series, S static features, R rows of all series, B windows of a batch, L rows of a
window, C channels, G groups, P calendar periods.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS, ChronologicalSplit, IndexSplit
from integrand.datasets.table_stamps import MICROSECONDS
from integrand.datasets.tables import Table

Array = np.ndarray


class Gathered(NamedTuple):
    """Rows side by side: values (B, L, C) with 0 where unobserved, which are observed, and times (B, L)."""

    values: Array
    mask: Array
    times: Array


class TableRows:
    """All rows of a table, standardised, one series after another.

    Args:
        table: the data.
        location: (C,) what is subtracted from each channel.
        scale: (C,) what it is divided by then.
        groups: names of groups that have a static feature of their own, 1 for them and 0 for others.
        static: names of static features of the table that stand after these, standardised, 0 where missing.
        static_location: (S,) what is subtracted from each of them.
        static_scale: (S,) what it is divided by then.

    Attributes:
        times: (R,) in the table's time.
        values: (R, C), 0 where unobserved.
        mask: (R, C), True where observed.
        static: (N, G + S) of each series.
    """

    def __init__(
        self,
        table: Table,
        *,
        location: Sequence[float],
        scale: Sequence[float],
        groups: Sequence[str],
        static: Sequence[str] = (),
        static_location: Sequence[float] = (),
        static_scale: Sequence[float] = (),
    ) -> None:
        self.table = table
        self.times = np.concatenate([s.times for s in table.series])
        standardised = (np.concatenate([s.values for s in table.series]) - np.asarray(location)) / np.asarray(scale)
        self.mask = np.isfinite(standardised)
        self.values = np.where(self.mask, standardised, 0).astype(np.float32)
        self._offsets = np.cumsum([0, *(len(s.times) for s in table.series)])
        known = {name: i for i, name in enumerate(groups)}
        self.static = np.zeros((len(table.series), len(groups)), dtype=np.float32)
        for i, s in enumerate(table.series):
            if s.group in known:
                self.static[i, known[s.group]] = 1
        if static:
            self.static = np.concatenate([self.static, _static(table, static, static_location, static_scale)], axis=1)
        # Calendar phases count from 1970 where stamps are dates, so that those of another file agree.
        self._calendar = 0.0 if table.epoch is None else table.epoch.timestamp() * 1e6 / MICROSECONDS[table.time_unit]

    def past(self, times: list[Array], shift: float = 0.0, *, side: str = "right") -> Array:
        """Return, for the times of each series, the number of the first row past them (at them, by side "left")."""
        found = [
            self._offsets[i] + np.searchsorted(s.times, t + shift, side=side)  # pyright: ignore[reportCallIssue, reportArgumentType]
            for i, (s, t) in enumerate(zip(self.table.series, times, strict=True))
        ]
        return np.concatenate(found)

    def phase(self, tau: Array, periods: Sequence[float]) -> Array:
        """Return where in each calendar period the times tau (B,) lie, (B, P), in radians."""
        cycles = (tau[:, None] + self._calendar) / np.asarray(periods, dtype=np.float64)
        return (2 * np.pi * np.mod(cycles, 1.0)).astype(np.float32)

    def gather(self, rows: Array, chosen: Array, tau: Array) -> Gathered:
        """Return the ``chosen`` of rows (B, L), times counted from tau (B,); padding has the last time."""
        safe = np.where(chosen, rows, 0)
        mask = self.mask[safe] & chosen[..., None]
        values = np.where(mask, self.values[safe], np.float32(0))
        # In double precision: stamps since an epoch are too large for the batch's single precision.
        times = self.times[safe] - tau[:, None]
        count = chosen.sum(1)
        if times.shape[1]:
            final = np.where(count > 0, times[np.arange(len(times)), np.maximum(count - 1, 0)], 0.0)
            times = np.where(chosen, times, final[:, None])
        return Gathered(values, mask, times.astype(np.float32))


def _static(table: Table, names: Sequence[str], location: Sequence[float], scale: Sequence[float]) -> Array:
    lacking = [name for name in names if name not in table.static_names]
    if table.static is None or lacking:
        raise InputError(f"the table lacks the static features {', '.join(lacking)}: name their columns.")
    columns = [table.static_names.index(name) for name in names]
    standardised = (table.static[:, columns] - np.asarray(location)) / np.asarray(scale)
    return np.where(np.isfinite(standardised), standardised, 0).astype(np.float32)


def ranges(start: Array, stop: Array) -> Array:
    """Return the rows start..stop of each window side by side, -1 beyond the end.

    Example:
        >>> ranges(np.array([0, 5]), np.array([3, 6])).tolist()
        [[0, 1, 2], [5, -1, -1]]
    """
    width = int((stop - start).max(initial=0))
    rows = start[:, None] + np.arange(width)
    return np.where(rows < stop[:, None], rows, -1)


def compress(rows: Array, chosen: Array) -> tuple[Array, Array]:
    """Move the chosen rows to the front, in order, and cut off what no window needs."""
    order = np.argsort(~chosen, axis=1, kind="stable")
    width = int(chosen.sum(1).max(initial=0))
    order = order[:, :width]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(chosen, order, 1)


def spans(table: Table, split: ChronologicalSplit | IndexSplit, part: str) -> list[tuple[float, float]]:
    """Return the time of each series that belongs to a part, the end itself excluded; an empty span where none does."""
    if isinstance(split, ChronologicalSplit):
        return [split.span(part)] * len(table.series)
    members = set(split.rows(part))
    return [(-np.inf, np.inf) if row in members else (np.inf, np.inf) for row in range(len(table.series))]


def rows_of(table: Table, split: ChronologicalSplit | IndexSplit, part: str) -> Array:
    """Return the values of all rows of a part, (R, C), NaN where missing."""
    inside = zip(table.series, spans(table, split, part), strict=True)
    return np.concatenate([s.values[(s.times >= start) & (s.times < end)] for s, (start, end) in inside])


def generator(seed: int, part: str, epoch: int, window: int) -> np.random.Generator:
    """Return random numbers that are a function of all these alone: the same on every machine, after every restart."""
    if part not in PARTS:
        raise InputError(f"part must be one of {', '.join(PARTS)}, got {part!r}.")
    return np.random.Generator(np.random.Philox(key=[(seed << 32) + 4 * epoch + PARTS.index(part), window]))
