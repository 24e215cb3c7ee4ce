"""The beats of a recording while it is being made, each with what ``beat_series`` tells of it where that is causal.

Dimension letters: L samples of a piece or window, C leads, F features.
"""

import math
from collections import deque
from statistics import median
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.beat_series import (
    AFTER,
    BAND,
    BEFORE,
    CHANGED,
    LOCAL_BEATS,
    OUTER,
    RECENT_BEATS,
    RECENT_SECONDS,
    WIDE_BEATS,
    end_is_usable,
    shape_of,
    usual_size,
)
from integrand.datasets.block_resampler import BlockResampler
from integrand.datasets.online_beats import KEPT, OnlineBeatDetector
from integrand.datasets.recent_samples import RecentSamples
from integrand.datasets.recording import Recording

LATE = KEPT + 2.0
"""Seconds after which no beat is told any more."""


class StreamedBeat(NamedTuple):
    """A beat of a stream.

    Attributes:
        sample: where it lies.
        time: seconds from the first sample.
        interval: seconds from the beat before; of the first the interval that follows.
        window: (L, C) float32 mV.
        usual: (C,) float32 mV, the usual beat's size by then.
        features: (F,) float32, as ``beat_series`` has them.
        usable: whether every lead could be used all through the window.
    """

    sample: int
    time: float
    interval: float
    window: np.ndarray
    usual: np.ndarray
    features: np.ndarray
    usable: bool


class _Cut(NamedTuple):
    """A beat whose window is there: what it is beside its rhythm."""

    sample: int
    window: np.ndarray
    usual: np.ndarray
    shape: np.ndarray
    usable: bool


