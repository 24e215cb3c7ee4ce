"""The columns of a table of mixed types: what each holds, told from the training rows alone.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from integrand.core.errors import InputError, listed, unknown
from integrand.datasets.table_instants import texts_at, written_alike
from integrand.datasets.table_kinds import NUMBERS, Column, Scalar, codes_in, numbers_in, tell_column

TUPLES = ("categories", "levels")


@dataclass(frozen=True)
class TableSchema:
    """What the columns of a table hold, in the table's order.

    Attributes:
        columns: one a column, constant ones among them.
        dropped: columns of the training table that were left out on request; a table may have them or not.
        notices: what the user should know of how columns were taken, one line each.

    Example:
        >>> frame = pd.DataFrame({"age": [31.5, 47.25] * 6, "smokes": ["no", "yes"] * 6, "year": 2024})
        >>> schema = TableSchema.infer(frame, continuous=["age"])
        >>> [(column.name, column.kind) for column in schema.columns]
        [('age', 'continuous'), ('smokes', 'categorical'), ('year', 'constant')]
    """

    columns: tuple[Column, ...]
    dropped: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()

    @classmethod
    def infer(
        cls,
        frame: pd.DataFrame,
        *,
        categorical: Collection[str] = (),
        continuous: Collection[str] = (),
        ordinal: Mapping[str, Sequence[Scalar]] | None = None,
        drop: Collection[str] = (),
    ) -> TableSchema:
        """Tell what columns hold.

        Words, truths and few distinct numbers are categories, whole numbers integers, ISO 8601 dates instants, other
        numbers continuous; a column that never changes is constant, and written back as it was.

        Args:
            frame: the training rows; its index names rows in messages, the file's own as ``read_frame`` has it.
            categorical: columns to take for categories, whatever they hold.
            continuous: columns of numbers not to take for categories, however few distinct ones there are.
            ordinal: columns of categories that have an order, each with its values from least to greatest.
            drop: columns to leave out.

        Raises:
            InputError: no rows, no columns or two of one name; a column without a value, of an identifier, or of mixed
                or unknown types; infinite numbers; an option that names no column, or one column in two ways.
        """
        ordinal = ordinal or {}
        names = _names(frame)
        roles = {"categorical": categorical, "continuous": continuous, "ordinal": ordinal, "drop": drop}
        _check_roles(roles, names)
        kept = [name for name in names if name not in drop]
        if len(frame) < 2:
            raise InputError(f"the training table has {len(frame)} rows: give at least two.")
        columns = []
        for name in kept:
            cells = cells_of(frame, name)
            column = tell_column(
                cells, categorical=name in categorical, ordinal=ordinal.get(name), numbers=name in continuous
            )
            columns.append(column)
        if not any(column.kind != "constant" for column in columns):
            raise InputError(f"no column of {listed(names)} changes from row to row: there is nothing to learn.")
        notices = [
            f"column {column.name!r} is {column.categories[0]!r} in every training row: it is no part of the model, "
            "and written back as it was"
            for column in columns
            if column.kind == "constant"
        ]
        notices += [
            f"dates in column {column.name!r} are written in several ways: all will be written as {column.stamp}"
            f"{column.offset} has it"
            for column in columns
            if column.stamp and not written_alike(cells_of(frame, column.name), column.stamp, column.offset)
        ]
        return cls(tuple(columns), tuple(name for name in names if name in drop), tuple(notices))

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @property
    def modelled(self) -> list[Column]:
        """The columns that change, which a model learns."""
        return [column for column in self.columns if column.kind != "constant"]

    def column(self, name: str) -> Column:
        """Return a column; raise ``InputError`` where there is none of that name."""
        for column in self.columns:
            if column.name == name:
                return column
        raise unknown("column", name, self.names)

    def check(self, frame: pd.DataFrame, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """Return the cells of a table as the columns have them: numbers, NaN where missing, or places of categories.

        Args:
            frame: rows such as those of training, its columns in any order.
            only: the columns asked for; all that change where None.

        Returns:
            (N,) float64 for a column of numbers, int64 for one of categories, -1 where missing.

        Raises:
            InputError: no rows, columns that are missing, too many or named twice, or a cell that training rows give
                no meaning: an unseen category, a missing value where none was, a number that is none.
        """
        names = _names(frame)
        if frame.empty:
            raise InputError("the table has a header but no rows: give at least one row of data.")
        wanted = self.modelled if only is None else [self.column(name) for name in only]
        lacking = [column.name for column in wanted if column.name not in names]
        if lacking:
            raise InputError(f"the table lacks the columns {listed(lacking)}: give all of {listed(self.names)}.")
        strange = [name for name in names if name not in self.names and name not in self.dropped]
        if strange:
            raise InputError(
                f"the table has columns that the training table has not: {listed(strange)}. Remove them from the file."
            )
        found = {}
        for column in wanted:
            if column.kind == "constant":
                continue
            cells = cells_of(frame, column.name)
            missing = cells.isna()
            if missing.any() and not column.missing:
                raise InputError(
                    f"row {missing.idxmax()} has no value in column {column.name!r}, where every training row has one: "
                    "fill it in, or remove the row."
                )
            found[column.name] = (numbers_in if column.kind in NUMBERS else codes_in)(column, cells)
        return found

    def restore(self, values: Mapping[str, np.ndarray], rows: int) -> pd.DataFrame:
        """Return the table of such values as ``check`` gives: columns in order, types and digits as in training.

        Args:
            values: of the columns that change.
            rows: how many rows, which a table of constants alone would not tell.
        """
        return pd.DataFrame({one.name: _restored(one, values.get(one.name), rows) for one in self.columns})

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain values, for JSON and checkpoints."""
        columns = [
            {name: list(value) if name in TUPLES else value for name, value in asdict(column).items()}
            for column in self.columns
        ]
        return {"columns": columns, "dropped": list(self.dropped), "notices": list(self.notices)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TableSchema:
        """Return the schema of ``to_dict``."""
        columns = [Column(**{**one, **{name: tuple(one[name]) for name in TUPLES}}) for one in plain["columns"]]
        return cls(tuple(columns), tuple(plain["dropped"]), tuple(plain["notices"]))


def cells_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of a table whose names differ."""
    cells = frame[name]
    assert isinstance(cells, pd.Series)
    return cells


def _names(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns, which must be words and differ."""
    names = list(frame.columns)
    if not names:
        raise InputError("the table has no columns: give a header row and at least one row of data.")
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"column {name!r} has no word for a name: rename it.")
        if names.count(name) > 1:
            raise InputError(f"the table has more than one column called {name!r}: give each its own name.")
    return names


