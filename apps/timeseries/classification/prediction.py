"""Classes of the series in a file, with their probabilities, as a CSV and a picture."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.timeseries.classification.task import ClassificationTask
from integrand.apps.training import figures
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.tables import MICROSECONDS, Table, read_table
from integrand.datasets.ts_files import read_ts

Notify = Callable[[str], None]

MOST_ROWS = 40
"""Series in the picture."""


@dataclass(frozen=True)
class Classes:
    """What was predicted: a row for each series with ``series``, ``class`` and ``probability_NAME`` of every class."""

    table: pd.DataFrame


def predict(
    module: ClassificationModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> Classes:
    """Classify every series of a file; write the probabilities and a picture of them.

    Args:
        module: a trained module, on the device it is to run on.
        input: a ``.ts`` file, whose own labels are not looked at, or a CSV in wide or long form in which a column tells
            series apart; a channel that the file lacks counts as never observed.
        output: the CSV to write: ``series``, ``class``, ``probability_NAME``.
        figure: the picture to write, or None.
        time_column, group_column, variable_column, value_column, duplicates: how the CSV is read, see ``read_table``.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the file cannot be read, or has none of the channels the module was trained on.
    """
    task = module.network.built_for
    if task.static:
        raise InputError(
            f"the run was trained with the static features {', '.join(task.static)}, which predict does not read yet: "
            "call the module from Python."
        )
    if input.name.lower().endswith((".ts", ".ts.gz")):
        series = _of_ts(read_ts(input), task)
    else:
        table = read_table(
            input,
            time_column=time_column,
            group_column=group_column,
            variable_column=variable_column,
            value_column=value_column,
            duplicates=duplicates,
        )
        for notice in table.notices:
            notify(notice)
        series = _of_table(table, task, input.stem)
    found = module.classify(series)
    table = pd.DataFrame({"series": series.ids, "class": [task.classes[k] for k in found.argmax(1)]})
    for k, name in enumerate(task.classes):
        table[f"probability_{name}"] = found[:, k]
    output.parent.mkdir(parents=True, exist_ok=True)
    if figure is not None:
        _draw(found, series.ids, task.classes, figure)
    write_atomically(output, table.to_csv(index=False, float_format="%.6f"))
    return Classes(table)


def _of_ts(series: LabelledSeries, task: ClassificationTask) -> LabelledSeries:
    if len(series.channels) != len(task.channels):
        raise InputError(
            f"{series.name} has {len(series.channels)} channels, the run was trained on {len(task.channels)}: "
            "give series of the same kind."
        )
    # Its labels stay unread, so its classes need not be those of the run.
    return replace(series, channels=task.channels, classes=task.classes, labels=np.zeros(len(series), dtype=np.int64))


def _of_table(table: Table, task: ClassificationTask, name: str) -> LabelledSeries:
    known = [channel for channel in task.channels if channel in table.channels]
    if not known:
        raise InputError(
            f"{name} has the channels {', '.join(table.channels)}, none of those the run was trained on: "
            f"{', '.join(task.channels)}."
        )
    factor = 1.0
    if table.time_unit in MICROSECONDS and task.time_unit in MICROSECONDS:
        factor = MICROSECONDS[table.time_unit] / MICROSECONDS[task.time_unit]
    columns = [table.channels.index(channel) if channel in known else -1 for channel in task.channels]
    values = []
    for one in table.series:
        chosen = one.values[:, columns].astype(np.float32)
        chosen[:, [column < 0 for column in columns]] = np.nan
        values.append(chosen)
    return LabelledSeries(
        name=name,
        channels=task.channels,
        classes=task.classes,
        times=[one.times.astype(np.float64) * factor for one in table.series],
        values=values,
        labels=np.zeros(len(table.series), dtype=np.int64),
        ids=[one.group or name for one in table.series],
        time_unit=task.time_unit,
    )


def _draw(found: np.ndarray, ids: list[str], classes: list[str], path: Path) -> None:
    rows = min(len(ids), MOST_ROWS)
    with figures.style():
        drawn = figures.figure(figures.WIDE, 1.2 + 0.26 * rows)
        axes = drawn.add_subplot()
        image = axes.imshow(found[:rows], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(rows), ids[:rows])
        axes.set_xticks(range(len(classes)), classes)
        axes.set_xlabel("class")
        axes.grid(visible=False)
        drawn.colorbar(image, ax=axes, label="probability")
        if len(ids) > rows:
            axes.set_title(f"the first {rows} of {len(ids)} series")
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(path, format="png", metadata={"Software": None})
