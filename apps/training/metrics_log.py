"""The run's metrics.csv: a Lightning logger that a resumed run continues."""

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from integrand.apps.training.files import write_atomically


class MetricsLog(Logger):
    """Rows of (step, epoch, metrics) in one CSV file, a column for each metric, empty where it was not logged.

    Args:
        path: the file; rows already in it are kept up to the step a run is resumed from.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = read_metrics(path) if path.exists() else []
        self._unsaved = 0

    @property
    def name(self) -> str:
        """Return the log's name."""
        return "metrics"

    @property
    def version(self) -> str:
        """Return the run's number."""
        return self.path.parent.name

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row, or fill up the last one if it is of the same step."""
        row: dict[str, Any] = {"step": step or 0, **metrics}
        if self.rows and self.rows[-1]["step"] == row["step"]:
            self.rows[-1].update(row)
        else:
            self.rows.append(row)
        self._unsaved += 1
        if self._unsaved >= 100:
            self.save()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run's config.yaml holds the options."""

    @rank_zero_only
    def save(self) -> None:
        """Write the file."""
        self._unsaved = 0
        columns = list(dict.fromkeys(["step", "epoch", *sorted({key for row in self.rows for key in row})]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        if self.rows:
            self.save()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a metrics.csv back: numbers, with empty cells left out of their row."""
    with path.open(newline="") as file:
        rows = [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(file)]
    for row in rows:
        row.update({key: int(row[key]) for key in ("step", "epoch") if key in row})
    return rows