class BeatStream:
    """Tells each beat of a signal as soon as its window is complete, as ``beat_series(..., causal=True)`` has it.

    The first beat waits for the second, whose interval it shares. Of the signal some 40 seconds are kept, and of
    the beats the last ``RECENT_BEATS``, however long the stream is.

    Args:
        rate: Hz of the signal.
        leads: names of its C leads.
        to: Hz of the windows.
        detect: whether beats are found here, by ``OnlineBeatDetector``; else ``push`` is told where they are.

    Attributes:
        told: how many beats were told.

    Raises:
        InputError: a rate that is too low, or that does not become the other.

    Example:
        >>> stream = BeatStream(rate=250, leads=["II"], to=125, detect=True)
        >>> x = np.zeros((2500, 1), "f4")
        >>> x[100::200] = 1.0
        >>> beats = [*stream.push(x), *stream.finish()]
        >>> [beat.sample for beat in beats][:3], beats[0].window.shape, round(beats[1].interval, 3)
        ([100, 300, 500], (94, 1), 0.8)
    """

    def __init__(self, *, rate: float, leads: list[str], to: float, detect: bool) -> None:
        from scipy.signal import butter

        self.rate, self.leads, self.to = rate, leads, to
        self._detector = OnlineBeatDetector(rate, len(leads)) if detect else None
        self._resampler = BlockResampler(rate, to, leads=len(leads))
        self._stages = np.asarray(butter(2, BAND, btype="bandpass", fs=to, output="sos"))
        self._past = np.zeros((len(self._stages), 2, len(leads)))
        self._before, self._after = round(BEFORE * to), round(AFTER * to)
        self._signal = RecentSamples(round((RECENT_SECONDS + LATE) * rate), len(leads), np.float32)
        self._trace = RecentSamples(round(LATE * to) + self._before + self._after, len(leads))
        self._first, self._last = np.full(len(leads), np.nan), np.zeros(len(leads))
        self._origin: np.ndarray | None = None
        self._awaited: deque[int] = deque()
        self._windows: deque[np.ndarray] = deque(maxlen=RECENT_BEATS)
        self.told = 0
        self._cut: _Cut | None = None  # the first beat, until the second comes
        self._rhythm = _RunningRhythm()
        self._time: float | None = None

    def push(self, signal: np.ndarray, beats: np.ndarray | None = None) -> list[StreamedBeat]:
        """Take the next samples, and return the beats that they complete.

        Args:
            signal: (L, C) float32 mV, NaN where missing.
            beats: numbers of the samples, from the first of the stream on, where beats lie among these or before,
                increasing from call to call; where they are not found here.

        Raises:
            InputError: a beat is told too late, or not in its order.
        """
        x = np.asarray(signal, dtype=np.float32)
        step = round(self.rate)  # long pieces in parts, since no more is kept than what is needed
        if len(x) <= step:
            return self._push(x, beats)
        found: list[StreamedBeat] = []
        for start in range(0, len(x), step):
            end = self._signal.end + len(x[start : start + step])
            now = None if beats is None else beats[beats < end]
            beats = None if beats is None else beats[beats >= end]
            found += self._push(x[start : start + step], now)
        return found

    def _push(self, x: np.ndarray, beats: np.ndarray | None) -> list[StreamedBeat]:
        self._take(x)
        if self._detector is not None:
            beats = self._detector.push(x)
        for beat in [] if beats is None else beats.tolist():
            if beat < self._signal.end - round(LATE * self.rate) or (self._awaited and beat <= self._awaited[-1]):
                raise InputError(f"beat at sample {beat} is told too late or twice: tell beats as they come.")
            self._awaited.append(beat)
        return self._complete()

    def finish(self) -> list[StreamedBeat]:
        """Return the beats that are left at the end of the stream, their windows filled up with zeros."""
        if self._detector is not None:
            self._awaited.extend(self._detector.finish().tolist())
        self._filter(self._resampler.finish())
        return self._complete(last=True)

    def _take(self, x: np.ndarray) -> None:
        if not len(x):
            return
        self._signal.append(x)
        fresh = np.isnan(self._first)
        if fresh.any():
            there = np.isfinite(x)
            value = np.take_along_axis(x, there.argmax(axis=0)[None], axis=0)[0].astype(np.float64)
            self._first = np.where(fresh & there.any(axis=0), value, self._first)
        y = x.astype(np.float64) - self._first
        missing = np.isnan(y)
        if missing.any():
            y = np.concatenate([self._last[None], y])
            place = np.where(np.isnan(y), 0, np.arange(len(y))[:, None])
            y = np.take_along_axis(y, np.maximum.accumulate(place, axis=0), axis=0)[1:]
        self._last = y[-1]
        self._filter(self._resampler.push(y))

    def _filter(self, y: np.ndarray) -> None:
        """Band-pass what was resampled, over its very first value."""
        from scipy.signal import sosfilt

        if not len(y):
            return
        self._origin = y[0] if self._origin is None else self._origin
        # As a recording has it: in single precision, and over its first value after that.
        first = np.where(np.isnan(self._first), 0.0, self._first)
        y = (y + first).astype(np.float32).astype(np.float64) - (self._origin + first).astype(np.float32)
        passed, self._past = sosfilt(self._stages, y, axis=0, zi=self._past)
        self._trace.append(passed)

    def _complete(self, *, last: bool = False) -> list[StreamedBeat]:
        found = []
        while self._awaited:
            sample = self._awaited[0]
            time = sample / self.rate
            end, centre = int(np.rint((time + AFTER) * self.rate)), int(np.rint(time * self.to))
            if not last and (end > self._signal.end or centre + self._after > self._trace.end):
                break
            self._awaited.popleft()
            found += self._placed(self._cut_at(sample, time, min(end, self._signal.end), centre))
        return found

    def _cut_at(self, sample: int, time: float, end: int, centre: int) -> _Cut:
        first, beyond = centre - self._before, centre + self._after
        there = self._trace.between(max(0, first), min(beyond, self._trace.end))
        window = np.pad(there, ((max(0, -first), max(0, beyond - self._trace.end)), (0, 0)))
        self._windows.append(window)
        template = np.median(np.stack(self._windows), axis=0)
        past = max(0, end - round(RECENT_SECONDS * self.rate))
        recent = self._signal.between(past, end)
        judged = Recording("stream", "stream", recent, self.rate, self.leads, ["mV"] * len(self.leads))
        start = max(0, int(np.rint((time - BEFORE) * self.rate))) - past
        usual, shape = usual_size(template[None])[0], shape_of(window[None], template[None])[0]
        return _Cut(sample, window, usual, shape, end_is_usable(judged, start))

    def _placed(self, cut: _Cut) -> list[StreamedBeat]:
        """Return what the rhythm is told of by a further beat: nothing by the first, two beats by the second."""
        if self._time is None:
            self._cut, self._time = cut, cut.sample / self.rate
            return []
        time = cut.sample / self.rate
        gap, self._time = max(time - self._time, 1e-3), time
        held, self._cut = self._cut, None
        beats = [self._told(each, gap) for each in (held, cut) if each is not None]
        self.told += len(beats)
        return beats

    def _told(self, cut: _Cut, gap: float) -> StreamedBeat:
        features = np.concatenate([self._rhythm.push(gap), cut.shape]).astype(np.float32)
        return StreamedBeat(
            cut.sample,
            cut.sample / self.rate,
            gap,
            cut.window.astype(np.float32),
            cut.usual.astype(np.float32),
            features,
            cut.usable,
        )


class _RunningRhythm:
    """The features of ``RHYTHM`` interval by interval; see ``rhythm_of``."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0
        self._logs: deque[float] = deque(maxlen=RECENT_BEATS)
        self._changes: deque[float] = deque(maxlen=WIDE_BEATS + 1)

    def push(self, interval: float) -> np.ndarray:
        self._sum += interval
        self._count += 1
        log = math.log(interval)
        self._changes.append(abs(log - self._logs[-1]) if self._logs else 0.0)
        last = self._logs[-1] if self._logs else log
        self._logs.append(log)
        logs, changes = np.array(self._logs), np.array(self._changes)
        local = np.exp(logs[-LOCAL_BEATS - 1 :])
        wide = logs[-WIDE_BEATS - 1 :]
        near, usual, recent = median(logs[-LOCAL_BEATS - 1 :]), median(wide), median(logs)
        short, long = np.quantile(wide, OUTER)
        to_past = log - math.log(self._sum / self._count)
        return np.array(
            [
                *(log, to_past, to_past, log - math.log(local.mean()), 0.0, local.std() / local.mean()),
                *(log - near, log - near, log - usual, log - usual, last - usual, log - long, log - short),
                *(median(changes[-LOCAL_BEATS - 1 :]), median(changes), np.tanh(changes / CHANGED).mean()),
                *(log - recent, usual - recent),
            ]
        )
