"""Classes of the series in a file, with their probabilities, as a CSV and a picture."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.training import figures
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.static_columns import columns_of, columns_of_words, take_static
from integrand.datasets.table_columns import Roles, find_roles, read_cells
from integrand.datasets.table_stamps import MICROSECONDS
from integrand.datasets.tables import Table, check_options, table_of
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
            series apart; a channel that the file lacks counts as never observed. Where the run was trained with static
            features, the CSV has their columns, the same in every row of a series and empty where not known.
        output: the CSV to write: ``series``, ``class``, ``probability_NAME``.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        time_column, group_column, variable_column, value_column, duplicates: how the CSV is read, see ``read_table``.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the file cannot be read, has none of the channels the module was trained on, or lacks a column of a
            static feature; or a place to write is not right.
    """
    task = module.network.built_for
    require_places(input, output, figure)
    if input.name.lower().endswith((".ts", ".ts.gz")):
        series = _of_ts(read_ts(input), task)
    else:
        columns = {
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
        }
        table = _read(input, task, columns, duplicates)
        for notice in table.notices:
            notify(notice)
        series = series_of(table, task)
    found = module.classify(series)
    frame = to_frame(found, series.ids, task)
    # Both are made before either is written.
    picture = None if figure is None else _picture(found, series.ids, task.classes, figure.suffix)
    write_atomically(output, to_csv(frame))
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return Classes(frame)


def to_frame(found: np.ndarray, ids: list[str], task: ClassificationTask) -> pd.DataFrame:
    """Lay the probabilities (N, K) of series out with their names and likeliest classes."""
    frame = pd.DataFrame({"series": ids, "class": [task.classes[k] for k in found.argmax(1)]})
    for k, name in enumerate(task.classes):
        frame[f"probability_{name}"] = found[:, k]
    return frame


def to_csv(frame: pd.DataFrame, *, header: bool = True) -> str:
    """Write a frame of probabilities as text."""
    return frame.to_csv(index=False, header=header, float_format="%.6f", lineterminator="\n")


def series_of(table: Table, task: ClassificationTask) -> LabelledSeries:
    """Return the series of a table that has channels and static features of a task, all of its first class."""
    factor = 1.0
    if table.time_unit in MICROSECONDS and task.time_unit in MICROSECONDS:
        factor = MICROSECONDS[table.time_unit] / MICROSECONDS[task.time_unit]
    return LabelledSeries(
        name="table",
        channels=task.channels,
        classes=task.classes,
        times=[one.times.astype(np.float64) * factor for one in table.series],
        values=[one.values.astype(np.float32) for one in table.series],
        labels=np.zeros(len(table.series), dtype=np.int64),
        ids=[one.group for one in table.series],
        static=table.static,
        static_names=list(task.static),
        time_unit=task.time_unit,
    )


def _of_ts(series: LabelledSeries, task: ClassificationTask) -> LabelledSeries:
    if task.static:
        raise InputError(
            f"{series.name} is a .ts file, which has no static features, and the run was trained with "
            f"{', '.join(task.static)}: give a CSV with a column of each."
        )
    if len(series.channels) != len(task.channels):
        raise InputError(
            f"{series.name} has {len(series.channels)} channels, the run was trained on {len(task.channels)}: "
            "give series of the same kind."
        )
    # Its labels stay unread, so its classes need not be those of the run.
    return replace(series, channels=task.channels, classes=task.classes, labels=np.zeros(len(series), dtype=np.int64))


def _read(path: Path, task: ClassificationTask, columns: dict[str, str | None], duplicates: str) -> Table:
    """Return the series of a CSV, with the static features of the task."""
    check_options(task.channels, "h", duplicates)
    options = (columns["group_column"], columns["variable_column"])
    cells = read_cells(path, {name for name in options if name is not None} | columns_of_words(task.static))
    static = take_static(cells, columns_of(task.static, cells), columns.values())
    roles = find_roles(cells, **columns)
    require_channels(cells, roles, task, path.stem)
    return table_of(
        cells,
        roles,
        channels=task.channels,
        optional=task.channels,
        static=static,
        features=task.static,
        duplicates=duplicates,
    )


def require_channels(cells: Mapping[str, pd.Series], roles: Roles, task: ClassificationTask, name: str) -> None:
    """Demand at least one of the channels trained on.

    Raises:
        InputError: there is none.
    """
    if roles.variable is None:
        known = [name for name in cells if name not in (roles.time, roles.group, *roles.counts)]
    else:
        known = list(dict.fromkeys(cells[roles.variable].astype(str).str.strip()))
    if not set(known) & set(task.channels):
        raise InputError(
            f"{name} has the channels {', '.join(known)}, none of those the run was trained on: "
            f"{', '.join(task.channels)}."
        )


def _picture(found: np.ndarray, ids: list[str], classes: list[str], suffix: str) -> bytes:
    """Draw the probabilities of the first series."""
    rows = min(len(ids), MOST_ROWS)
    content = io.BytesIO()
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
        drawn.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
