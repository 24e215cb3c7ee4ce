"""Segments of recordings: pieces of one length with what is known to hold in each of them.

Dimension letters: N segments, L samples, C leads, K labels.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from integrand.core.errors import InputError, listed
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.recording import Recording, with_leads
from integrand.datasets.signal_quality import signal_quality

"""Stands for whichever lead is left, in the order of the recording."""
Said = Callable[[float, float], Sequence[str] | None]
"""The labels from one second of a recording to another; None where the piece is left out."""
Labelling = Callable[[Recording], Said]
"""What tells the labels of a recording's pieces."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Pieces of equal length.

    Attributes:
        signal: (N, L, C) float32 mV, 0 where missing; each lead about its own median.
        labels: (N, K) bool, which hold.
        classes: (K) names of the labels.
        leads: (C) names.
        rate: Hz.
        records, patients: (N) of the recording that each is of.
        starts: (N,) seconds from the recording's start.
        ages: (N,) years, NaN where not known.
        sexes: (N) ``"F"``, ``"M"`` or ``""``.
        beats: (N) times of the beats that are marked within, (B,) seconds from the segment's start.
        folds: (N,) int64, the publisher's; empty where there are none.
        unlabelled, unusable: how many pieces were left out since no class or more than one holds, and for the quality
            of the signal.
        notices: what the user should know of the recordings, one line each.
    """

    signal: np.ndarray
    labels: np.ndarray
    classes: list[str]
    leads: list[str]
    rate: float
    records: list[str]
    patients: list[str]
    starts: np.ndarray
    ages: np.ndarray
    sexes: list[str]
    beats: list[np.ndarray]
    folds: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unlabelled: int = 0
    unusable: int = 0
    notices: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def seconds(self) -> float:
        """How long each is."""
        return self.signal.shape[1] / self.rate

    @property
    def told(self) -> list[str]:
        """What the user should know: the notices, and how many pieces were left out."""
        total = len(self) + self.unlabelled + self.unusable
        lines = list(dict.fromkeys(self.notices))
        for count, why in (
            (self.unlabelled, "no class of data.classes holds throughout"),
            (self.unusable, "a lead cannot be used"),
        ):
            if count:
                lines.append(f"{count:,} of {total:,} segments are left out, in which {why}")
        return lines

    @property
    def checksum(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the signals, the labels and whose they are."""
        found = hashlib.sha256("\n".join([*self.classes, *self.leads, *self.records, *self.patients]).encode())
        for array in (self.signal, self.labels):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]

    @property
    def marked(self) -> bool:
        """Whether every segment has the two beats that an interval needs."""
        return all(len(each) >= 2 for each in self.beats)

    def at(self, rows: Sequence[int] | np.ndarray) -> "Segments":
        """Return those of some rows."""
        places = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            signal=self.signal[places],
            labels=self.labels[places],
            records=[self.records[row] for row in places],
            patients=[self.patients[row] for row in places],
            starts=self.starts[places],
            ages=self.ages[places],
            sexes=[self.sexes[row] for row in places],
            beats=[self.beats[row] for row in places],
            folds=self.folds[places] if len(self.folds) else self.folds,
        )


