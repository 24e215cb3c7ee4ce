"""The data module of imputation: a named data set or the user's own table, cut into windows with hidden values."""

from pathlib import Path

from integrand.apps.timeseries.table_data import Protocol, Scaling, Split, TableData, checksum, resolution
from integrand.core.errors import InputError
from integrand.datasets.imputation import Hide, ImputationTask, ImputationWindows
from integrand.datasets.splits import PARTS
from integrand.datasets.tables import Table, require_span


class ImputationData(TableData):
    """Windows of a table in which observed values are hidden, to be told from those around them.

    Training hides anew each epoch, the other parts the same always; hidden values reach the network as targets alone.
    Scales are those of the training part.

    Args:
        dataset: a name in the catalogue, or the path of a CSV file in wide or long form.
        window: length of a window, in hours (in the table's own units where stamps are plain numbers).
        hide: which values: ``"point"``, each by itself; ``"rows"``, all of a row; ``"block"``, those of a channel
            within stretches of time; ``"random"``, one of these for each window; ``"none"``: none, and every value is
            asked for, so that the network reconstructs what it is given.
        share: least and greatest share of values hidden, drawn anew for each window.
        block: length of a stretch of ``"block"``; a quarter of the window where None.
        fractions: shares of training, validation and test; the published ones where None and there are any.
        split_by: ``"time"``: training, validation and test follow one another; ``"series"``: each has its own series.
        stride: every how many rows a training window starts.
        periods: calendar periods the model may use; when None and stamps are dates, those of day and year that fit
            twice into the training part.
        scaling: ``"standard"``, by mean and deviation; ``"range"``, from least to greatest, to [0, 1]; or
            ``"maximum"``, from the least value on, in units of the greatest, as some published results have it.
        protocol: ``"clean"``: scales are those of the training part; ``"as-published"``: as the paper named in the data
            set's module did it, by all parts, which leaks and is said in every table.
        batch_size: windows a batch.
        num_workers: processes that load batches; 0 for the training process.
        seed: of what is hidden, and of order.
        split_seed: of a split by series; apart from ``seed``, so that several seeds are scored on the same series.
        time_column, group_column, variable_column, value_column, duplicates: how a file is read, see ``read_table``.

    Raises:
        InputError: the data cannot be read, or hold no window.
    """

    def __init__(
        self,
        dataset: str = "nyc_weather",
        *,
        window: float = 48.0,
        hide: Hide = "point",
        share: tuple[float, float] = (0.5, 0.5),
        block: float | None = None,
        fractions: tuple[float, float, float] | None = None,
        split_by: Split = "time",
        stride: int = 1,
        periods: list[float] | None = None,
        scaling: Scaling = "standard",
        protocol: Protocol = "clean",
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        split_seed: int = 0,
        time_column: str | None = None,
        group_column: str | None = None,
        variable_column: str | None = None,
        value_column: str | None = None,
        duplicates: str = "mean",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        for name, value, held in (
            ("window", window, window > 0),
            ("block", block, block is None or block > 0),
            ("stride", stride, stride >= 1),
            ("batch_size", batch_size, batch_size >= 1),
            ("num_workers", num_workers, num_workers >= 0),
        ):
            if not held:
                raise InputError(f"data.{name}={value!r} is out of range: it must be positive.")
        self.task_name = "imputation"
        self.dataset, self.window, self.share, self.stride = dataset, window, share, stride
        self.hide: Hide = hide
        self.block = window / 4 if block is None else block
        self.fractions, self.periods = fractions, periods
        self.split_by: Split = split_by
        self.scaling: Scaling = scaling
        self.protocol: Protocol = protocol
        self.batch_size, self.num_workers, self.seed, self.split_seed = batch_size, num_workers, seed, split_seed
        self.columns = {
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
            "duplicates": duplicates,
        }
        self._parts: dict[str, ImputationWindows] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the table, split it and build the windows of the three parts; a second call does nothing."""
        if self._parts:
            return
        self.table, units, _, split_rows = self.read()
        if self.split_by == "time":
            require_span(self.table, self.window, what="window")
        self.checksum = checksum(self.table)
        of = {"checksum": self.checksum, "window": self.window, "hide": self.hide, "share": list(self.share)}
        self.split = self.split_table(self.table, split_rows, {"dataset": Path(self.dataset).name, **of})
        self.task = self._task(self.table, units)
        self._parts = {
            part: ImputationWindows(
                self.table,
                self.task,
                self.split,
                part,
                stride=self.stride,
                hide=self.hide,
                share=self.share,
                block=self.block,
                seed=self.seed if part == "train" else 0,  # every seed of training is asked for the same values
            )
            for part in PARTS
        }

    def windows(self, part: str) -> ImputationWindows:
        """Return the windows of ``"train"``, ``"validation"`` or ``"test"``."""
        self.setup()
        return self._parts[part]

    def _task(self, table: Table, units: dict[str, str]) -> ImputationTask:
        return ImputationTask(
            channels=list(table.channels),
            units=[units.get(name, "") for name in table.channels],
            time_unit=table.time_unit,
            window=float(self.window),
            resolution=resolution(table),
            periods=self.calendar(table, self.periods),
            groups=self.known_groups(table),
            **self.scales(table),
        )
