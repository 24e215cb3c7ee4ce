"""What data modules over tables share: reading, splitting in time or by series, scaling, the calendar.

Dimension letters: R rows of all series, C channels.
"""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.scores import naive_steps
from integrand.apps.training.parts_data import PartsData
from integrand.apps.training.reader_options import as_data_options
from integrand.core.errors import InputError, unknown
from integrand.datasets.catalogue import find
from integrand.datasets.splits import ChronologicalSplit, IndexSplit, by_series, chronological
from integrand.datasets.table_stamps import MICROSECONDS
from integrand.datasets.tables import Table, read_table
from integrand.datasets.windows import rows_of, spans

Array = np.ndarray
Scaling = Literal["standard", "range", "maximum"]
Protocol = Literal["clean", "as-published"]
Split = Literal["time", "series"]

DAY, YEAR = 24.0, 8766.0  # hours
FRACTIONS = (0.7, 0.1, 0.2)


class Source(NamedTuple):
    """A table and what is known of it besides.

    Attributes:
        table: the series.
        units: of the channels by name, where known.
        targets: channels of interest.
        split_rows: rows of the published parts, where there are any.
    """

    table: Table
    units: dict[str, str]
    targets: list[str]
    split_rows: tuple[int, int, int] | None


class TableData(PartsData):
    """Base of the data modules over tables; a subclass keeps the options below as attributes of these names.

    Attributes:
        dataset: a name in the catalogue, or the path of a CSV or Parquet file in wide or long form.
        protocol: ``"clean"``: scales are those of the training part; ``"as-published"``: as in the paper named in the
            data set's module, where scales are those of all parts, so that training knows something of the test part.
        split_by: ``"time"``: parts follow one another, in all series alike; ``"series"``: each has series of its own.
        fractions: shares of training, validation and test; the published ones where None and there are any.
        split_seed: of a split by series.
        scaling: ``"standard"``: by mean and standard deviation; ``"range"``: from least to greatest, to [0, 1];
            ``"maximum"``: from the least value on, in units of the greatest, as some published results have it.
        columns: how a file is read, see ``read_table``.
    """

    task_name: str
    dataset: str
    protocol: Protocol
    split_by: Split
    fractions: tuple[float, float, float] | None
    split_seed: int
    scaling: Scaling
    columns: dict[str, Any]
    table: Table
    task: Any
    split: ChronologicalSplit | IndexSplit

    @property
    def notices(self) -> list[str]:
        """What the reader of the table has to say, which channels never change in training, and that parts leak."""
        self.setup()
        leak = "as published: scaled by all parts, the test part among them; not a clean result"
        return [*self.table.notices, *self._constant, *([leak] if self.protocol == "as-published" else [])]

    def read(self) -> Source:
        """Return the table.

        Raises:
            InputError: there is no such data set or file, or it cannot be read.
        """
        if "/" in self.dataset or self.dataset.endswith((".csv", ".gz", ".xz", ".txt", ".tsv", ".parquet")):
            if self.protocol == "as-published":
                raise InputError(
                    f"{self.dataset!r} is a file, so no protocol is published: take --data.protocol clean."
                )
            table = self._read_file()
            return Source(table, {}, list(table.channels), None)
        named = APPLICATION.task(self.task_name).datasets
        if self.dataset not in named:
            if Path(self.dataset).exists():
                raise InputError(
                    f"dataset {self.dataset!r} is a file without a known ending: name it *.csv or *.parquet."
                )
            raise unknown("dataset", self.dataset, named)
        entry = find(self.dataset)
        module_name, function = (entry.table or str(entry.loader)).split(":")
        module = importlib.import_module(module_name)
        if self.protocol == "as-published":
            if not hasattr(module, "table_as_published"):
                raise InputError(f"{self.dataset} has no protocol of its own here: take --data.protocol clean.")
            table = module.table_as_published()
        else:
            table = getattr(module, function)()
        targets = list(getattr(module, "TARGETS", table.channels))
        return Source(table, module.UNITS, targets, getattr(module, "SPLIT_ROWS", None))

    def _read_file(self) -> Table:
        """Read the user's file; the reader's advice names its options as ``predict`` has them, here they are data's."""
        try:
            table = read_table(Path(self.dataset), **self.columns)
        except InputError as error:
            raise InputError(as_data_options(str(error))) from error
        return replace(table, notices=[as_data_options(notice) for notice in table.notices])

    def split_table(
        self, table: Table, rows: tuple[int, int, int] | None, of: dict[str, Any]
    ) -> ChronologicalSplit | IndexSplit:
        """Divide the table as the options say; ``of`` tells what is split, and enters the hash."""
        if self.protocol == "as-published":
            of = {**of, "protocol": self.protocol}
        if self.split_by == "series":
            if len(table.series) < 2:
                raise InputError("there is only one series: split in time, or name the column that tells series apart.")
            fractions = self.fractions or FRACTIONS
            return by_series(len(table.series), fractions=fractions, seed=self.split_seed, of=of)
        if rows is not None and self.fractions is None:
            times = table.series[0].times
            first, second, end = np.cumsum(rows)
            final = float(np.nextafter(times[end - 1], np.inf))
            return ChronologicalSplit(float(times[0]), float(times[first]), float(times[second]), final, of)
        start = min(float(s.times[0]) for s in table.series)
        end = max(float(s.times[-1]) for s in table.series)
        return chronological(start, end, self.fractions or FRACTIONS, of)

    def scales(self, table: Table) -> dict[str, list[float]]:
        """Return a task's ``location`` and ``scale``, and ``center`` and ``deviation`` where these do not standardise.

        Raises:
            InputError: a channel has fewer than two values there.
        """
        parts = ("train",) if self.protocol == "clean" else ("train", "validation", "test")
        seen = np.concatenate([rows_of(table, self.split, part) for part in parts]).astype(np.float64)
        for name, count in zip(table.channels, np.isfinite(seen).sum(0), strict=True):
            if count < 2:
                raise InputError(
                    f"channel {name!r} has {count} values in the training part, so its scale is unknown: leave it out."
                )
        low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
        constant = low == high  # told so, for rounding may hide it from the deviation
        self._constant = [
            f"channel {table.channels[k]!r} is {low[k]:g} throughout the training part: its scale is taken as 1"
            for k in np.flatnonzero(constant)
        ]
        if self.scaling == "range":
            location, scale = low, high - low
        elif self.scaling == "maximum":
            location, scale = low, np.where(high == 0, 1.0, np.abs(high))
        else:
            location, scale = np.nanmean(seen, axis=0), np.nanstd(seen, axis=0)
        scale = np.where(constant, 1.0, scale)
        found = {"location": location.tolist(), "scale": scale.tolist()}
        if self.scaling == "standard":
            return found
        own = (rows_of(table, self.split, "train").astype(np.float64) - location) / scale
        deviation = np.where(constant, 1.0, np.nanstd(own, axis=0))
        return {**found, "center": np.nanmean(own, axis=0).tolist(), "deviation": deviation.tolist()}

    def static_scales(self, table: Table) -> dict[str, list]:
        """Return names, means and deviations of the static features over the series with rows in the training part.

        Raises:
            InputError: one is not known of two of these.
        """
        if table.static is None:
            return {}
        inside = zip(table.series, spans(table, self.split, "train"), strict=True)
        rows = [place for place, (s, (start, end)) in enumerate(inside) if ((s.times >= start) & (s.times < end)).any()]
        seen = table.static[rows].astype(np.float64)
        for name, count in zip(table.static_names, np.isfinite(seen).sum(0), strict=True):
            if count < 2:
                raise InputError(f"static feature {name!r} is known of {count} training series: leave it out.")
        deviation = np.nanstd(seen, axis=0)
        return {
            "static": list(table.static_names),
            "static_location": np.nanmean(seen, axis=0).tolist(),
            "static_scale": np.where(deviation > 0, deviation, 1.0).tolist(),
        }

    def naive_steps(self) -> Array:
        """Return how far each channel moves between two observed values of the training part, see ``scores``."""
        self.setup()
        inside = zip(self.table.series, spans(self.table, self.split, "train"), strict=True)
        values = [s.values[(s.times >= start) & (s.times < end)] for s, (start, end) in inside]
        return naive_steps(values, self.task.scale)

    def calendar(self, table: Table, periods: list[float] | None) -> list[float]:
        """Return the calendar periods a network may use: those given, or day and year of dates.

        A period that training does not see twice cannot be told from a trend, and misleads beyond it.
        """
        if periods is not None:
            return [float(period) for period in periods]
        if table.epoch is None or not isinstance(self.split, ChronologicalSplit):
            return []
        start, end = self.split.span("train")
        hours = MICROSECONDS[table.time_unit] / MICROSECONDS["h"]
        return [period for period in (DAY / hours, YEAR / hours) if end - start >= 2 * period]

    def known_groups(self, table: Table) -> list[str]:
        """Return the groups a network may tell apart: all where parts follow in time, none where each has its own."""
        return [s.group for s in table.series] if len(table.series) > 1 and self.split_by == "time" else []


def resolution(table: Table) -> float:
    """Return the median interval between rows."""
    return float(np.median(np.concatenate([np.diff(s.times) for s in table.series])))


def targets_first(table: Table, targets: list[str]) -> Table:
    """Return the table with some channels before the others."""
    for name in targets:
        if name not in table.channels:
            raise unknown("target channel", name, table.channels)
    order = [*targets, *(name for name in table.channels if name not in targets)]
    columns = [table.channels.index(name) for name in order]
    series = [replace(s, values=s.values[:, columns]) for s in table.series]
    return replace(table, channels=order, series=series)


def checksum(table: Table) -> str:
    """Return sixteen hexadecimal digits of SHA-256 over names, times and values."""
    digest = hashlib.sha256(repr(table.channels).encode())
    for series in table.series:
        digest.update(series.group.encode())
        digest.update(np.ascontiguousarray(series.times).tobytes())
        digest.update(np.ascontiguousarray(series.values).tobytes())
    return digest.hexdigest()[:16]
