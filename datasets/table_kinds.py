"""What kind of values a column of a table holds, and what is needed to write such values again.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from integrand.core.errors import InputError, listed
from integrand.datasets.table_columns import COUNT_NAMES, LARGEST, dates_of, numbers_of
from integrand.datasets.table_instants import how_written, require_offset, seconds_of

Scalar = str | bool | int | float
Kind = Literal["continuous", "integer", "ordinal", "datetime", "categorical", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBERS = ("continuous", "integer", "ordinal", "datetime")
"""Kinds whose values are numbers on a line: instants as seconds since 1970, ordered categories by their place."""
FEW = 10
"""Most distinct numbers that count as categories, where each comes at least five times on average."""
MOST_DECIMALS = 9
LARGEST_WHOLE = 2.0**53


@dataclass(frozen=True)
class Column:
    """A column of a table: what its values are and how they are written.

    Attributes:
        name: its name.
        kind: one of ``KINDS``.
        dtype: of pandas, as text; of categories of pandas ``"category"``.
        missing: whether training rows lack a value.
        categories: the values of a categorical or ordinal column in their order, or the one value of a constant.
        levels: of pandas categories all that the column may hold, and ``ordered`` whether they have an order.
        step: where all numbers are multiples of ``step / 10**decimals``, as whole numbers are of 1.
        decimals: see ``step``.
        low, high: least and greatest number of the training rows.
        stamp: how the text of an instant is written, as ``strftime`` has it; empty where instants are no text.
        offset: what follows it, such as ``"Z"`` or ``"+02:00"``.
    """

    name: str
    kind: Kind
    _: KW_ONLY
    dtype: str
    missing: bool = False
    categories: tuple[Scalar, ...] = ()
    levels: tuple[Scalar, ...] = ()
    ordered: bool = False
    step: int | None = None
    decimals: int = 0
    low: float = 0.0
    high: float = 0.0
    stamp: str = ""
    offset: str = ""

    @property
    def unit(self) -> float | None:
        """Distance of the lattice that the numbers lie on, if they do."""
        return None if self.step is None else self.step / 10**self.decimals

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """Return numbers (N,) on the column's lattice, each the float64 nearest to its decimal form."""
        if self.step is None:
            return x
        return np.rint(x * 10**self.decimals / self.step) * self.step / 10**self.decimals


def tell_column(
    cells: pd.Series, *, categorical: bool = False, numbers: bool = False, ordinal: Sequence[Scalar] | None = None
) -> Column:
    """Return what a column holds, from its training rows.

    Args:
        cells: the column; its index names rows in messages.
        categorical: take its values for categories, whatever they are.
        numbers: take its numbers for no categories, however few distinct ones there are.
        ordinal: take its values for categories in this order.

    Raises:
        InputError: one line that names the column, and the row if one is at fault, with the cure.
    """
    name = str(cells.name)
    there = cells.loc[cells.notna()]
    if there.empty:
        raise InputError(f"column {name!r} has no value in any training row: leave it out (--data.drop {name}).")
    base = Column(name, "categorical", dtype=_dtype_name(cells), missing=len(there) < len(cells))
    if isinstance(cells.dtype, pd.CategoricalDtype):
        levels = tuple(_plain(one, name) for one in cells.dtype.categories)
        base = replace(base, levels=levels, ordered=bool(cells.dtype.ordered))
    _refuse_strange(there)
    if ordinal is not None:
        return _ordinal(base, there, ordinal)
    if there.nunique() == 1 and not base.missing:
        return replace(base, kind="constant", categories=(_constant(there.iloc[0], name),))
    if categorical or base.levels or pd.api.types.is_bool_dtype(cells.dtype) or _all_bool(there):
        return replace(base, categories=_categories(there, base))
    if pd.api.types.is_numeric_dtype(cells.dtype) or (there.dtype == object and not _any_text(there)):
        return _number(base, there, few=0 if numbers else FEW)
    if numbers:
        raise InputError(f"column {name!r} holds no numbers, so it cannot be continuous: leave it out of that list.")
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return _spread(replace(base, kind="datetime"), seconds_of(there))
    return _text(base, there.astype(str))


