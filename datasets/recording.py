"""Recordings of signals of the body: what is measured at a steady rate, and the events marked in it.

Dimension letters: L samples, C leads, N events.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from integrand.core.errors import InputError, listed

MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "μv": 1e-3, "µv": 1e-3, "nv": 1e-6}
"""Millivolts of one of each unit of voltage, in lower case."""
LARGEST_FACTOR = 1000
"""Largest whole numbers that a change of rate is a quotient of: 360 Hz becomes 257 Hz by 257 / 360."""
ANY = "*"
"""Stands for whichever lead is left, in the order of the recording."""
KAISER = 8.0
"""Shape of the filter's window: a ripple of 81 dB (Kaiser's formula, 8.7 + beta / 0.1102), 1e-4 of the signal."""


@dataclass(frozen=True, eq=False)
class Events:
    """Marks along a recording, such as the beats of an ECG.

    Attributes:
        samples: (N,) int64, where they are, increasing or equal.
        symbols: (N,) what they are, in the code of their source.
        notes: (N,) what is said beside them, often nothing.
    """

    samples: np.ndarray
    symbols: np.ndarray
    notes: np.ndarray

    @classmethod
    def of(
        cls, samples: Sequence[int] | np.ndarray, symbols: Sequence[str], notes: Sequence[str] | None = None
    ) -> "Events":
        """Make them from sequences.

        Raises:
            InputError: there are not as many of one as of another, or the places go back.

        Example:
            >>> len(Events.of([10, 300], ["N", "V"]))
            2
        """
        places = np.asarray(samples, dtype=np.int64).reshape(-1)
        told = [""] * len(places) if notes is None else list(notes)
        if not len(places) == len(symbols) == len(told):
            raise InputError(f"events need a symbol each, got {len(places)} places and {len(symbols)} symbols.")
        if (np.diff(places) < 0).any():
            raise InputError(f"events must not go back in time, and number {_first_back(places)} does: sort them.")
        return cls(places, np.asarray(symbols, dtype=object), np.asarray(told, dtype=object))

    def __len__(self) -> int:
        return len(self.samples)

    def at(self, chosen: np.ndarray) -> "Events":
        """Return those chosen, by a mask (N,) or by their numbers."""
        return Events(self.samples[chosen], self.symbols[chosen], self.notes[chosen])


@dataclass(frozen=True, eq=False)
class Recording:
    """A signal of one patient, sampled at a steady rate.

    Attributes:
        id: what the recording is called; never a person's name.
        patient: whose it is; recordings of one patient belong into one part of a split.
        signal: (L, C) float32 in ``units``, NaN where missing.
        rate: samples per second, Hz.
        leads: (C) name of each, as the source has it.
        units: (C) unit of each.
        events: what is marked in it.
        age: years, or None.
        sex: ``"F"``, ``"M"`` or None.
        simulated: whether it was made and not measured.
        notices: what the user should know of how it was read, one line each.

    Raises:
        InputError: the parts do not fit together; the message names the recording and the one at fault.

    Example:
        >>> made = Recording("a", "a", np.zeros((720, 1), "f4"), 360.0, ["MLII"], ["mV"], Events.of([100], ["N"]))
        >>> made.seconds, made.resampled(180).events.samples
        (2.0, array([50]))
    """

    id: str
    patient: str
    signal: np.ndarray
    rate: float
    leads: list[str]
    units: list[str]
    events: Events = field(default_factory=lambda: Events.of([], []))
    age: float | None = None
    sex: str | None = None
    simulated: bool = False
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.signal.ndim != 2 or self.signal.shape[1] != len(self.leads) or len(self.leads) != len(self.units):
            raise InputError(
                f"recording {self.id}: the signal must be (L, {len(self.leads)}) of as many leads and units, got "
                f"{self.signal.shape} and {len(self.units)} units."
            )
        if not len(self.signal):
            raise InputError(f"recording {self.id} is empty: leave it out.")
        if not self.rate > 0:
            raise InputError(f"recording {self.id}: rate={self.rate:g} is out of range: it must be above 0 Hz.")
        outside = (self.events.samples < 0) | (self.events.samples >= len(self.signal))
        if outside.any():
            place = int(self.events.samples[outside][0])
            raise InputError(
                f"recording {self.id}: {int(outside.sum())} of {len(self.events)} events lie outside the signal of "
                f"{len(self.signal)} samples, the first at {place}: the annotations are of another recording or rate."
            )

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.signal) / self.rate

    @property
    def content_hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the signal, by which a recording under two names is found.

        The names, the order of the leads and what is marked do not enter, nor do shifts and scales of a lead, which
        other files of the same signal may have: what is hashed is where each lead lies above its median.
        """
        bits = self.signal > np.nanmedian(self.signal, axis=0, keepdims=True)
        leads = sorted(hashlib.sha256(np.packbits(lead).tobytes()).digest() for lead in bits.T)
        return hashlib.sha256(b"".join(leads)).hexdigest()[:16]

    def select(self, leads: Sequence[str]) -> "Recording":
        """Return it with the leads named, in their order.

        Raises:
            InputError: it has no such lead; the message names those it has.
        """
        absent = [lead for lead in leads if lead not in self.leads]
        if absent:
            raise InputError(
                f"recording {self.id} has no lead {absent[0]!r}, it has {listed(self.leads)}: name others with leads."
            )
        places = [self.leads.index(lead) for lead in leads]
        return replace(
            self, signal=self.signal[:, places], leads=list(leads), units=[self.units[place] for place in places]
        )

    def resampled(self, rate: float) -> "Recording":
        """Return it at another rate, with every event at its own time.

        The signal passes a linear-phase filter without delay (``scipy.signal.resample_poly``). Missing stretches are
        bridged by lines for it, and missing again after it.

        Args:
            rate: Hz.

        Raises:
            InputError: the rate is not positive, or the quotient of the rates is not one of small whole numbers.
        """
        up, down = quotient(self.rate, rate)
        if up == down:
            return self
        signal = _filtered(self.signal, up, down)
        places = np.rint(self.events.samples * (up / down)).astype(np.int64).clip(max=len(signal) - 1)
        return replace(self, signal=signal, rate=float(rate), events=replace(self.events, samples=places))


