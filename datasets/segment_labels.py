"""What holds in a segment of a recording: its rhythm, what is found in it, or what a table of the user says.

``rhythm`` and ``findings`` are of the kind ``Labelling``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError, listed
from integrand.datasets.heart_beats import CLASS_OF as CODE_CLASS
from integrand.datasets.heart_beats import CLASSES
from integrand.datasets.recording import Recording
from integrand.datasets.rhythms import spans_of
from integrand.datasets.segments import Labelling, Said, marked_beats

TABLE = "labels.csv"
"""The file of a folder that says what holds in its recordings."""
FINDINGS = ("atrial fibrillation", "supraventricular beats", "ventricular beats", "tachycardia", "bradycardia")
"""What is found in a segment whose rhythm and beats are all marked."""
FAST, SLOW = 100.0, 60.0
"""Beats a minute above and below which a heart beats too fast and too slowly."""


def rhythm(recording: Recording) -> Said:
    """Label segments by the one rhythm that holds throughout; those in which it changes or is not marked are left out.

    Example:
        >>> from integrand.datasets.synthetic.ecg.patients import EcgSimulator
        >>> rhythm(EcgSimulator(seconds=10).recording(0))(0.0, 10.0)
        ('sinus',)
    """
    spans = spans_of(recording.events, len(recording.signal), where=f"recording {recording.id}")

    def said(start: float, end: float) -> Sequence[str] | None:
        found = spans.at(round(start * recording.rate), round(end * recording.rate))
        return None if found is None else (found,)

    return said


def findings(recording: Recording) -> Said:
    """Label segments by which of ``FINDINGS`` hold; those in which the rhythm changes are left out.

    Fibrillation is the rhythm's; beats are found where one at least is marked within; fast and slow is the heart by
    the mean interval between the beats within, whatever its rhythm.
    """
    held, beats, events = rhythm(recording), marked_beats(recording), recording.events

    def said(start: float, end: float) -> Sequence[str] | None:
        rhythms = held(start, end)
        if rhythms is None:
            return None
        inside = (events.samples >= start * recording.rate) & (events.samples < end * recording.rate)
        symbols = {CLASSES[CODE_CLASS[symbol]] for symbol in events.symbols[inside] if symbol in CODE_CLASS}
        intervals = np.diff(beats[(beats >= start) & (beats < end)])
        pace = 60 / intervals.mean() if len(intervals) else float("nan")
        told = ("atrial fibrillation" in rhythms, "S" in symbols, "V" in symbols, pace > FAST, pace < SLOW)
        return tuple(name for name, holds in zip(FINDINGS, told, strict=True) if holds)

    return said


class Row(NamedTuple):
    """A line of the user's table: what holds in a record from one second to another."""

    start: float
    end: float
    labels: tuple[str, ...]


class LabelTable(NamedTuple):
    """What the user says of the recordings of a folder.

    Attributes:
        rows: of each record.
        patients: whose each record is.
        classes: names of all labels, in alphabetical order.
    """

    rows: dict[str, list[Row]]
    patients: dict[str, str]
    classes: list[str]

    def labelling(self) -> Labelling:
        """Return the labels of a segment that lies within one line of the table, None where it does not."""

        def labels(recording: Recording) -> Said:
            rows = self.rows.get(recording.id, ())

            def said(start: float, end: float) -> Sequence[str] | None:
                return next((row.labels for row in rows if row.start <= start and end <= row.end), None)

            return said

        return labels


def read_label_table(path: Path) -> LabelTable:
    """Read a table of labels: columns ``record`` and ``labels``, and where wanted ``start``, ``end`` and ``patient``.

    Several labels of one line have semicolons between them, none is an empty cell. Without ``start`` and ``end``,
    in seconds, a line holds for the whole record; without ``patient`` each record is a patient's own.

    Raises:
        InputError: a missing column, a record of two patients, a time that is no number or goes back.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"there is no {path.name} in {str(path.parent)!r}: write one with the columns record, labels.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    absent = [name for name in ("record", "labels") if name not in table]
    if absent:
        raise InputError(f"{path.name} has no column {absent[0]!r}, it has {listed(table)}: name one so.")
    times = {}
    for name, default in (("start", 0.0), ("end", np.inf)):
        said = table[name] if name in table else pd.Series([""] * len(table))
        times[name] = pd.to_numeric(said.replace("", str(default)), errors="coerce")
        if times[name].isna().any():
            line = int(np.flatnonzero(times[name].isna())[0])
            raise InputError(f"{path.name}, line {line + 2}: {name}={said[line]!r} is no number of seconds.")
    back = np.flatnonzero((times["start"] < 0) | (times["start"] >= times["end"]))
    if len(back):
        raise InputError(f"{path.name}, line {int(back[0]) + 2}: start must be at least 0 s and below end.")
    rows: dict[str, list[Row]] = {}
    patients: dict[str, str] = {}
    owners = table["patient"] if "patient" in table else table["record"]
    for record, start, end, labels, owner in zip(
        table["record"], times["start"], times["end"], table["labels"], owners, strict=True
    ):
        told = tuple(dict.fromkeys(word.strip() for word in labels.split(";") if word.strip()))
        rows.setdefault(record, []).append(Row(float(start), float(end), told))
        if patients.setdefault(record, owner) != owner:
            raise InputError(f"{path.name} gives record {record} to two patients: give it to one.")
    classes = sorted({name for each in rows.values() for row in each for name in row.labels})
    return LabelTable(rows, patients, classes)
