"""The stamps of a table: ISO dates, counts since 1970, or plain numbers, as float64 times and what turns them back.

Letters: N rows of the file.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.table_columns import dates_of, is_text, numbers_of, texts_of

if TYPE_CHECKING:
    import pandas as pd

MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
OFFSET = r"[T ]\d{2}.*?(Z|[+-]\d{2}(?::?\d{2})?)$"
SINCE_1970 = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # of them in a second
FIRST_SECOND, LAST_SECOND = 10**9, 4_102_444_800  # September 2001 to 2100: no count of one unit is one of another
THOUSAND = 1000.0


@dataclass(frozen=True)
class Stamps:
    """The stamps of all rows, ``times (N,)`` float64, and what turns them back.

    ``counted`` is the unit of numbers that count since 1970, None of other numbers and of ISO dates.
    """

    times: np.ndarray
    time_unit: str
    _: KW_ONLY
    epoch: pd.Timestamp | None
    timezone: str | None
    counted: str | None = None
    notices: tuple[str, ...] = ()


def read_stamps(column: pd.Series, time_unit: str, group_N: np.ndarray, like: Stamps | None = None) -> Stamps:
    """Turn the cells of a time column into times.

    ISO dates count from the first of them. So do whole numbers that count seconds, milliseconds, microseconds or
    nanoseconds since 1970, told by their size (2001 to 2100), exactly to the nanosecond before they become float64; a
    notice says so. Other numbers are kept as they are, as all are with the time unit ``"1"``.

    Args:
        column: the cells, indexed by the rows of the file.
        time_unit: what times of dates count, a name in ``MICROSECONDS``, or ``"1"`` for plain numbers alone.
        group_N: which series each row belongs to.
        like: stamps that were read before, whose kind these are to be of; told from the cells where None.

    Raises:
        InputError: a stamp is missing or of another kind than the others, or the unit changes by a thousand.
    """
    name = column.name
    missing = texts_of(column).isna()
    if missing.any():
        raise InputError(f"row {missing.idxmax()} has no time stamp in column {name!r}: fill it in or remove the row.")
    if is_text(column) if like is None else like.epoch is not None and like.counted is None:
        return _read_dates(column, time_unit)
    numbers, wrong = numbers_of(column)
    wrong |= ~np.isfinite(numbers)
    if wrong.any():
        row = wrong.idxmax()
        raise InputError(
            f"row {row} has {str(column[row])!r} in time column {name!r}, where the other stamps are plain numbers: "
            "correct it, or name another column with --time-column."
        )
    if like is None:
        _require_no_written_dates(numbers)
        unit = _counted_unit(numbers)
    else:
        unit = like.counted
    if unit is not None and time_unit != "1":
        stamps = _read_counts(column, numbers, unit, time_unit)
        return stamps if like is None else replace(stamps, notices=())
    require_one_unit(numbers, group_N)
    return Stamps(numbers.to_numpy(), "1", epoch=None, timezone=None)


def _require_no_written_dates(numbers: pd.Series) -> None:
    if (numbers.between(1900_01_01, 2100_12_31) & (numbers % 1 == 0)).all():
        days = dates_of(numbers.astype("int64").astype(str))
        if days.notna().all():
            raise InputError(
                f"time column {numbers.name!r} holds dates written as numbers, such as {numbers.iloc[0]:.0f}: write "
                f"them as {days.iloc[0]:%Y-%m-%d}, or name another column with --time-column."
            )


def _counted_unit(numbers: pd.Series) -> str | None:
    """Return the unit in which whole numbers count time since 1970, by their size, or None where they do not.

    Raises:
        InputError: they count in several units.
    """
    rows: dict[str, pd.Series] = {}
    for unit in SINCE_1970:
        counted = numbers.loc[_counts(numbers, unit)]
        if len(counted):
            rows[unit] = counted
    if sum(len(counted) for counted in rows.values()) < len(numbers):
        return None
    if len(rows) > 1:
        (one, first), (other, second) = list(rows.items())[:2]
        raise InputError(
            f"time column {numbers.name!r} mixes units: row {first.index[0]} has {first.iloc[0]:.0f}, {one} since 1970 "
            f"by its size, and row {second.index[0]} has {second.iloc[0]:.0f}, {other}: write all in one unit."
        )
    return next(iter(rows))


def _counts(numbers: pd.Series, unit: str) -> pd.Series:
    """Tell which numbers are whole and of the size of counts since 1970 in a unit."""
    a_second = SINCE_1970[unit]
    return numbers.between(FIRST_SECOND * a_second, LAST_SECOND * a_second) & (numbers % 1 == 0)


def _read_counts(column: pd.Series, numbers: pd.Series, unit: str, time_unit: str) -> Stamps:
    """Turn counts since 1970 into times from the first of them, in whole numbers up to the last division."""
    import pandas as pd

    strange = ~_counts(numbers, unit)
    if strange.any():
        row = strange.idxmax()
        raise InputError(
            f"row {row} has {numbers[row]:.15g} in time column {column.name!r}, where rows before it count {unit} "
            "since 1970 in whole numbers: write all in one unit, or as dates."
        )
    # What a file writes as 1.7e9 or 1700000000.0 has no integers; its float64 is exact up to milliseconds.
    whole = column if pd.api.types.is_integer_dtype(column) else numbers
    nanoseconds = whole.to_numpy().astype(np.int64) * (10**9 // SINCE_1970[unit])
    first = int(nanoseconds.min()) // 1000  # microseconds, as ``Table.stamps`` counts
    times = (nanoseconds - 1000 * first) / (1000.0 * MICROSECONDS[time_unit])
    epoch = pd.Timestamp(np.datetime64(first, "us"), tz="UTC")
    assert isinstance(epoch, pd.Timestamp)
    notice = (
        f"column {column.name!r} counts {unit} since 1970, by its size: read as dates in UTC, {numbers.iloc[0]:.0f} as "
        f"{pd.Timestamp(int(nanoseconds[0]), unit='ns')}"
    )
    return Stamps(times, time_unit, epoch=epoch, timezone="UTC", counted=unit, notices=(notice,))


def require_one_unit(numbers: pd.Series, group_N: np.ndarray) -> None:
    """Refuse a series that goes on in a unit a thousand times smaller or larger, as where milliseconds follow seconds.

    From one row to the next the number is then a thousand times what would have come next, and so are the steps: if
    d is the step before the row t and f the factor, the next row is f (t + d) and the step after it f d, each up to a
    factor of two in the step. Sampling that only slows down does not multiply the number itself.

    Args:
        numbers: indexed by the rows of the file.
        group_N: which series each row belongs to.

    Raises:
        InputError: naming the rows between which it changes.
    """
    by_group = np.argsort(group_N, kind="stable")
    t, group, rows = numbers.to_numpy()[by_group], group_N[by_group], numbers.index.to_numpy()[by_group]
    if len(t) < 4:
        return
    before, now, then, after = t[:-3], t[1:-2], t[2:-1], t[3:]
    for factor in (THOUSAND, 1 / THOUSAND):
        step = now - before
        reached, going = then / factor - now, (after - then) / factor
        jumps = (group[:-3] == group[3:]) & (step > 0) & _alike(reached, step) & _alike(going, step)
        if jumps.any():
            k = int(np.argmax(jumps))
            raise InputError(
                f"time column {numbers.name!r} changes its unit between row {rows[k + 1]} ({now[k]:.15g}) and row "
                f"{rows[k + 2]} ({then[k]:.15g}), where numbers and steps jump by a factor of 1000: write all in one "
                "unit."
            )


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one >= other / 2) & (one <= 2 * other)


def _read_dates(column: pd.Series, time_unit: str) -> Stamps:
    import pandas as pd

    name, text = column.name, texts_of(column)
    if time_unit == "1":
        raise InputError(
            f"time column {name!r} holds dates such as {text.iloc[0]!r}, where plain numbers were expected "
            "(time unit '1'): give numbers, or one of the time units ms, s, min, h, d."
        )
    instants = dates_of(column)
    if instants.isna().any():
        row = instants.isna().idxmax()
        raise InputError(
            f"row {row} has {text[row]!r} in time column {name!r}, which is no date: write stamps as "
            "'2024-01-31 14:00:00' or as plain numbers, or name another column with --time-column."
        )
    offset = text.str.extract(OFFSET, expand=False)
    if offset.isna().any() and offset.notna().any():
        without, with_one = offset.isna().idxmax(), offset.notna().idxmax()
        raise InputError(
            f"row {without} has {text[without]!r} in time column {name!r}, without an offset from UTC, and row "
            f"{with_one} has {text[with_one]!r}, with one: write all with or all without."
        )
    offsets = {_offset(written) for written in offset.dropna().unique()}
    notices = ()
    if len(offsets) > 1:
        notices = (f"stamps in column {name!r} have {len(offsets)} offsets from UTC: all are turned to UTC",)
    timezone = None if not offsets else offsets.pop() if len(offsets) == 1 else "UTC"
    microseconds = instants.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    times = (microseconds - microseconds.min()) / MICROSECONDS[time_unit]
    epoch = pd.Timestamp(np.datetime64(int(microseconds.min()), "us"), tz="UTC")
    assert isinstance(epoch, pd.Timestamp)
    return Stamps(times, time_unit, epoch=epoch, timezone=timezone, notices=notices)


def _offset(written: str) -> str:
    digits = written.replace(":", "").replace("Z", "+0000").ljust(5, "0")
    return "UTC" if digits[1:] == "0000" else f"{digits[:3]}:{digits[3:]}"