def numbers_in(column: Column, cells: pd.Series) -> np.ndarray:
    """Return the cells of a column of numbers as float64 (N,), NaN where missing.

    Instants become seconds since 1970, ordered categories their place.

    Raises:
        InputError: a cell is no such value; the message names its row.
    """
    if column.kind == "ordinal":
        codes = codes_in(column, cells)
        return np.where(codes < 0, np.nan, codes.astype(np.float64))
    if column.kind == "datetime":
        if column.stamp:
            require_offset(cells, column.offset)
        return seconds_of(cells)
    numbers, wrong = numbers_of(cells)
    if wrong.any():
        row = wrong.idxmax()
        raise InputError(
            f"row {row} has {str(cells[row])!r} in column {column.name!r}, which holds numbers: correct it, or leave "
            "the cell empty if it is missing."
        )
    _require_finite(numbers, column.name)
    return numbers.to_numpy(dtype=np.float64)


def codes_in(column: Column, cells: pd.Series) -> np.ndarray:
    """Return the place (N,) of each cell among the column's categories, -1 where it is missing.

    Raises:
        InputError: a cell is none of them; the message names its row.
    """
    places = {value: place for place, value in enumerate(column.categories)}
    words = {str(value): place for value, place in places.items()}
    missing = cells.isna().to_numpy()
    codes = np.full(len(cells), -1, dtype=np.int64)
    for i, cell in enumerate(cells.array):
        if missing[i]:
            continue
        # A file read anew may have 1 where another had 1.0 or the text "1".
        place = places.get(_plain(cell, column.name), words.get(str(cell)))
        if place is None:
            raise InputError(
                f"row {cells.index[i]} has {str(cell)!r} in column {column.name!r}, which no training row has; known: "
                f"{listed(map(str, column.categories))}. Correct it, or train on rows that have it."
            )
        codes[i] = place
    return codes


def _number(base: Column, there: pd.Series, *, few: int) -> Column:
    numbers = there.astype("float64")
    _require_finite(numbers, base.name)
    values = numbers.to_numpy()
    distinct = len(np.unique(values))
    if (distinct <= few and 5 * distinct <= len(values)) or distinct == 1:
        return replace(base, categories=_categories(there, base))
    found = _spread(replace(base, kind="continuous"), values)
    if found.step is None or found.decimals > 0:
        return found
    if base.name.lower() in COUNT_NAMES and distinct == len(values):
        raise InputError(
            f"column {base.name!r} numbers the rows, which tells nothing of them: leave it out (--data.drop "
            f"{base.name})."
        )
    return replace(found, kind="integer")


def _text(base: Column, there: pd.Series) -> Column:
    """Tell instants from words, and refuse a column that is neither."""
    numbers, wrong = numbers_of(there)
    if numbers.notna().sum() > wrong.sum() and wrong.any():
        row = wrong.idxmax()
        raise InputError(
            f"row {row} has {str(there[row])!r} in column {base.name!r}, where most cells are numbers: correct it, "
            f"leave the cell empty if it is missing, or take all for words (--data.categorical {base.name})."
        )
    dates = dates_of(there)
    if wrong.any() and 2 * dates.notna().sum() > len(there):
        stamp, offset = how_written(there)
        return _spread(replace(base, kind="datetime", stamp=stamp, offset=offset), seconds_of(there))
    distinct = there.nunique()
    if distinct == len(there):
        raise InputError(
            f"column {base.name!r} has another text in each row, such as {str(there.iloc[0])!r}, as an identifier has: "
            f"leave it out (--data.drop {base.name}), or keep its words as categories (--data.categorical {base.name})."
        )
    return replace(base, categories=_categories(there, base))


def _ordinal(base: Column, there: pd.Series, order: Sequence[Scalar]) -> Column:
    if len(set(order)) < len(order) or len(order) < 2:
        raise InputError(f"the order of column {base.name!r} must name at least two values, each once, got {order!r}.")
    column = replace(base, kind="ordinal", categories=tuple(_plain(one, base.name) for one in order), step=1)
    codes = codes_in(column, there)
    if codes.min() == codes.max():
        raise InputError(
            f"ordinal column {base.name!r} is {str(there.iloc[0])!r} in every training row that has one: leave it out "
            f"(--data.drop {base.name}), or do not call it ordinal."
        )
    return replace(column, low=float(codes.min()), high=float(codes.max()))


