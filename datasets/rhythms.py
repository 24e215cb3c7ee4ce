"""Rhythms of the heart by the notes of WFDB's annotations, and the stretches of a recording in which each holds.

Source: Moody and Mark, MIT-BIH Arrhythmia Database Directory, Table of rhythm annotations,
https://physionet.org/physiobank/database/html/mitdbdir/tables.htm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.recording import Events

NOTES = {
    "(N": "normal sinus rhythm",
    "(SBR": "sinus bradycardia",
    "(AFIB": "atrial fibrillation",
    "(AFL": "atrial flutter",
    "(AB": "atrial bigeminy",
    "(SVTA": "supraventricular tachyarrhythmia",
    "(NOD": "nodal (junctional) rhythm",
    "(B": "ventricular bigeminy",
    "(T": "ventricular trigeminy",
    "(IVR": "idioventricular rhythm",
    "(VT": "ventricular tachycardia",
    "(VFL": "ventricular flutter",
    "(BII": "heart block of the second degree",
    "(PREX": "pre-excitation",
    "(P": "paced rhythm",
}
"""What each note says."""
RHYTHMS = {
    "sinus": ("(N", "(SBR"),
    "atrial fibrillation": ("(AFIB", "(AFL"),
    "ventricular bigeminy": ("(B", "(T"),
    "ventricular tachycardia": ("(VT", "(VFL", "(IVR"),
    "supraventricular tachycardia": ("(SVTA",),
    "junctional": ("(NOD",),
    "atrial bigeminy": ("(AB",),
    "heart block": ("(BII",),
    "pre-excitation": ("(PREX",),
    "paced": ("(P",),
}
"""Classes of rhythms and the notes that belong to each: flutter goes with fibrillation, trigeminy with bigeminy. The
first note is what a class is written as."""
CLASS_OF = {note: name for name, notes in RHYTHMS.items() for note in notes}
CHANGE = "+"
"""Code of WFDB for a change of rhythm."""


class Spans(NamedTuple):
    """Stretches of a recording, one after the other.

    Attributes:
        starts: (N,) int64, the first sample of each.
        ends: (N,) int64, the sample after its last.
        names: a class of ``RHYTHMS`` for each.
    """

    starts: np.ndarray
    ends: np.ndarray
    names: list[str]

    def at(self, start: float, end: float) -> str | None:
        """Return the rhythm that holds throughout from one sample to another, None where it changes or is not known.

        Example:
            >>> found = spans_of(Events.of([0, 50], ["+", "+"], ["(N", "(AFIB"]), 100, where="a")
            >>> found.at(0, 50), found.at(40, 60), found.at(60, 100)
            ('sinus', None, 'atrial fibrillation')
        """
        met = {name for first, last, name in zip(*self, strict=True) if first < end and last > start}
        whole = len(self.starts) and start >= self.starts[0] and end <= self.ends[-1]
        return met.pop() if whole and len(met) == 1 else None


def spans_of(events: Events, length: int, *, where: str) -> Spans:
    """Return the stretches of one rhythm, from each change to the next; before the first nothing is known.

    Args:
        events: of a recording, in the codes of WFDB.
        length: samples of the recording.
        where: what to call the recording in a message.

    Raises:
        InputError: a note of a rhythm that WFDB does not have.
    """
    chosen = [
        place
        for place, (symbol, note) in enumerate(zip(events.symbols, events.notes, strict=True))
        if symbol == CHANGE and str(note).startswith("(")  # other notes tell of the signal, such as "MISSB"
    ]
    notes = [str(events.notes[place]).strip() for place in chosen]
    strange = [note for note in notes if note not in CLASS_OF]
    if strange:
        raise InputError(
            f"{where}: {strange[0]!r} is no rhythm of WFDB: write one of {' '.join(CLASS_OF)} in the annotation."
        )
    starts = events.samples[chosen].astype(np.int64)
    return Spans(starts, np.append(starts[1:], length)[: len(starts)], [CLASS_OF[note] for note in notes])


def require_rhythms(names: Sequence[str]) -> None:
    """Demand that names are classes of ``RHYTHMS``, each once.

    Raises:
        InputError: one is not, or stands twice.
    """
    for name in names:
        if name not in RHYTHMS:
            raise unknown("rhythm", name, RHYTHMS)
    if len(set(names)) < len(names):
        raise InputError(f"the rhythms {', '.join(names)} name one twice: leave it out.")
