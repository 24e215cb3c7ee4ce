"""Tables of measurements over time, regular or not, read from files in wide or long form.

Wide form has a row per stamp and a column per channel; long form has a row per measurement: stamp, channel, value.
Either may hold several series, told apart by a group column. The same measurements read the same from both forms, and
the order of rows, groups and variables in the file changes nothing but which of two repeated cells comes first.

Letters: N rows of the file, L stamps of a series, R stamps of all series, C channels, K observed cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from integrand.core.errors import InputError, nearest, unknown
from integrand.datasets.static_columns import columns_of, columns_of_words, read_static, take_static
from integrand.datasets.table_columns import Roles, find_roles, finite_numbers, is_text, read_cells
from integrand.datasets.table_stamps import MICROSECONDS, Stamps, read_stamps

if TYPE_CHECKING:
    import pandas as pd

DUPLICATES = ("mean", "first", "last", "error")
ONLY_GROUP = "all"


@dataclass(frozen=True, eq=False)
class Series:
    """What was measured on one group: ``values (L, C)`` float32, NaN where missing, at ``times (L,)`` that increase."""

    group: str
    times: np.ndarray
    _: KW_ONLY
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Table:
    """The series of a file, one a group, over the same channels.

    Attributes:
        series: one a group, ordered by group: as numbers where all are whole numbers, else as text.
        channels: the names of the columns of ``values``.
        time_unit: what ``times`` count, ``"h"``, ``"min"``, ``"s"``, ``"d"`` or ``"ms"``; ``"1"`` where the file's
            stamps are plain numbers, which are kept as they are.
        epoch: the instant where ``times`` are 0, the first stamp of the file, in UTC; None for plain numbers.
        timezone: the offset shared by all stamps, such as ``"+02:00"`` or ``"UTC"``; None for stamps without one.
        time_column: the column that holds the stamps.
        layout: the form of the file.
        group_column: the column that tells the series apart, if any.
        variable_column: the column that names the channel of a row, in long form.
        notices: what the user should know of how the file was read, one line each.
        static: (N, S) float32 features of the series in their order, NaN where missing; None where none were asked for.
        static_names: the names of its columns.
    """

    series: list[Series]
    channels: list[str]
    _: KW_ONLY
    time_unit: str
    epoch: pd.Timestamp | None
    timezone: str | None
    time_column: str
    layout: Literal["wide", "long"]
    group_column: str | None
    variable_column: str | None = None
    notices: list[str]
    static: np.ndarray | None = None
    static_names: tuple[str, ...] = ()

    def stamps(self, times: np.ndarray) -> pd.DatetimeIndex | np.ndarray:
        """Turn times (Q,) back into stamps such as the file has: dates in its own offset or without one, or numbers.

        Dates are rounded to the microsecond, which undoes the rounding of float64 hours over a century.
        """
        import pandas as pd

        times = np.asarray(times, dtype=np.float64)
        if self.epoch is None:
            return times
        since_epoch = np.rint(times * MICROSECONDS[self.time_unit]).astype("timedelta64[us]")
        instants = pd.DatetimeIndex(self.epoch.tz_localize(None).to_datetime64() + since_epoch)
        return instants if self.timezone is None else instants.tz_localize("UTC").tz_convert(self.timezone)

    def texts(self, times: np.ndarray) -> list[str]:
        """Write times (Q,) as text with every digit, as a file has them."""
        return [f"{one:.15g}" if self.epoch is None else str(one) for one in self.stamps(times)]

    def titles(self, times: np.ndarray) -> list[str]:
        """Write times (Q,) as text to the minute, as a picture and a message have them."""
        return [f"{one:.10g}" if self.epoch is None else f"{one:%Y-%m-%d %H:%M}" for one in self.stamps(times)]


@dataclass(frozen=True)
class Measurements:
    """What the rows hold, whatever the form: cell k is ``values[k]`` of channel ``channel[k]`` in row ``row[k]``.

    ``variable (N,)`` numbers what may occur once a stamp: nothing but the row in wide form, its variable in long form.
    """

    channels: list[str]
    variable: np.ndarray
    _: KW_ONLY
    row: np.ndarray
    channel: np.ndarray
    values: np.ndarray
    notices: tuple[str, ...]


def read_table(
    path: str | Path,
    *,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    channels: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    static_columns: Sequence[str] = (),
    features: Sequence[str] = (),
    time_unit: str = "h",
    duplicates: str = "mean",
) -> Table:
    """Read the series of a table file in wide or long form: commas, semicolons or tabs, plain or packed, or parquet.

    Args:
        path: the file, UTF-8; ``.csv``, ``.csv.gz``, ``.csv.xz``; or ``.parquet``, by the extra ``parquet``.
        time_column: holds ISO 8601 stamps, with or without an offset, whole numbers that count seconds to nanoseconds
            since 1970, or plain numbers; told from names and content if None.
        group_column: tells series apart; if None, a column called group, id, station, origin, series, unique_id or
            patient.
        variable_column: names the channel of a row in long form; if None, one called variable, channel, parameter or
            name.
        value_column: holds the value of a row in long form; if None, one called value.
        channels: the channels wanted, in order, as a trained model needs them; if None, all numeric columns, or all
            variables by name.
        optional: those of ``channels`` that the file may lack, or hold no value of: they are NaN throughout, and a
            notice says so.
        static_columns: columns that say one thing of a series in all its rows, such as a patient's age or sex, as
            features of the series and not as channels: numbers as they are, words as a 0 or 1 for each, ``sex=f``.
        features: static features of a trained model by these names, whose columns are found; instead of their columns.
        time_unit: what times count: ``"h"``, ``"min"``, ``"s"``, ``"d"`` or ``"ms"``. Plain numbers are not converted.
        duplicates: what becomes of the observed cells that share a group, stamp and channel: ``"mean"``, ``"first"``
            or ``"last"`` in the file, or ``"error"``, which refuses a repeated stamp.

    Returns:
        The table, its notices telling all that was chosen or changed.

    Raises:
        InputError: one line that names the row (the header is row 1) or column at fault, what it holds, and the cure.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "weather.csv"
        >>> _ = path.write_text("time,temp,wind\\n2024-01-01 00:00,1.5,\\n2024-01-01 06:00,-,3\\n")
        >>> table = read_table(path)
        >>> table.channels, table.series[0].times, table.series[0].values.tolist()
        (['temp', 'wind'], array([0., 6.]), [[1.5, nan], [nan, 3.0]])
        >>> str(table.stamps([9.0])[0])
        '2024-01-01 09:00:00'
    """
    check_options(channels, time_unit, duplicates)
    texts = {name for name in (group_column, variable_column) if name is not None} | columns_of_words(features)
    cells = read_cells(path, texts)
    columns = {
        "time_column": time_column,
        "group_column": group_column,
        "variable_column": variable_column,
        "value_column": value_column,
    }
    static = take_static(cells, columns_of(features, cells) if features else static_columns, columns.values())
    roles = find_roles(cells, **columns)
    return table_of(
        cells,
        roles,
        channels=channels,
        optional=optional,
        static=static,
        features=features or None,
        time_unit=time_unit,
        duplicates=duplicates,
    )


def check_options(channels: Sequence[str] | None, time_unit: str, duplicates: str) -> None:
    """Demand a known time unit and policy, and channels named once each; raise ``InputError`` otherwise."""
    if duplicates not in DUPLICATES:
        raise unknown("policy in --duplicates", duplicates, DUPLICATES)
    if time_unit not in (*MICROSECONDS, "1"):
        raise unknown("time unit", time_unit, (*MICROSECONDS, "1"))
    if channels is not None and (not channels or len(set(channels)) < len(channels)):
        raise InputError(f"channels {list(channels)!r} must name at least one channel, and each once.")


def table_of(
    cells: Mapping[str, pd.Series],
    roles: Roles,
    *,
    channels: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    static: Mapping[str, pd.Series] | None = None,
    features: Sequence[str] | None = None,
    time_unit: str = "h",
    duplicates: str = "mean",
) -> Table:
    """Make the table of cells whose columns have their roles; ``static`` are those of features, see ``read_static``."""
    groups, group_N = read_groups(cells, roles)
    told = read_static(static, groups, group_N, features) if static else None
    stamps = read_stamps(cells[roles.time], time_unit, group_N)
    measured = read_measurements(cells, roles, channels, optional)
    empty_notices = _check_observed(measured, optional, asked=channels is not None)
    order_notices = _check_order(cells[roles.time].index.to_numpy(), group_N, stamps, measured, duplicates, groups)
    return Table(
        _fold(groups, group_N, stamps.times, measured, duplicates),
        measured.channels,
        time_unit=stamps.time_unit,
        epoch=stamps.epoch,
        timezone=stamps.timezone,
        time_column=roles.time,
        layout="wide" if roles.variable is None else "long",
        group_column=roles.group,
        variable_column=roles.variable,
        notices=[*roles.notices, *stamps.notices, *measured.notices, *empty_notices, *order_notices],
        static=None if told is None else told.values,
        static_names=() if told is None else tuple(told.names),
    )


def require_span(table: Table, span: float, *, what: str) -> None:
    """Demand that every series lasts at least ``span`` (in the table's time unit), the length of ``what``.

    Raises:
        InputError: naming the first series that is shorter.
    """
    unit = "" if table.time_unit == "1" else f" {table.time_unit}"
    for series in table.series:
        lasts = float(series.times[-1] - series.times[0])
        if lasts < span * (1 - 1e-9):
            raise InputError(
                f"series {series.group!r} spans {lasts:g}{unit}, shorter than the {span:g}{unit} {what}: "
                f"give at least {span:g}{unit} of it, or remove it from the table."
            )


def read_groups(cells: Mapping[str, pd.Series], roles: Roles) -> tuple[list[str], np.ndarray]:
    """Return the groups in order and which of them each row belongs to, (N,)."""
    if roles.group is None:
        return [ONLY_GROUP], np.zeros(len(cells[roles.time]), dtype=np.int64)
    return _codes(cells[roles.group], "group", "--group-column")


def _codes(column: pd.Series, what: str, option: str) -> tuple[list[str], np.ndarray]:
    import pandas as pd

    text = column.astype(str).str.strip()
    missing = column.isna() | (text == "")
    if missing.any():
        raise InputError(
            f"row {missing.idxmax()} names no {what} in column {column.name!r}: fill it in, remove the row, or name "
            f"another column with {option}."
        )
    names = text.unique().tolist()
    whole = all(name.isdecimal() for name in names)
    names.sort(key=lambda name: (int(name) if whole else 0, name))
    return names, pd.Index(names).get_indexer(pd.Index(text)).astype(np.int64)


def read_measurements(
    cells: Mapping[str, pd.Series], roles: Roles, channels: Sequence[str] | None, optional: Sequence[str]
) -> Measurements:
    """Return the observed cells of the rows, whatever the form; ``channels`` and ``optional`` as in ``read_table``."""
    read = _read_wide if roles.variable is None else _read_long
    return read(cells, roles, channels, optional)


def _read_wide(
    cells: Mapping[str, pd.Series], roles: Roles, channels: Sequence[str] | None, optional: Sequence[str]
) -> Measurements:
    others = [name for name in cells if name not in (roles.time, roles.group)]
    notices = ()
    if channels is None:
        others = [name for name in others if name not in roles.counts]
        texts = [name for name in others if is_text(cells[name])]
        chosen = [name for name in others if name not in texts]
        if not chosen:
            raise InputError(
                f"no numeric column beside time column {roles.time!r}: columns {texts!r} hold text; give at least one "
                "column of numbers, written with a decimal point."
            )
        if texts:
            notices = (f"ignored columns of text: {', '.join(texts)} (--group-column makes one tell series apart)",)
    else:
        chosen, notices = _select(others, channels, "columns", optional)
    absent_N = np.full(len(cells[roles.time]), np.nan)
    values_NC = np.stack([finite_numbers(cells[name]) if name in others else absent_N for name in chosen], axis=1)
    row, channel = np.nonzero(~np.isnan(values_NC))
    return Measurements(
        chosen,
        np.zeros(len(values_NC), dtype=np.int64),
        row=row,
        channel=channel,
        values=values_NC[row, channel],
        notices=notices,
    )


def _read_long(
    cells: Mapping[str, pd.Series], roles: Roles, channels: Sequence[str] | None, optional: Sequence[str]
) -> Measurements:
    assert roles.variable is not None
    assert roles.value is not None
    variables, variable_N = _codes(cells[roles.variable], "channel", "--variable-column")
    used = {roles.time, roles.group, roles.variable, roles.value, *roles.counts}
    unused = [name for name in cells if name not in used]
    notices = (f"ignored columns that long form does not use: {', '.join(unused)}",) if unused else ()
    chosen = variables
    if channels is not None:
        chosen, ignored = _select(variables, channels, "variables", optional)
        notices += ignored
    channel_N = np.array([chosen.index(name) if name in chosen else -1 for name in variables])[variable_N]
    wanted_N = channel_N >= 0
    values_N = np.full(len(variable_N), np.nan)
    values_N[wanted_N] = finite_numbers(cells[roles.value].loc[wanted_N])
    row = np.flatnonzero(~np.isnan(values_N))
    return Measurements(chosen, variable_N, row=row, channel=channel_N[row], values=values_N[row], notices=notices)


def _select(
    known: Sequence[str], channels: Sequence[str], what: str, optional: Sequence[str]
) -> tuple[list[str], tuple[str, ...]]:
    for name in channels:
        if name not in known and name not in optional:
            close = nearest(name, known)
            hint = f" did you mean {close!r}?" if close else ""
            raise InputError(f"the table lacks channel {name!r}:{hint} Its {what} are {', '.join(known)}.")
    extra = [name for name in known if name not in channels]
    return list(channels), (f"ignored {what} that are not asked for: {', '.join(extra)}",) if extra else ()


def _check_observed(measured: Measurements, optional: Sequence[str], *, asked: bool) -> list[str]:
    """Refuse a channel without an observed value, or tell of it where it is optional."""
    observed_C = np.bincount(measured.channel, minlength=len(measured.channels))
    empty = [name for name, observed in zip(measured.channels, observed_C, strict=True) if not observed]
    for name in empty:
        if name not in optional:
            cure = "give at least one" if asked else "remove it, or leave it out of the channels"
            raise InputError(f"channel {name!r} has no observed value: {cure}.")
    return [f"channels without an observed value, missing throughout: {', '.join(empty)}"] if empty else []


def _check_order(
    file_row_N: np.ndarray,
    group_N: np.ndarray,
    stamps: Stamps,
    measured: Measurements,
    duplicates: str,
    groups: list[str],
) -> list[str]:
    """Tell of rows out of order and of repeated stamps; refuse the latter where asked to."""
    track_N = group_N * (int(measured.variable.max()) + 1) + measured.variable
    by_track = np.argsort(track_N, kind="stable")
    same_track = np.diff(track_N[by_track]) == 0
    late = int(np.sum(same_track & (np.diff(stamps.times[by_track]) < 0)))
    notices = [f"sorted the rows by time: {late} came before the row above"] if late else []
    by_time = np.lexsort((stamps.times, track_N))
    again = np.flatnonzero((np.diff(track_N[by_time]) == 0) & (np.diff(stamps.times[by_time]) == 0))
    if len(again) and duplicates == "error":
        pair = min(zip(by_time[again + 1], by_time[again], strict=True))
        raise InputError(
            f"rows {file_row_N[pair[1]]} and {file_row_N[pair[0]]} have the same time stamp in series "
            f"{groups[group_N[pair[0]]]!r}: remove one, or choose --duplicates mean, first or last."
        )
    if len(again):
        done = {"mean": "averaged", "first": "took the first of", "last": "took the last of"}[duplicates]
        count = "1 row repeats" if len(again) == 1 else f"{len(again)} rows repeat"
        notices.append(f"{count} a time stamp: {done} their cells (--duplicates {duplicates})")
    return notices


def _fold(
    groups: list[str], group_N: np.ndarray, times_N: np.ndarray, measured: Measurements, duplicates: str
) -> list[Series]:
    """Bring the cells of all rows onto one row a group and stamp, R in all, and cut these into series."""
    order = np.lexsort((times_N, group_N))
    group, times = group_N[order], times_N[order]
    new = np.concatenate([[True], (np.diff(group) != 0) | (np.diff(times) != 0)])
    place_N = np.empty(len(order), dtype=np.int64)
    place_N[order] = np.cumsum(new) - 1
    group_R, times_R = group[new], times[new]
    shape = (len(times_R), len(measured.channels))
    slot_K = place_N[measured.row] * shape[1] + measured.channel
    values_RC = np.full(shape, np.nan, dtype=np.float32)
    if duplicates in ("mean", "error"):
        count = np.bincount(slot_K, minlength=values_RC.size)
        total = np.bincount(slot_K, weights=measured.values, minlength=values_RC.size)
        np.divide(total, count, out=values_RC.reshape(-1), where=count > 0, casting="same_kind")
    else:
        by_row = np.argsort(measured.row, kind="stable")
        by_row = by_row[::-1] if duplicates == "first" else by_row
        # numpy lets the last of several assignments to one place stand
        values_RC.reshape(-1)[slot_K[by_row]] = measured.values[by_row]
    cuts = np.flatnonzero(np.diff(group_R)) + 1
    pieces = zip(groups, np.split(times_R, cuts), np.split(values_RC, cuts), strict=True)
    return [Series(name, times_L, values=values_LC) for name, times_L, values_LC in pieces]
