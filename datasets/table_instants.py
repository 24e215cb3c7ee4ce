"""Instants of a table as seconds since 1970, and as text in the form that a file has.

Letters: N rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from integrand.core.errors import InputError, listed
from integrand.datasets.table_columns import dates_of, texts_of
from integrand.datasets.table_stamps import OFFSET


def seconds_of(cells: pd.Series) -> np.ndarray:
    """Return instants, of pandas or as ISO 8601 text, as seconds since 1970 in UTC, (N,) float64, NaN where missing.

    Raises:
        InputError: a cell is no instant; the message names its row.
    """
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        instants = cells.dt.tz_localize("UTC") if cells.dt.tz is None else cells.dt.tz_convert("UTC")
    else:
        instants = dates_of(cells)
        wrong = cells.notna() & instants.isna()
        if wrong.any():
            row = wrong.idxmax()
            raise InputError(
                f"row {row} has {str(cells[row])!r} in column {cells.name!r}, which holds dates: write it as "
                "in 2024-01-31 14:00, or leave the cell empty if it is missing."
            )
    microseconds = instants.dt.tz_localize(None).astype("datetime64[us]").to_numpy().astype(np.int64)
    return np.where(instants.isna().to_numpy(), np.nan, microseconds / 1e6)


def how_written(texts: pd.Series) -> tuple[str, str]:
    """Return format and offset by which the texts of instants are written again as they are, or nearly so.

    Raises:
        InputError: their offsets differ.
    """
    written = texts_of(texts)
    offsets = written.str.extract(OFFSET)[0].fillna("").unique()
    if len(offsets) > 1:
        raise InputError(
            f"column {texts.name!r} mixes dates of the offsets {listed(map(repr, offsets))}: write all in one."
        )
    offset = str(offsets[0])
    between = "T" if written.str.contains("T").any() else " "
    formats = ["%Y-%m-%d", *(f"%Y-%m-%d{between}{clock}" for clock in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f"))]
    for stamp in formats:
        if written_alike(texts, stamp, offset):
            return stamp, offset
    return formats[3 if (seconds_of(texts) % 1).any() else 2], offset


def written_alike(texts: pd.Series, stamp: str, offset: str) -> bool:
    """Tell whether all texts of instants that are there are written by one format and offset."""
    there = texts.loc[texts.notna()]
    return bool((texts_at(seconds_of(there), stamp, offset) == texts_of(there).to_numpy()).all())


def texts_at(seconds: np.ndarray, stamp: str, offset: str) -> np.ndarray:
    """Write instants, seconds since 1970, as text: in their offset, by a format."""
    shift = 0.0
    if offset not in ("", "Z"):
        digits = offset[1:].replace(":", "").ljust(4, "0")
        shift = (1 if offset[0] == "+" else -1) * (3600 * int(digits[:2]) + 60 * int(digits[2:]))
    instants = pd.to_datetime(np.rint((seconds + shift) * 1e6).astype(np.int64), unit="us")
    return np.array([f"{one:{stamp}}{offset}" for one in instants], dtype=object)


def require_offset(cells: pd.Series, offset: str) -> None:
    """Demand that all texts of instants end in an offset, such as ``"Z"``, or in none where it is empty.

    Raises:
        InputError: one does not; the message names its row.
    """
    written = texts_of(cells)
    other = written.notna() & (written.str.extract(OFFSET)[0].fillna("") != offset)
    if other.any():
        row = other.idxmax()
        raise InputError(
            f"row {row} has {str(cells[row])!r} in column {cells.name!r}, whose training rows write dates "
            f"{f'with the offset {offset}' if offset else 'without an offset'}: write it so."
        )
