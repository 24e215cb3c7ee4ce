"""Static features from a table: columns that hold, in every row, what a series is rather than what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from integrand.core.errors import InputError, nearest
from integrand.datasets.tables import ONLY_GROUP, finite_numbers

if TYPE_CHECKING:
    import pandas as pd


def require_static(names: Sequence[str], cells: Mapping[str, pd.Series]) -> None:
    """Demand a column for each static feature.

    Raises:
        InputError: naming those that have none.
    """
    missing = [name for name in names if name not in cells]
    if missing:
        close = nearest(missing[0], [name for name in cells if name not in names])
        hint = f" did you mean the column {close!r}?" if close else ""
        raise InputError(
            f"the table lacks columns of the static features {', '.join(missing)}:{hint} Give each a column, the same "
            "in every row of a series and empty where it is not known."
        )


def merge_static(
    cells: Mapping[str, pd.Series],
    names: Sequence[str],
    group_column: str | None,
    found: dict[str, dict[str, float]],
) -> None:
    """Put what the rows say of static features into ``found``, by series and feature; empty cells say nothing.

    Args:
        cells: columns, indexed by the rows of the file.
        names: of the features.
        group_column: tells series apart; None where there is one alone.
        found: what is known so far; nothing of it is changed where an error is raised.

    Raises:
        InputError: a cell is no number, or a feature changes within a series; the message names the row.

    Example:
        >>> import pandas as pd
        >>> cells = {"id": pd.Series(["a", "a", "b"]), "age": pd.Series([61.0, None, 70.0])}
        >>> found = {}
        >>> merge_static(cells, ["age"], "id", found)
        >>> found
        {'a': {'age': 61.0}, 'b': {'age': 70.0}}
    """
    fresh: dict[tuple[str, str], float] = {}
    for name in names:
        column = cells[name]
        numbers: list[float] = finite_numbers(column).tolist()
        groups = [ONLY_GROUP] * len(numbers) if group_column is None else _texts(cells[group_column])
        for row, group, value in zip(column.index, groups, numbers, strict=True):
            if math.isnan(value):
                continue
            known = fresh.setdefault((group, name), found.get(group, {}).get(name, value))
            if known != value:
                raise InputError(
                    f"row {row} has {value:g} in column {name!r}, rows before it in series {group!r} have {known:g}: a "
                    "static feature is the same in every row of a series."
                )
    for (group, name), value in fresh.items():
        found.setdefault(group, {})[name] = value


def _texts(column: pd.Series) -> list[str]:
    return column.astype(str).str.strip().tolist()