def quotient(rate: float, to: float) -> tuple[int, int]:
    """Return the whole numbers by which one rate becomes another, the factor and the divisor.

    Raises:
        InputError: the new rate is not positive, or there are none up to ``LARGEST_FACTOR``.

    Example:
        >>> quotient(360, 125)
        (25, 72)
    """
    if not to > 0:
        raise InputError(f"rate={to:g} is out of range: it must be above 0 Hz.")
    ratio = Fraction(to / rate).limit_denominator(LARGEST_FACTOR)
    up, down = ratio.numerator, ratio.denominator
    if not 0 < up <= LARGEST_FACTOR or abs(up / down * rate / to - 1) > 1e-9:
        raise InputError(
            f"rate={to:g} Hz is no quotient of whole numbers up to {LARGEST_FACTOR} of {rate:g} Hz: take "
            f"{up / down * rate:g}."
        )
    return up, down


def with_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """Return a recording with the leads asked for, each ``*`` whichever is left.

    Raises:
        InputError: it has no such lead, or too few.
    """
    return recording.select(chosen_leads(recording.id, recording.leads, leads)) if leads else recording


def chosen_leads(name: str, there: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Return the leads of a recording that are asked for by name, or by ``*`` for whichever is left.

    Raises:
        InputError: it has no such lead, or too few.

    Example:
        >>> chosen_leads("114", ["V5", "MLII"], ["MLII", "*"])
        ['MLII', 'V5']
    """
    left = [lead for lead in there if lead not in asked]
    chosen = [left.pop(0) if lead == ANY and left else lead for lead in asked]
    absent = [lead for lead in chosen if lead not in there and lead != ANY]
    if absent:
        raise InputError(f"recording {name} has no lead {absent[0]!r}, it has {listed(there)}: name others with leads.")
    if ANY in chosen:
        raise InputError(f"recording {name} has the leads {listed(there)}, fewer than {listed(asked)}: ask for fewer.")
    return chosen


def require_each_once(recordings: Sequence[Recording]) -> None:
    """Refuse one signal under the names of two patients, of whom one could be learned from and one tested on.

    Raises:
        InputError: there is one; the message names the recordings.
    """
    met: dict[str, Recording] = {}
    for each in recordings:
        other = met.setdefault(each.content_hash, each)
        if other is not each and other.patient != each.patient:
            raise InputError(
                f"recordings {other.id} and {each.id} are one signal under the names of two patients: remove one."
            )


def in_millivolts(signal: np.ndarray, units: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Return a signal (L, C) as float32 with its voltages in millivolts, and the units it then has.

    Example:
        >>> in_millivolts(np.array([[500.0, 90.0]]), ["uV", "mmHg"])
        (array([[ 0.5, 90. ]], dtype=float32), ['mV', 'mmHg'])
    """
    factors = [MILLIVOLTS.get(unit.lower()) for unit in units]
    told = [unit if factor is None else "mV" for unit, factor in zip(units, factors, strict=True)]
    return (signal * np.array([1.0 if factor is None else factor for factor in factors])).astype(np.float32), told


def _filtered(signal: np.ndarray, up: int, down: int) -> np.ndarray:
    from scipy.signal import resample_poly

    missing, places = np.isnan(signal), np.arange(len(signal))
    whole = signal.astype(np.float64)
    for lead in range(signal.shape[1]):
        if missing[:, lead].all():
            whole[:, lead] = 0
        elif missing[:, lead].any():
            there = ~missing[:, lead]
            whole[:, lead] = np.interp(places, places[there], whole[there, lead])
    # The ends are held, so that a baseline away from 0 does not ring there. Nothing else is taken of the whole: what is
    # found at a time is of ten samples of the slower rate on each side, and a later sample changes nothing before it.
    reach = math.ceil(10 * max(up, down) / up / down) * down
    first, count = whole[:1], math.ceil(len(whole) * up / down)
    held = np.pad(whole - first, ((reach, reach), (0, 0)), mode="edge")
    wide = resample_poly(held, up, down, axis=0, window=("kaiser", KAISER))
    found = (wide[reach * up // down :][:count] + first).astype(np.float32)
    if missing.any():
        nearest = np.rint(np.arange(len(found)) * (down / up)).astype(np.int64).clip(max=len(signal) - 1)
        found[missing[nearest]] = np.nan
    return found


def _first_back(places: np.ndarray) -> int:
    return int(np.flatnonzero(np.diff(places) < 0)[0]) + 2