def _spread(column: Column, values: np.ndarray) -> Column:
    """Add range and lattice of the numbers of a column."""
    low, high = float(values.min()), float(values.max())
    if low == high:  # with missing values beside it, or it would be a constant
        raise InputError(
            f"column {column.name!r} has one value wherever it is not missing: take it for a category "
            f"(--data.categorical {column.name}), or leave it out (--data.drop {column.name})."
        )
    step, decimals = lattice(values)
    return replace(column, low=low, high=high, step=step, decimals=decimals)


def lattice(values: np.ndarray) -> tuple[int | None, int]:
    """Return (step, decimals) of the widest lattice of multiples of step / 10**decimals that holds all values.

    The step is None where nine decimals are too few. A step other than 1 is told from more than ``FEW`` values alone:
    of two numbers one is often the double of the other.

    Example:
        >>> lattice(np.array([0.25, 1.5, -3.75])), lattice(np.arange(0.0, 600.0, 20.0)), lattice(np.array([1 / 3, 2.0]))
        ((1, 2), (20, 0), (None, 0))
    """
    distinct = np.unique(values)
    for decimals in range(MOST_DECIMALS + 1):
        scaled = distinct * 10.0**decimals
        if np.abs(scaled).max() >= LARGEST_WHOLE:
            break
        whole = np.rint(scaled)
        # Readers of text may be a rounding error or two away from the number nearest to what is written.
        if (np.abs(whole / 10**decimals - distinct) <= 4 * np.finfo(np.float64).eps * np.abs(distinct)).all():
            step = int(np.gcd.reduce(whole.astype(np.int64))) if len(distinct) > FEW else 1
            return max(step, 1), decimals
    return None, 0


def _require_finite(numbers: pd.Series, name: str) -> None:
    infinite = numbers.abs() > LARGEST
    if infinite.any():
        row = infinite.idxmax()
        raise InputError(
            f"row {row} has {numbers[row]:g} in column {name!r}, infinite or beyond single precision: correct it, or "
            "leave the cell empty if it is missing."
        )


def _categories(there: pd.Series, base: Column) -> tuple[Scalar, ...]:
    """Return the distinct values in order: as pandas has its categories, else numbers and words each in theirs."""
    found = {_plain(one, base.name) for one in there.unique()}
    if base.levels:
        return tuple(one for one in base.levels if one in found)
    return tuple(sorted(found, key=lambda one: (isinstance(one, str), one)))


def _plain(value: Any, name: str) -> Scalar:
    """Return a cell as a plain value of Python."""
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, Scalar):
        raise InputError(
            f"column {name!r} has {str(plain)!r} for a category, which is no word, number or truth: leave it out "
            f"(--data.drop {name}), or do not take it for one."
        )
    return plain


def _constant(value: Any, name: str) -> Scalar:
    """Return the one value of a column, an instant as text."""
    return value.isoformat() if isinstance(value, pd.Timestamp) else _plain(value, name)


def _dtype_name(cells: pd.Series) -> str:
    return "category" if isinstance(cells.dtype, pd.CategoricalDtype) else str(cells.dtype)


def _all_bool(there: pd.Series) -> bool:
    return there.dtype == object and all(isinstance(one, (bool, np.bool_)) for one in there)


def _any_text(there: pd.Series) -> bool:
    return any(isinstance(one, str) for one in there)


def _refuse_strange(there: pd.Series) -> None:
    """Refuse a column of values that are neither plain nor instants of pandas."""
    strange = [one for one in there if not isinstance(one, Scalar | np.generic)] if there.dtype == object else []
    if strange or getattr(there.dtype, "kind", "O") in "cm":
        kind = type(strange[0] if strange else there.iloc[0]).__name__
        raise InputError(
            f"column {there.name!r} holds values of type {kind}, which are no numbers, truths, dates or words: convert "
            f"it, or leave it out (--data.drop {there.name})."
        )