def _check_roles(roles: Mapping[str, Collection[str]], names: list[str]) -> None:
    taken: dict[str, str] = {}
    for option, given in roles.items():
        for name in given:
            if name not in names:
                raise unknown(f"column in --data.{option}", name, names)
            if name in taken:
                raise InputError(f"column {name!r} is named by --data.{taken[name]} and --data.{option}: keep one.")
            taken[name] = option


def _restored(column: Column, values: np.ndarray | None, rows: int) -> pd.Series:
    """Return a column's cells as the training table had them."""
    if column.kind == "constant":
        return pd.Series([column.categories[0]] * rows, name=column.name, dtype=object).astype(_dtype(column))
    assert values is not None, column.name
    if column.kind in ("categorical", "ordinal"):
        codes = np.where(np.isnan(values), -1, values).astype(np.int64) if column.kind == "ordinal" else values
        words = np.array([*column.categories, np.nan], dtype=object)[codes]  # -1 is the last, a missing one
        return pd.Series(words, name=column.name, dtype=object).astype(_dtype(column))
    missing = np.isnan(values)
    if column.kind == "datetime":
        return _restored_instants(column, values, missing)
    dtype = np.dtype(column.dtype) if column.dtype.startswith(("int", "uint")) else None
    if dtype is not None:  # a value that the type cannot hold becomes the nearest that it can
        values = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return pd.Series(values, name=column.name).astype(_dtype(column))


def _restored_instants(column: Column, seconds: np.ndarray, missing: np.ndarray) -> pd.Series:
    if column.stamp:
        words = np.full(len(seconds), np.nan, dtype=object)
        words[~missing] = texts_at(seconds[~missing], column.stamp, column.offset)
        return pd.Series(words, name=column.name, dtype=object).astype(_dtype(column))
    microseconds = np.where(missing, 0, np.rint(seconds * 1e6)).astype("datetime64[us]")
    instants = pd.Series(microseconds, name=column.name).mask(missing)
    if "," in column.dtype:  # its time zone
        return instants.dt.tz_localize("UTC").astype(_dtype(column))
    return instants.astype(_dtype(column))


def _dtype(column: Column) -> Any:
    """Return the column's type for ``astype``."""
    if column.dtype == "category":
        return pd.CategoricalDtype(list(column.levels), ordered=column.ordered)
    return column.dtype
