"""What a table says of a series once and for all, such as a patient's age, though each of its rows repeats it.

A column of numbers is a feature by its own name; one of words is a feature for each word, ``sex=f`` and ``sex=m``, 1
where it is the series' word and 0 where another is.

Letters: N series, R rows of the file, S static features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from integrand.core.errors import InputError, nearest, unknown
from integrand.datasets.table_columns import finite_numbers, is_text, texts_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StaticFeatures:
    """Features of the series: ``values (N, S)`` float32, NaN where missing, and the names of their columns."""

    names: list[str]
    values: np.ndarray


class _Source(NamedTuple):
    """Where a feature comes from: a column, and the word it stands for, None for that of a number."""

    column: str
    word: str | None


def columns_of(features: Sequence[str], cells: Collection[str]) -> list[str]:
    """Return the columns of a table that hold the static features of a model.

    Args:
        features: their names.
        cells: names of the table's columns.

    Raises:
        InputError: some have none.

    Example:
        >>> columns_of(["age", "sex=f", "sex=m"], ["id", "time", "age", "sex", "hr"])
        ['age', 'sex']
    """
    found = {feature: _source(feature, cells) for feature in features}
    missing = [feature for feature, source in found.items() if source is None]
    if missing:
        close = nearest(missing[0], [name for name in cells if name not in features])
        hint = f" did you mean the column {close!r}?" if close else ""
        raise InputError(
            f"the table lacks columns of the static features {', '.join(missing)}:{hint} Give each a column, the same "
            "in every row of a series and empty where it is not known."
        )
    return list(dict.fromkeys(source.column for source in found.values() if source is not None))


def columns_of_words(features: Iterable[str]) -> set[str]:
    """Return what columns of words there may be by the names of features; their cells are to be kept as written.

    Example:
        >>> columns_of_words(["age", "sex=f"])
        {'sex'}
    """
    return {source.column for feature in features for source in _sources(feature) if source.word is not None}


def take_static(
    cells: dict[str, pd.Series], names: Sequence[str], roles: Collection[str | None] = ()
) -> dict[str, pd.Series]:
    """Take static columns out of the cells, so that they are no channels.

    Args:
        cells: the columns, which lose them.
        names: of the static ones.
        roles: columns that are for something else.

    Raises:
        InputError: there is no such column, or it is one of ``roles``.
    """
    for name in names:
        if name not in cells:
            raise unknown("static column", name, cells)
        if name in roles:
            raise InputError(f"column {name!r} is static and has another role, too: leave it out of one.")
    return {name: cells.pop(name) for name in dict.fromkeys(names)}


def read_static(
    columns: Mapping[str, pd.Series],
    groups: Sequence[str],
    group_R: np.ndarray,
    features: Sequence[str] | None = None,
) -> StaticFeatures:
    """Return the features of each series: numbers as they are, words as one feature a word.

    Words are ordered, and a series without one is NaN in all of a column's. A cell that is empty in some rows of a
    series has the value of its others.

    Args:
        columns: the cells, indexed by the rows of the file.
        groups: names of the series, in order.
        group_R: number of the series of each row.
        features: those of a trained model, which say what columns hold; what the columns hold themselves where None.

    Raises:
        InputError: a column has two values in one series, a cell that is no number in a column of numbers, or a word
            that ``features`` lack, by its row; or there is no column of one of these.
    """
    sources = _told(columns) if features is None else _asked(features, columns)
    words = {source.column for source in sources if source.word is not None}
    if features is not None:
        _require_known_words({name: columns[name] for name in words}, sources)
    cells_N = {
        name: _one_a_series(texts_of(column) if name in words else _numbers(column), groups, group_R)
        for name, column in columns.items()
    }
    values = [_feature(cells_N[source.column], source.word) for source in sources]
    table = np.stack(values, axis=1) if values else np.empty((len(groups), 0))
    names = [column if word is None else f"{column}={word}" for column, word in sources]
    return StaticFeatures(names, table.astype(np.float32))


def _told(columns: Mapping[str, pd.Series]) -> list[_Source]:
    """Return the features that columns hold."""
    return [
        _Source(name, word)
        for name, column in columns.items()
        for word in (sorted(texts_of(column).dropna().unique()) if is_text(column) else [None])
    ]


def _asked(features: Sequence[str], columns: Collection[str]) -> list[_Source]:
    """Return where the features of a model come from; raise ``InputError`` where columns lack some."""
    columns_of(features, columns)
    return [source for feature in features if (source := _source(feature, columns)) is not None]


def _sources(feature: str) -> list[_Source]:
    """Return what a feature's name may mean: first a column of its own, then a column and a word of it."""
    ends = [place for place, letter in enumerate(feature) if letter == "="]
    return [_Source(feature, None), *(_Source(feature[:end], feature[end + 1 :]) for end in ends)]


def _source(feature: str, columns: Collection[str]) -> _Source | None:
    return next((source for source in _sources(feature) if source.column in columns), None)


def _one_a_series(cells: pd.Series, groups: Sequence[str], group_R: np.ndarray) -> pd.Series:
    """Return the cell of each series (N), NaN where it has none."""
    first = cells.groupby(group_R).first()  # the first that is there
    differs = cells.notna().to_numpy() & (first.reindex(group_R).to_numpy() != cells.to_numpy())
    if differs.any():
        place = int(np.argmax(differs))
        group = int(group_R[place])
        raise InputError(
            f"series {groups[group]!r} has both {_shown(first.loc[group])} and, in row {cells.index[place]}, "
            f"{_shown(cells.iloc[place])} in static column {cells.name!r}, which is to be the same in every row of a "
            "series: correct it, leave it a channel, or name the column that tells series apart."
        )
    return first.reindex(range(len(groups)))


def _require_known_words(columns: Mapping[str, pd.Series], sources: Sequence[_Source]) -> None:
    """Demand of columns of words that each is one that a source stands for."""
    for name, column in columns.items():
        known = [source.word for source in sources if source.column == name and source.word is not None]
        cells = texts_of(column)
        strange = cells.notna() & ~cells.isin(known)
        if strange.any():
            row = strange.idxmax()
            raise InputError(
                f"row {row} has {str(cells[row])!r} in static column {name!r}, where the model knows "
                f"{', '.join(map(repr, known))}: correct it, or leave the cell empty."
            )


def _feature(cell_N: pd.Series, word: str | None) -> np.ndarray:
    """Return a feature of each series, (N,)."""
    if word is None:
        return cell_N.to_numpy(dtype=np.float64)
    return np.where(cell_N.notna().to_numpy(), cell_N.to_numpy() == word, np.nan)


def _numbers(column: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.Series(finite_numbers(column), index=column.index, name=column.name)


def _shown(cell: Any) -> str:
    return repr(cell) if isinstance(cell, str) else f"{cell:.15g}"
