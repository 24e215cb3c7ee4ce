"""Labelled series from a user's own table: one column tells series apart, another says the class of each."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.core.errors import InputError, unknown
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.table_columns import read_cells
from integrand.datasets.tables import read_table


def read_labelled_table(
    path: str | Path,
    *,
    label_column: str,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    static_columns: Sequence[str] = (),
    split_column: str | None = None,
) -> LabelledSeries:
    """Read the series of a table in wide or long form, each with the class that stands in its rows.

    Args:
        path: the file, CSV or parquet.
        label_column: holds the class, the same in every row of a series.
        time_column, group_column, variable_column, value_column, duplicates, static_columns: as in ``read_table``.
        split_column: holds what a split must not tear apart, such as the patient of several stays, the same in every
            row of a series.

    Returns:
        The series in the order of their names, without an official split; times count from the file's first stamp.

    Raises:
        InputError: what ``read_table`` refuses; no column that tells series apart; a class, or what a split must
            not tear apart, that is missing or changes within a series.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "beats.csv"
        >>> _ = path.write_text("id,time,x,label\\na,0,1.5,N\\na,1,2.5,N\\nb,0,0.5,V\\n")
        >>> series = read_labelled_table(path, label_column="label")
        >>> series.ids, series.classes, series.labels.tolist(), series.values[0].ravel().tolist()
        (['a', 'b'], ['N', 'V'], [0, 1], [1.5, 2.5])
    """
    table = read_table(
        path,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        duplicates=duplicates,
        static_columns=static_columns,
    )
    if table.group_column is None:
        raise InputError(f"{path}: a class belongs to a series, name the column of the series: --group-column.")
    said = [label_column, *([] if split_column is None else [split_column])]
    cells = read_cells(path, {*said, table.group_column})
    for what, name in zip(("label column", "split column"), said, strict=False):
        if name not in cells:
            raise unknown(what, name, cells)
    names_R = cells[table.group_column].astype(str).str.strip()
    labels = _labels(names_R, cells[label_column], "class")
    patients = None if split_column is None else _labels(names_R, cells[split_column], split_column)
    whole = all(name.isdecimal() for name in labels.values())
    classes = sorted(set(labels.values()), key=lambda name: (int(name) if whole else 0, name))
    kept = [place for place, name in enumerate(table.channels) if name not in said]
    if not kept:
        raise InputError(f"{path} has no channel beside the classes in {label_column!r}: give at least one.")
    names = [one.group for one in table.series]
    return LabelledSeries(
        name=Path(path).name,
        channels=[table.channels[place] for place in kept],
        classes=classes,
        times=[one.times.astype(np.float64) for one in table.series],
        values=[one.values[:, kept].astype(np.float32) for one in table.series],
        labels=np.array([classes.index(labels[name]) for name in names], dtype=np.int64),
        ids=names,
        groups=None if patients is None else [patients[name] for name in names],
        static=table.static,
        static_names=list(table.static_names),
        time_unit=table.time_unit,
        # The reader of tables knows no classes: to it the column is text that makes no channel.
        notices=[told for told in table.notices if not _of_none_but(told, said)],
    )


def _of_none_but(told: str, names: Sequence[str]) -> bool:
    """Whether a notice tells that columns were ignored, and no others than these."""
    found = re.match(r"ignored columns[^:]*: (.*?)(?: \(--.*)?$", told)
    return found is not None and set(found[1].split(", ")) <= set(names)


def _labels(groups: pd.Series, labels: pd.Series, what: str) -> dict[str, str]:
    """Return the class, or whatever it is, of each series, from columns indexed by the rows of the file."""
    found: dict[str, str] = {}
    missing = labels.isna().to_numpy()
    for place, (row, group) in enumerate(groups.items()):
        if missing[place]:
            raise InputError(
                f"row {row} has no {what} in column {labels.name!r}: every row of series {group!r} needs it."
            )
        label = str(labels.iloc[place]).strip()
        if found.setdefault(group, label) != label:
            raise InputError(
                f"row {row} says {what} {label!r} of series {group!r}, rows before it {found[group]!r}: a series has "
                f"one {what}, so cut it where that changes."
            )
    return found
