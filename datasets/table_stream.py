"""A table that comes row by row: after each row, what there is of its series.

A row is read by the functions that read files, so that both agree on every cell. What columns are for is told from the
header and the first row, where a file can be looked at whole.

Letters: L stamps of a series, C channels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.static_columns import (
    StaticFeatures,
    columns_of,
    columns_of_words,
    read_static,
    take_static,
)
from integrand.datasets.table_columns import Roles, find_roles, read_header, split_rows, texts_of
from integrand.datasets.table_stamps import MICROSECONDS, Stamps, read_stamps, require_one_unit
from integrand.datasets.tables import Measurements, Series, Table, check_options, read_groups, read_measurements

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Arrival:
    """What there is of a series after a row of it has come.

    Attributes:
        row: number of the row, the header being row 1.
        table: the series so far, or as much of its end as was asked for; of its static features what was told so far.
        span: time from the first row of the series with an observed value to its last.
        unseen: channels that must be observed, and of which no series has had a value yet.
    """

    row: int
    table: Table
    span: float
    unseen: list[str]


@dataclass
class _Track:
    """One series: its stamps, ticks since 1970 or plain numbers, and its rows, the last of which may still grow.

    ``sums`` and ``counts (C,)`` are of the cells of the last stamp, ``variables`` what rows have been there; ``recent``
    are the plain numbers of the last rows, by row; ``static`` the cells that say something of static features.
    """

    stamps: list[int | float] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    first: int | float | None = None
    last: int | float | None = None
    variables: set[str] = field(default_factory=set)
    sums: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    recent: dict[int, float] = field(default_factory=dict)
    static: dict[str, pd.Series] = field(default_factory=dict)


class TableStream:
    """Reads rows as they come and tells of the series of each, with the numbers ``read_table`` has for the rows so far.

    Rows of several series may interleave; within a series, stamps must not go backwards. Rows that are blank or wholly
    empty are passed over.

    Args:
        lines: the header, then the rows, UTF-8.
        channels: the channels wanted, in order.
        optional: those of them that may be missing.
        span: how far before the last row with an observed value a series is kept, in time units; all where None.
        time_column, group_column, variable_column, value_column, time_unit, duplicates: see ``read_table``.
        static: features of the series, those of a trained model, see ``read_static``.
        source: what the lines are called in messages.

    Attributes:
        roles: what the columns are for, once the first row was read.
        notices: what the user should know of how rows were read, a line each; ``take_notices`` empties it.

    Raises:
        InputError: at a row that cannot be read, naming it.

    Example:
        >>> lines = [b"time,x\\n", b"0,1.5\\n", b"1,\\n", b"2,3\\n"]
        >>> for came in TableStream(lines, channels=["x"]):
        ...     print(came.row, came.table.series[0].times, came.table.series[0].values.ravel())
        2 [0.] [1.5]
        3 [0. 1.] [1.5 nan]
        4 [0. 1. 2.] [1.5 nan 3. ]
    """

    def __init__(
        self,
        lines: Iterable[bytes],
        *,
        channels: Sequence[str],
        optional: Sequence[str] = (),
        span: float | None = None,
        time_column: str | None = None,
        group_column: str | None = None,
        variable_column: str | None = None,
        value_column: str | None = None,
        time_unit: str = "h",
        duplicates: str = "mean",
        static: Sequence[str] = (),
        source: str = "standard input",
    ) -> None:
        check_options(channels, time_unit, duplicates)
        self.channels, self.optional, self.span = list(channels), list(optional), span
        self.columns = {
            "time_column": time_column,
            "group_column": group_column,
            "variable_column": variable_column,
            "value_column": value_column,
        }
        self.time_unit, self.duplicates = time_unit, duplicates
        self.static, self.source = list(static), source
        self.notices: list[str] = []
        self._lines = lines
        self._tracks: dict[str, _Track] = {}
        self._like: Stamps | None = None
        self._epoch: pd.Timestamp | None = None
        self._zones: set[str] = set()
        self._told: set[str] = set()
        self._observed = np.zeros(len(self.channels), dtype=bool)

    roles: Roles

    def __iter__(self) -> Iterator[Arrival]:
        """Wait for each row, and tell of its series."""
        header = ""
        for row, line in enumerate(self._lines, 1):
            text = self._decoded(line, row)
            if not text.strip():
                continue
            if not header:
                header = text
            elif (cells := self._cells(header, text, row)) is not None:
                yield self._add(cells, row)
        if not header:
            raise InputError(f"{self.source} is empty: give a header row, and rows as they come.")

    def take_notices(self) -> list[str]:
        """Return what there is to tell, and forget it."""
        told, self.notices = self.notices, []
        return told

    def _decoded(self, line: bytes, row: int) -> str:
        try:
            return line.decode("utf-8-sig" if row == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise InputError(f"{self.source} is not UTF-8 (row {row}): send it as UTF-8.") from None

    def _cells(self, header: str, text: str, row: int) -> dict[str, pd.Series] | None:
        """Return the cells of a row, None where all are empty; the first says what the columns are for."""
        first = not hasattr(self, "roles")
        if first:
            self._separator, self._names = read_header(f"{header}\n{text}\n", self.source)
        given = len(next(csv.reader([text], delimiter=self._separator, skipinitialspace=True)))
        if given != len(self._names):
            raise InputError(
                f"{self.source} row {row} has {given} cells, the header has {len(self._names)}: send whole rows, and "
                "quote cells that hold the separator."
            )
        options = (self.columns["group_column"], self.columns["variable_column"])
        texts = {name for name in options if name is not None} | columns_of_words(self.static)
        frame = split_rows(text, self._names, self._separator, source=self.source, first=row, as_text=texts)
        if frame.empty:
            return None
        cells = {str(name): column for name, column in frame.items()}
        if first:
            self._find_roles(dict(cells))
        return cells

    def _find_roles(self, cells: dict[str, pd.Series]) -> None:
        self._static_columns = columns_of(self.static, cells)
        take_static(cells, self._static_columns, self.columns.values())
        roles = find_roles(cells, **self.columns)
        if roles.variable is None:  # long form names its channels later
            read_measurements(cells, roles, self.channels, self.optional)
        self.roles = roles
        self._tell(*roles.notices)

    def _add(self, cells: dict[str, pd.Series], row: int) -> Arrival:
        """Take up the cells of a row."""
        roles = self.roles
        static = take_static(cells, self._static_columns)
        stamps = self._stamps(cells[roles.time], row)
        group = read_groups(cells, roles)[0][0]
        measured = read_measurements(cells, roles, self.channels, self.channels)
        variable = "" if roles.variable is None else str(cells[roles.variable].iloc[0]).strip()
        stamp = self._ticks(stamps)
        track = self._tracks.get(group, _Track())
        again = bool(track.stamps) and stamp == track.stamps[-1]
        if track.stamps and stamp < track.stamps[-1]:
            raise InputError(
                f"row {row} has {_cell(cells[roles.time])!r} in time column {roles.time!r}, before the row above "
                f"of series {group!r}: send each series in the order of time."
            )
        if again and variable in track.variables:
            if self.duplicates == "error":
                raise InputError(
                    f"row {row} repeats the time stamp of a row before it in series {group!r}: leave it out, or choose "
                    "--duplicates mean, first or last."
                )
            done = {"mean": "averaged", "first": "took the first of", "last": "took the last of"}[self.duplicates]
            self._tell(f"a row repeats a time stamp: {done} their cells (--duplicates {self.duplicates})")
        if stamps.epoch is None:
            self._require_one_unit(track, row, stamp)
        features = self._features(group, track, static)
        self._tell(*measured.notices, *stamps.notices)
        self._tracks[group] = track
        if not again:
            self._begin(track, stamp)
        track.variables.add(variable)
        self._fill(track, measured)
        unseen = [
            name
            for name, seen in zip(self.channels, self._observed, strict=True)
            if not seen and name not in self.optional
        ]
        return Arrival(row, self._table(group, track, features), self._span(track), unseen)

    def _stamps(self, column: pd.Series, row: int) -> Stamps:
        """Read the stamp of a row, which is of the kind of those before it."""
        stamps = read_stamps(column, self.time_unit, np.zeros(1, dtype=np.int64), self._like)
        if self._like is None:
            self._like = stamps
        if (stamps.timezone is None) != (self._like.timezone is None):
            has, had = ("without", "have one") if stamps.timezone is None else ("with", "have none")
            raise InputError(
                f"row {row} has {_cell(column)!r} in time column {column.name!r}, {has} an offset from UTC, and rows "
                f"before it {had}: write all with or all without."
            )
        if stamps.epoch is not None:
            self._epoch = stamps.epoch if self._epoch is None else min(self._epoch, stamps.epoch)
        if stamps.timezone is not None:
            self._zones.add(stamps.timezone)
            if len(self._zones) > 1:
                self._tell(
                    f"stamps in column {column.name!r} have more than one offset from UTC: all are turned to UTC"
                )
        return stamps

    def _ticks(self, stamps: Stamps) -> int | float:
        """Return the one stamp of a row in ticks since 1970, or its plain number."""
        if stamps.epoch is None:
            return float(stamps.times[0])
        return self._ticks_of(stamps.epoch) + round(float(stamps.times[0]) * self._a_unit)

    def _require_one_unit(self, track: _Track, row: int, stamp: int | float) -> None:
        """Refuse a change of unit, which the last four rows of a series tell."""
        import pandas as pd

        track.recent[row] = float(stamp)
        if len(track.recent) > 4:
            del track.recent[next(iter(track.recent))]
        numbers = pd.Series(track.recent, name=self.roles.time)
        require_one_unit(numbers, np.zeros(len(numbers), dtype=np.int64))

    def _features(self, group: str, track: _Track, static: dict[str, pd.Series]) -> StaticFeatures | None:
        """Return what the rows of a series have said of its static features."""
        import pandas as pd

        if not static:
            return None
        if track.static:
            static = {name: pd.concat([track.static[name], column]) for name, column in static.items()}
        rows = len(static[self._static_columns[0]])
        features = read_static(static, [group], np.zeros(rows, dtype=np.int64), self.static)
        for name, column in static.items():
            said = column.loc[texts_of(column).notna()]
            track.static[name] = (said if len(said) else column).head(1)
        return features

    def _begin(self, track: _Track, stamp: int | float) -> None:
        """Give a series the row of a new stamp, and forget what is not to be kept."""
        if self.span is not None and track.values and np.isnan(track.values[-1]).all():
            track.stamps.pop()
            track.values.pop()
        track.stamps.append(stamp)
        track.values.append(np.full(len(self.channels), np.nan, dtype=np.float32))
        track.variables = set()
        track.sums, track.counts = np.zeros(len(self.channels)), np.zeros(len(self.channels), dtype=np.int64)

    def _fill(self, track: _Track, measured: Measurements) -> None:
        """Put the observed cells of a row into the last stamp of its series."""
        values = track.values[-1]
        for channel, value in zip(measured.channel, measured.values, strict=True):
            track.sums[channel] += value
            track.counts[channel] += 1
            if self.duplicates in ("mean", "error"):
                values[channel] = track.sums[channel] / track.counts[channel]
            elif self.duplicates == "last" or track.counts[channel] == 1:
                values[channel] = value
        self._observed[measured.channel] = True
        if len(measured.channel):
            track.first = track.stamps[-1] if track.first is None else track.first
            track.last = track.stamps[-1]
        if self.span is not None and track.last is not None:
            # A little more than asked for, so that rounding takes nothing away.
            oldest = track.last - self.span * (1 + 1e-9) * self._a_unit
            while track.stamps[0] < oldest:
                del track.stamps[0], track.values[0]

    def _table(self, group: str, track: _Track, features: StaticFeatures | None) -> Table:
        roles, like = self.roles, self._like
        assert like is not None
        if self._epoch is None:
            times = np.array(track.stamps, dtype=np.float64)
        else:
            times = (np.array(track.stamps, dtype=np.int64) - self._ticks_of(self._epoch)) / self._a_unit
        return Table(
            [Series(group, times, values=np.stack(track.values))],
            self.channels,
            time_unit=like.time_unit,
            epoch=self._epoch,
            timezone=like.timezone if len(self._zones) < 2 else "UTC",
            time_column=roles.time,
            layout="wide" if roles.variable is None else "long",
            group_column=roles.group,
            variable_column=roles.variable,
            notices=[],
            static=None if features is None else features.values,
            static_names=() if features is None else tuple(features.names),
        )

    @property
    def _a_microsecond(self) -> int:
        """A microsecond in ticks: nanoseconds where stamps count since 1970, as exact as these are read in files."""
        return 1 if self._like is None or self._like.counted is None else 1000

    @property
    def _a_unit(self) -> int:
        """One time unit in the unit of the stamps that tracks hold."""
        return 1 if self._epoch is None else MICROSECONDS[self.time_unit] * self._a_microsecond

    def _ticks_of(self, instant: pd.Timestamp) -> int:
        since_1970 = instant.tz_localize(None).to_datetime64().astype("datetime64[us]").astype(np.int64)
        return int(since_1970) * self._a_microsecond

    def _span(self, track: _Track) -> float:
        return 0.0 if track.first is None or track.last is None else (track.last - track.first) / self._a_unit

    def _tell(self, *lines: str) -> None:
        """Note what the user should know, each line once."""
        self.notices += [line for line in dict.fromkeys(lines) if line not in self._told]
        self._told.update(lines)


def _cell(column: pd.Series) -> str:
    return str(column.iloc[0]).strip()