def segments_of(
    recording: Recording,
    classes: Sequence[str],
    labelling: Labelling,
    *,
    seconds: float,
    rate: float,
    quality: float = 0.9,
) -> Segments:
    """Cut a recording in millivolts into pieces one after the other, and label each.

    What is left at the end is no segment. A piece is left out where the labelling says so, where a label is none of
    the classes, and where a lead cannot be used (``signal_quality``) for more than 1 - ``quality`` of its time; each
    kind is counted. Nothing outside a piece has a say in its values, but for what the resampling filter
    reaches: the signal is resampled, and the median of each lead taken off piece by piece.

    Args:
        recording: with its beats and rhythms among its events, where they are known.
        classes: names of the labels, in their order.
        labelling: see ``Labelling``.
        seconds: of a segment.
        rate: Hz of the segments.
        quality: least share of usable samples of every lead; 0 leaves none out, and looks at none.

    Raises:
        InputError: the recording is shorter than one segment, or a lead is not in mV.
    """
    if not seconds > 0 or not 0 <= quality <= 1:
        raise InputError(f"seconds={seconds:g} must be above 0 and quality={quality:g} from 0 to 1.")
    count = int(recording.seconds / seconds + 1e-9)
    if not count:
        raise InputError(
            f"recording {recording.id} is {recording.seconds:g} s long, less than a segment of {seconds:g} s: take "
            "shorter ones."
        )
    changed = recording.resampled(rate)
    length = round(seconds * rate)
    usable = signal_quality(recording).usable if quality else np.ones((0, 0))
    labels_of = labelling(recording)
    places, labels, left = [], [], {"labels": 0, "quality": 0}
    for number in range(count):
        start = number * seconds
        said = labels_of(start, start + seconds)
        known = said is not None and all(name in classes for name in said)
        first, last = (round(at * recording.rate) for at in (start, start + seconds))
        bad = bool(quality) and bool((usable[first:last].mean(axis=0) < quality).any())
        if said is None or not known or bad:
            left["quality" if known else "labels"] += 1
            continue
        places.append(round(start * rate))
        labels.append([name in said for name in classes])
    starts = np.array(places, dtype=np.int64)
    whole = np.pad(changed.signal, ((0, length), (0, 0)), mode="edge")
    beats = marked_beats(recording)
    times = starts / rate
    return Segments(
        signal=centred(whole[starts[:, None] + np.arange(length)]),
        labels=np.array(labels, dtype=bool).reshape(len(starts), len(classes)),
        classes=list(classes),
        leads=list(recording.leads),
        rate=float(rate),
        records=[recording.id] * len(starts),
        patients=[recording.patient] * len(starts),
        starts=times,
        ages=np.full(len(starts), np.nan if recording.age is None else recording.age),
        sexes=[recording.sex or ""] * len(starts),
        beats=[beats[(beats >= at) & (beats < at + seconds)] - at for at in times],
        unlabelled=left["labels"],
        unusable=left["quality"],
        notices=list(recording.notices),
    )


def centred(signal: np.ndarray) -> np.ndarray:
    """Return pieces (N, L, C) about the median of each lead, float32; what is missing lies there."""
    missing = ~np.isfinite(signal)
    if missing.any():
        some = np.where(missing.all(axis=1, keepdims=True), 0.0, signal)
        return np.nan_to_num(signal - np.nanmedian(some, axis=1, keepdims=True)).astype(np.float32)
    return (signal - np.median(signal, axis=1, keepdims=True)).astype(np.float32)


def marked_beats(recording: Recording) -> np.ndarray:
    """Return the times of the beats that are marked in a recording, (B,) seconds."""
    # Annotations of EDF are words, which no code of a beat is.
    codes = np.array([len(str(symbol)) == 1 for symbol in recording.events.symbols], dtype=bool)
    found = beats_of(recording.events.at(codes), where=f"recording {recording.id}")
    return found.samples / recording.rate


def joined(parts: Sequence[Segments]) -> Segments:
    """Return the segments of several recordings as one.

    Raises:
        InputError: there are none, or they differ in leads.
    """
    first = parts[0]
    for each in parts:
        if each.leads != first.leads:
            raise InputError(
                f"recordings have the leads {listed(first.leads)} and {listed(each.leads)}: name those to take by "
                "data.leads."
            )
    if not sum(len(each) for each in parts):
        raise InputError("no segment is left: take shorter ones, other classes or a lower data.quality.")
    return replace(
        first,
        signal=np.concatenate([each.signal for each in parts]),
        labels=np.concatenate([each.labels for each in parts]),
        records=[name for each in parts for name in each.records],
        patients=[name for each in parts for name in each.patients],
        starts=np.concatenate([each.starts for each in parts]),
        ages=np.concatenate([each.ages for each in parts]),
        sexes=[sex for each in parts for sex in each.sexes],
        beats=[beats for each in parts for beats in each.beats],
        unlabelled=sum(each.unlabelled for each in parts),
        unusable=sum(each.unusable for each in parts),
        notices=[notice for each in parts for notice in each.notices],
    )


def under_asked_names(recording: Recording, leads: Sequence[str]) -> Recording:
    """Return a recording with the leads asked for, each called as it was asked for; all where none is asked for.

    So several recordings have one name for a lead that was asked for by ``*``.

    Raises:
        InputError: it lacks a lead, or has fewer than are asked for.
    """
    return replace(with_leads(recording, leads), leads=list(leads)) if leads else recording
