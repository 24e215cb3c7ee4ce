"""The time-series data module: a named data set or the user's own table, cut into forecasting windows."""

import hashlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from integrand.apps.timeseries import APPLICATION
from integrand.apps.timeseries.data import PartsData, as_data_options
from integrand.core.errors import InputError, unknown
from integrand.datasets.catalogue import find
from integrand.datasets.forecasting import ForecastTask, ForecastWindows
from integrand.datasets.splits import PARTS, ChronologicalSplit, chronological
from integrand.datasets.tables import MICROSECONDS, Table, read_table, require_span

DAY, YEAR = 24.0, 8766.0  # hours


class ForecastingData(PartsData):
    """Forecasting windows of a table, split in time.

    One sample is one series, ``context`` of its past with its gaps and a random share of its rows dropped, and as
    targets all that was observed in the next ``horizon``. Means and deviations are those of the training part. Windows
    lie wholly within their part.

    Args:
        dataset: a name in the catalogue, or the path of a CSV or parquet file in wide or long form.
        context: length of the past, in hours (in the table's own units where stamps are plain numbers).
        horizon: length of the future, likewise.
        drop: least and greatest share of context rows dropped, drawn anew for each window.
        fractions: shares of time for training, validation and test; the published ones where None and there are any.
        stride: every how many rows a training window starts.
        targets: channels to forecast; the data set's own, or all of a CSV file, when None.
        periods: calendar periods the model may use; when None and stamps are dates, those of day and year that fit
            twice into the training part.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of drops and order.
        time_column: column of the stamps of a CSV file, when it is not to be detected.
        group_column: column that tells series apart, likewise.
        variable_column: column of the channel names of a file in long form, likewise.
        value_column: column of its values, likewise.
        duplicates: what becomes of repeated stamps: ``"mean"``, ``"first"``, ``"last"`` or ``"error"``.

    Raises:
        InputError: the data cannot be read, or hold no window.
    """

    def __init__(
        self,
        dataset: str = "nyc_weather",
        *,
        context: float = 48.0,
        horizon: float = 24.0,
        drop: tuple[float, float] = (0.3, 0.5),
        fractions: tuple[float, float, float] | None = None,
        stride: int = 1,
        targets: list[str] | None = None,
        periods: list[float] | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        time_column: str | None = None,
        group_column: str | None = None,
        variable_column: str | None = None,
        value_column: str | None = None,
        duplicates: str = "mean",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held in (
            ("context", context, context > 0),
            ("horizon", horizon, horizon > 0),
            ("stride", stride, stride >= 1),
            ("batch_size", batch_size, batch_size >= 1),
            ("num_workers", num_workers, num_workers >= 0),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range: it must be positive.")
        self.dataset, self.context, self.horizon = dataset, context, horizon
        self.drop, self.fractions, self.stride = drop, fractions, stride
        self.targets, self.periods = targets, periods
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.time_column, self.group_column = time_column, group_column
        self.variable_column, self.value_column, self.duplicates = variable_column, value_column, duplicates
        self._parts: dict[str, ForecastWindows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the table, split it and build the windows of the three parts; a second call does nothing."""
        if self._parts:
            return
        table, units, targets, split_rows = self._read()
        targets = self.targets or targets
        for name in targets:
            if name not in table.channels:
                raise unknown("target channel", name, table.channels)
        require_span(table, self.context + self.horizon, what="context and horizon together")
        table = _targets_first(table, targets)
        self.table = table
        self.checksum = _checksum(table)
        self.split = self._split(table, split_rows)
        self.task = self._task(table, targets, units)
        self._parts = {
            part: ForecastWindows(
                table,
                self.task,
                self.split,
                part,
                stride=self.stride if part == "train" else 1,
                drop=self.drop,
                seed=self.seed,
            )
            for part in PARTS
        }

    @property
    def notices(self) -> list[str]:
        """What the reader of the table has to say, and which channels never change in training."""
        self.setup()
        return [*self.table.notices, *self._constant]

    def windows(self, part: str) -> ForecastWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[part]

    def _read(self) -> tuple[Table, dict[str, str], list[str], tuple[int, int, int] | None]:
        """Return the table, units by channel, default targets, and published split sizes in rows if there are any."""
        if "/" in self.dataset or self.dataset.endswith((".csv", ".gz", ".xz", ".txt", ".tsv", ".parquet")):
            table = self._read_file()
            return table, {}, list(table.channels), None
        named = APPLICATION.task("forecasting").datasets
        if self.dataset not in named:
            if Path(self.dataset).exists():
                raise InputError(
                    f"dataset {self.dataset!r} is a file without a known ending: name it *.csv or *.parquet."
                )
            raise unknown("dataset", self.dataset, named)
        module_name, function = str(find(self.dataset).loader).split(":")
        module = importlib.import_module(module_name)
        table = getattr(module, function)()
        return table, module.UNITS, list(module.TARGETS), getattr(module, "SPLIT_ROWS", None)

    def _read_file(self) -> Table:
        """Read the user's file; the reader's advice names its options as ``predict`` has them, here they are data's."""
        try:
            table = read_table(
                Path(self.dataset),
                time_column=self.time_column,
                group_column=self.group_column,
                variable_column=self.variable_column,
                value_column=self.value_column,
                duplicates=self.duplicates,
            )
        except InputError as error:
            raise InputError(as_data_options(str(error))) from error
        return replace(table, notices=[as_data_options(notice) for notice in table.notices])

    def _split(self, table: Table, rows: tuple[int, int, int] | None) -> ChronologicalSplit:
        of: dict[str, Any] = {
            "dataset": Path(self.dataset).name,
            "checksum": self.checksum,
            "context": self.context,
            "horizon": self.horizon,
        }
        if rows is not None and self.fractions is None:
            times = table.series[0].times
            first, second, end = np.cumsum(rows)
            return ChronologicalSplit(
                float(times[0]),
                float(times[first]),
                float(times[second]),
                float(np.nextafter(times[end - 1], np.inf)),
                of,
            )
        start = min(float(s.times[0]) for s in table.series)
        end = max(float(s.times[-1]) for s in table.series)
        return chronological(start, end, self.fractions or (0.7, 0.1, 0.2), of)

    def _task(self, table: Table, targets: list[str], units: dict[str, str]) -> ForecastTask:
        start, end = self.split.span("train")
        seen = np.concatenate([s.values[(s.times >= start) & (s.times < end)] for s in table.series]).astype(np.float64)
        observed = np.isfinite(seen).sum(0)
        for name, count in zip(table.channels, observed, strict=True):
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
        steps = np.concatenate([np.diff(s.times) for s in table.series])
        hours = MICROSECONDS.get(table.time_unit, 0) / MICROSECONDS["h"]
        periods = self.periods
        if periods is None:
            # A period that training does not see twice cannot be told from a trend, and misleads beyond it.
            calendar = [DAY / hours, YEAR / hours] if table.epoch is not None else []
            periods = [period for period in calendar if end - start >= 2 * period]
        return ForecastTask(
            channels=list(table.channels),
            targets=len(targets),
            units=[units.get(name, "") for name in table.channels],
            time_unit=table.time_unit,
            context=float(self.context),
            horizon=float(self.horizon),
            resolution=float(np.median(steps)),
            periods=[float(p) for p in periods],
            groups=[s.group for s in table.series] if len(table.series) > 1 else [],
            location=np.nanmean(seen, axis=0).tolist(),
            scale=np.where(constant, 1.0, np.nanstd(seen, axis=0)).tolist(),
        )


def _targets_first(table: Table, targets: list[str]) -> Table:
    order = [*targets, *(name for name in table.channels if name not in targets)]
    columns = [table.channels.index(name) for name in order]
    series = [replace(s, values=s.values[:, columns]) for s in table.series]
    return replace(table, channels=order, series=series)


def _checksum(table: Table) -> str:
    digest = hashlib.sha256(repr(table.channels).encode())
    for series in table.series:
        digest.update(series.group.encode())
        digest.update(np.ascontiguousarray(series.times).tobytes())
        digest.update(np.ascontiguousarray(series.values).tobytes())
    return digest.hexdigest()[:16]
