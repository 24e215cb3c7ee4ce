"""The time-series data module: a named data set or the user's own table, cut into forecasting windows."""

from pathlib import Path

from integrand.apps.timeseries.table_data import (
    Protocol,
    Scaling,
    Split,
    TableData,
    checksum,
    resolution,
    targets_first,
)
from integrand.core.errors import InputError, unknown
from integrand.datasets.forecasting import ForecastTask, ForecastWindows
from integrand.datasets.splits import PARTS
from integrand.datasets.tables import Table, require_span


class ForecastingData(TableData):
    """Forecasting windows of a table, split in time or by series.

    One sample is one series, ``context`` of its past with its gaps and a random share of its rows dropped, and as
    targets all that was observed in the next ``horizon``. Means and deviations are those of the training part. Windows
    lie wholly within their part.

    Args:
        dataset: a name in the catalogue, or the path of a CSV or parquet file in wide or long form.
        context: length of the past, in hours (in the table's own units where stamps are plain numbers).
        horizon: length of the future, likewise.
        drop: least and greatest share of context rows dropped, drawn anew for each window.
        fractions: shares of time for training, validation and test; the published ones where None and there are any.
        split_by: ``"time"``: training, validation and test follow one another; ``"series"``: each has its own series.
        origin: the time of every series at which it is forecast, once; each of its rows where None.
        stride: every how many rows a training window starts.
        targets: channels to forecast; the data set's own, or all of a CSV file, when None.
        periods: calendar periods the model may use; when None and stamps are dates, those of day and year that fit
            twice into the training part.
        scaling: ``"standard"``, by mean and deviation; ``"range"``, from least to greatest, to [0, 1]; or
            ``"maximum"``, from the least value on, in units of the greatest, as some published results have it.
        protocol: ``"clean"``: scales are those of the training part; ``"as-published"``: as the paper named in the data
            set's module did it, by all parts, which leaks and is said in every table.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of drops and order.
        split_seed: of a split by series; apart from ``seed``, so that several seeds are scored on the same series.
        static_columns: columns of a file that say one thing of a series in all its rows, such as a patient's age.
        known_columns: channels, none of them a target, whose values are known beforehand, such as a holiday or a price;
            ``predict`` then forecasts at the file's rows after the last observation, which hold them.
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
        split_by: Split = "time",
        origin: float | None = None,
        stride: int = 1,
        targets: list[str] | None = None,
        periods: list[float] | None = None,
        scaling: Scaling = "standard",
        protocol: Protocol = "clean",
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        static_columns: list[str] | None = None,
        known_columns: list[str] | None = None,
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
        self.task_name = "forecasting"
        self.dataset, self.context, self.horizon = dataset, context, horizon
        self.drop, self.fractions, self.stride = drop, fractions, stride
        self.split_by: Split = split_by
        self.scaling: Scaling = scaling
        self.protocol: Protocol = protocol
        self.origin, self.targets, self.periods = origin, targets, periods
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.columns = {
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
            "duplicates": duplicates,
            "static_columns": static_columns or (),
        }
        self.known = known_columns or []
        self._parts: dict[str, ForecastWindows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the table, split it and build the windows of the three parts; a second call does nothing."""
        if self._parts:
            return
        table, units, targets, split_rows = self.read()
        for name in self.known:
            if name not in table.channels:
                raise unknown("known column", name, table.channels)
        targets = self.targets or [name for name in targets if name not in self.known]
        if twice := [name for name in targets if name in self.known]:
            raise InputError(f"channel {twice[0]!r} is a target and known beforehand: name it in one of the two.")
        if self.split_by == "time":
            require_span(table, self.context + self.horizon, what="context and horizon together")
        self.table = targets_first(table, targets)
        self.checksum = checksum(self.table)
        of = {"checksum": self.checksum, "context": self.context, "horizon": self.horizon}
        self.split = self.split_table(self.table, split_rows, {"dataset": Path(self.dataset).name, **of})
        self.task = self._task(self.table, targets, units)
        self._parts = {
            part: ForecastWindows(
                self.table,
                self.task,
                self.split,
                part,
                origin=self.origin,
                stride=self.stride if part == "train" else 1,
                drop=self.drop,
                seed=self.seed,
            )
            for part in PARTS
        }

    def windows(self, part: str) -> ForecastWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[part]

    def _task(self, table: Table, targets: list[str], units: dict[str, str]) -> ForecastTask:
        return ForecastTask(
            channels=list(table.channels),
            targets=len(targets),
            units=[units.get(name, "") for name in table.channels],
            time_unit=table.time_unit,
            context=float(self.context),
            horizon=float(self.horizon),
            resolution=resolution(table),
            periods=self.calendar(table, self.periods),
            groups=self.known_groups(table),
            **self.scales(table),
            **self.static_scales(table),
            known=[name for name in table.channels if name in self.known],
        )
