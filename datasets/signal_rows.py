"""A signal of steady rate in rows of text: a column of time, one for each lead in mV, and perhaps one that marks beats.

Dimension letters: L samples of a piece, C leads, N beats.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError, listed
from integrand.datasets.recording import Events, Recording

TIME, SAMPLE, BEAT = "time", "sample", "beat"
"""Names of columns: seconds; number of the sample; 1 or a code of WFDB where a beat lies, empty or 0 elsewhere."""
SEPARATORS = (b",", b";", b"\t")
PIECE = 0.2
"""Seconds of rows that are handed on together."""
RATE_ROWS = 1000
"""Rows that the rate is taken of, where it is not told."""
NEARLY = 1e-3
"""A rate that is a whole number but for so much is that number: stamps are rounded."""


class Piece(NamedTuple):
    """Rows that came.

    Attributes:
        signal: (L, C) float32, NaN where a cell is empty.
        beats: (N,) int64, numbers of the samples, from the first row on, that are marked as beats.
    """

    signal: np.ndarray
    beats: np.ndarray


class SignalRows:
    """Reads a header and rows as they come, and hands them on in pieces of ``PIECE`` seconds.

    Args:
        lines: the header, then the rows, UTF-8, with commas, semicolons or tabs between cells.
        rate: Hz; where None it is told by the first ``RATE_ROWS`` stamps, and these are waited for.
        source: what the lines are called in messages.

    Attributes:
        leads: names of the leads.
        marked: whether there is a column that marks beats.
        rate: Hz, once the first piece is there.
        start: seconds of the first row.

    Raises:
        InputError: a header without time or leads; a row that is no number, or not a step after the one before.

    Example:
        >>> rows = SignalRows([b"sample,II\\n", b"0,0.5\\n", b"1,\\n"], rate=100)
        >>> [piece.signal.tolist() for piece in rows], rows.leads
        ([[[0.5], [nan]]], ['II'])
    """

    def __init__(self, lines: Iterable[bytes], *, rate: float | None = None, source: str = "standard input") -> None:
        if rate is not None and not rate > 0:
            raise InputError(f"rate={rate:g} is out of range: it must be above 0 Hz.")
        self.source, self.rate = source, rate
        self._lines = iter(lines)
        self._row = self._count = 0
        self.start = 0.0
        self._read_header()

    def __iter__(self) -> Iterator[Piece]:
        """Wait for rows, and hand them on."""
        first: list[list[bytes]] = []
        if self.rate is None:
            first = list(islice(self._rows(), RATE_ROWS))
            self.rate = self._rate_of(first)
        size = max(1, round(PIECE * self.rate))
        for begin in range(0, len(first), size):
            yield self._piece(first[begin : begin + size])
        while rows := list(islice(self._rows(), size)):
            yield self._piece(rows)
        if not self._count:
            raise InputError(f"{self.source} has no rows after its header: give a row for each sample.")

    def _read_header(self) -> None:
        header = next((line for line in self._lines if self._counted(line)), None)
        if header is None:
            raise InputError(f"{self.source} is empty: give a header, and a row for each sample.")
        self._separator = max(SEPARATORS, key=header.count)
        try:
            names = [cell.decode("utf-8-sig").strip().strip('"') for cell in header.split(self._separator)]
        except UnicodeDecodeError:
            raise InputError(f"{self.source} is not UTF-8: write it as UTF-8.") from None
        lower = [name.lower() for name in names]
        stamps = [place for place, name in enumerate(lower) if name in (TIME, SAMPLE)]
        if len(stamps) != 1:
            raise InputError(
                f"{self.source} has the columns {listed(names)}: one must be {TIME!r}, in seconds, or {SAMPLE!r}."
            )
        self._names, self._stamp = names, stamps[0]
        self._in_samples = lower[self._stamp] == SAMPLE
        if self._in_samples and self.rate is None:
            raise InputError(f"{self.source} counts samples: tell how many a second has, with --rate.")
        self._mark = lower.index(BEAT) if BEAT in lower else None
        self.marked = self._mark is not None
        self._places = [place for place in range(len(names)) if place not in (self._stamp, self._mark)]
        self.leads = [names[place] for place in self._places]
        if not self.leads:
            raise InputError(f"{self.source} has the columns {listed(names)}: it needs one for each lead, in mV.")
        if len(set(self.leads)) < len(self.leads):
            raise InputError(f"{self.source} has the columns {listed(names)}: give each lead a name of its own.")

    def _counted(self, line: bytes) -> bool:
        """Count a line, and return whether anything stands in it."""
        self._row += 1
        return bool(line.strip())

    def _rows(self) -> Iterator[list[bytes]]:
        width = len(self._names)
        for line in self._lines:
            if not self._counted(line):
                continue
            cells = line.rstrip(b"\r\n").split(self._separator)
            if len(cells) != width:
                raise InputError(
                    f"{self.source} row {self._row} has {len(cells)} cells, the header {width}: write whole rows."
                )
            yield cells

    def _rate_of(self, rows: list[list[bytes]]) -> float:
        """Return the rate that stamps tell."""
        if len(rows) < 2:
            raise InputError(f"{self.source} has {len(rows)} rows, which tell no rate: give more, or --rate.")
        times = [self._number(row[self._stamp], self._stamp) for row in (rows[0], rows[-1])]
        if not times[1] > times[0]:
            raise InputError(f"{self.source}: times do not increase, from {times[0]:g} to {times[1]:g}: sort the rows.")
        found = (len(rows) - 1) / (times[1] - times[0])
        whole = round(found)
        return float(whole) if whole and abs(found / whole - 1) < NEARLY else found

    def _piece(self, rows: list[list[bytes]]) -> Piece:
        assert self.rate is not None
        stamps, signal = self._values(rows)
        if not self._count:
            self.start = float(stamps[0]) / (self.rate if self._in_samples else 1.0)
            if self.start < 0:
                raise InputError(f"{self.source} begins at {stamps[0]:g}: times must not be negative.")
        places = self._count + np.arange(len(rows))
        off = stamps / (1.0 if self._in_samples else 1 / self.rate) - self.start * self.rate - places
        if (wrong := ~(np.abs(off) < 0.5)).any():
            row = int(wrong.argmax())
            raise InputError(
                f"{self.source}: row {places[row] + 1} of the signal has the {self._names[self._stamp]} "
                f"{stamps[row]:g}, no step of {1 / self.rate:.6g} s after the one before: give a row for each sample, "
                "with empty cells where one is missing, or tell the rate with --rate."
            )
        self._count += len(rows)
        marks = [] if self._mark is None else [i for i, row in enumerate(rows) if _marks(row[self._mark])]
        return Piece(signal, places[np.array(marks, dtype=np.int64)])

    def _values(self, rows: list[list[bytes]]) -> tuple[np.ndarray, np.ndarray]:
        """Return the stamps (L,) and the signal (L, C) of rows."""
        places = [self._stamp, *self._places]
        try:
            values = np.array([[row[place] for place in places] for row in rows]).astype(np.float64)
        except ValueError:  # an empty cell, or one that is no number: each by itself
            values = np.full((1, 1), np.nan)
        if not np.isfinite(values).all():
            values = np.array([[self._value(row[place], place) for place in places] for row in rows])
            for row in rows:
                self._number(row[self._stamp], self._stamp)
        return values[:, 0], values[:, 1:].astype(np.float32)

    def _number(self, cell: bytes, column: int) -> float:
        value = self._value(cell, column)
        if not np.isfinite(value):
            raise self._no_number(cell, column)
        return value

    def _value(self, cell: bytes, column: int) -> float:
        try:
            value = float(cell)
        except ValueError:
            if cell.strip():
                raise self._no_number(cell, column) from None
            return float("nan")
        if value in (float("inf"), float("-inf")):
            raise self._no_number(cell, column)
        return value

    def _no_number(self, cell: bytes, column: int) -> InputError:
        said = cell.decode("utf-8", "replace").strip()
        return InputError(
            f"{self.source}, up to row {self._row}: column {self._names[column]!r} has {said!r}, which is no number: "
            "write one, or nothing where a value is missing."
        )


def read_signal_csv(path: Path, *, rate: float | None = None) -> Recording:
    """Read a recording from a table of text, see ``SignalRows``; beats that are marked have the symbol ``N``.

    Args:
        path: the file.
        rate: Hz; told by its stamps where None.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"there is no file {str(path)!r}: check the path.")
    with path.open("rb") as lines:
        rows = SignalRows(lines, rate=rate, source=path.name)
        pieces = list(rows)
    assert rows.rate is not None
    beats = np.concatenate([piece.beats for piece in pieces])
    return Recording(
        id=path.stem,
        patient=path.stem,
        signal=np.concatenate([piece.signal for piece in pieces]),
        rate=rows.rate,
        leads=rows.leads,
        units=["mV"] * len(rows.leads),
        events=Events.of(beats, ["N"] * len(beats)),
    )


def _marks(cell: bytes) -> bool:
    return cell.strip() not in (b"", b"0", b"0.0")
