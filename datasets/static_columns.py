"""What a table says of a series once and for all, such as a patient's age, though each of its rows repeats it.

Letters: N series, R rows of the file, S static features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.table_columns import is_text, numbers_of, texts_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StaticFeatures:
    """Features of the series: ``values (N, S)`` float32, NaN where missing, and the names of their columns."""

    names: list[str]
    values: np.ndarray


def read_static(columns: Mapping[str, pd.Series], groups: Sequence[str], group_R: np.ndarray) -> StaticFeatures:
    """Return the features of each series: numbers as they are, words as one column a word, 1 where it is the series'.

    Columns of words are named ``column=word`` and ordered by word; a series without one is NaN in all of them. A cell
    that is empty in some rows of a series has the value of its others.

    Args:
        columns: the cells, indexed by the rows of the file.
        groups: names of the series, in order.
        group_R: number of the series of each row.

    Raises:
        InputError: a column has two values in one series, or a cell that is no number in a column of numbers.
    """
    names: list[str] = []
    values: list[np.ndarray] = []
    for name, column in columns.items():
        if is_text(column):
            word_N = _one_a_series(texts_of(column), groups, group_R)
            known = ~word_N.isna().to_numpy()
            words = sorted(word_N.dropna().unique())
            names += [f"{name}={word}" for word in words]
            values += [np.where(known, word_N == word, np.nan) for word in words]
        else:
            names.append(name)
            values.append(_one_a_series(_numbers(column), groups, group_R).to_numpy(dtype=np.float64))
    table = np.stack(values, axis=1) if values else np.empty((len(groups), 0))
    return StaticFeatures(names, table.astype(np.float32))


def _one_a_series(cells: pd.Series, groups: Sequence[str], group_R: np.ndarray) -> pd.Series:
    """Return the cell of each series (N), NaN where it has none."""
    first = cells.groupby(group_R).first()  # the first that is there
    differs = cells.notna().to_numpy() & (first.reindex(group_R).to_numpy() != cells.to_numpy())
    if differs.any():
        place = int(np.argmax(differs))
        group = int(group_R[place])
        raise InputError(
            f"series {groups[group]!r} has both {_shown(first.iloc[group])} and, in row {cells.index[place]}, "
            f"{_shown(cells.iloc[place])} in static column {cells.name!r}: a static column has one value a series; "
            "leave it a channel, or name the column that tells series apart."
        )
    return first.reindex(range(len(groups)))


def _shown(cell: Any) -> str:
    return repr(cell) if isinstance(cell, str) else f"{cell:.15g}"


def _numbers(column: pd.Series) -> pd.Series:
    numbers, wrong = numbers_of(column)
    wrong |= np.isinf(numbers)
    if wrong.any():
        row = wrong.idxmax()
        raise InputError(
            f"row {row} has {str(column[row])!r} in static column {column.name!r}, where the others are numbers: "
            "correct it, or leave the cell empty if it is missing."
        )
    return numbers
