"""Recordings as series of heart beats: each beat's piece of signal, its place in the rhythm, and its class.

Dimension letters: N beats, L samples of a window, C leads, F features.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.recording import Events, Recording
from integrand.datasets.signal_quality import signal_quality, usable_samples

BAND = (0.5, 40.0)
"""Hz, what is kept: below lies the wander of the baseline, above the mains and the noise of muscles."""
BEFORE, AFTER = 0.3, 0.45
"""Seconds of a window about the beat's mark: from before the P wave to the T wave's end."""
LOCAL_BEATS = 10
"""Beats on each side that the local rhythm is taken of."""
WIDE_BEATS = 32
"""Beats on each side that the usual rhythm is taken of."""
RECENT_BEATS = 64
"""Beats whose medians are template and interval of a stream."""
OUTER = (0.1, 0.9)
"""Quantiles of intervals that count as short and as long."""
CHANGED = 0.08
"""Change of the logarithm of an interval that is more than breathing makes."""
RECENT_SECONDS = 30.0
"""Seconds by which a lead of a stream is judged."""
RHYTHM = (
    *("rr", "rr_to_past", "next_to_past", "rr_to_local", "next_to_rr", "irregularity"),
    *("rr_to_near", "next_to_near", "rr_to_usual", "next_to_usual", "last_to_usual", "rr_to_long", "rr_to_short"),
    *("change_near", "change", "changes", "rr_to_all", "usual_to_all"),
)
PIECES = {"": (-BEFORE, AFTER), "p_": (-0.25, -0.07), "qrs_": (-0.07, 0.1), "t_": (0.1, AFTER)}
"""Seconds about the mark between which a window, and in it P wave, QRS complex and T wave, are compared."""
MEASURES = ("likeness", "size", "difference")
SHAPE = tuple(f"{piece}{measure}" for piece in PIECES for measure in MEASURES)
QUIET = 0.05
"""Of the template's root mean square, in the root with each size, so that noise where no wave is tells nothing."""


class Rhythm(NamedTuple):
    """Where beats stand in their rhythm; of intervals in seconds.

    Attributes:
        intervals: (N,) from the beat before; of the first the one that follows.
        features: (N, F) of ``RHYTHM``.
    """

    intervals: np.ndarray
    features: np.ndarray


@dataclass(frozen=True, eq=False)
class BeatSeries:
    """The beats of one recording.

    Attributes:
        id, patient, age, sex: of the recording.
        leads: (C) name of each.
        samples: (N,) where the beats lie, in samples of the recording as it was read.
        times: (N,) seconds from its start.
        intervals: (N,) seconds from the beat before; of the first the interval that follows.
        windows: (N, L, C) float32 mV, band-passed, about each beat.
        features: (N, F) float32, named ``feature_names``.
        feature_names: ``RHYTHM``, then ``SHAPE`` of each lead.
        labels: (N,) int64 of ``heart_beats.CLASSES``.
        usable: (N,) bool, whether every lead could be used all through the window.
        usual: (N, C) float32 mV, root mean square about its mean of the recording's usual beat in each lead; of a
            stream of what was usual by then.
        trace: (T, C) float32 mV, band-passed, at ``rate``: what the windows are cut from.
        rate: Hz.
        simulated: whether the recording was made and not measured.
    """

    id: str
    patient: str
    age: float | None
    sex: str | None
    leads: list[str]
    samples: np.ndarray
    times: np.ndarray
    intervals: np.ndarray
    windows: np.ndarray
    features: np.ndarray
    feature_names: list[str]
    labels: np.ndarray
    usable: np.ndarray
    usual: np.ndarray
    trace: np.ndarray
    rate: float
    simulated: bool

    def __len__(self) -> int:
        return len(self.samples)


def beat_series(recording: Recording, *, rate: float = 125.0, causal: bool = False) -> BeatSeries:
    """Cut a recording in millivolts into its beats, at the places that are marked in it.

    The signal is resampled, and band-passed by a Butterworth filter of order 2. Features tell of each beat

    - ``rr``: the interval from the beat before, log seconds;
    - ``rr_to_past``, ``next_to_past``: this interval and the one to the next beat over the mean of all so far, log;
    - ``rr_to_local``: this interval over the mean of the ``LOCAL_BEATS`` on each side, log;
    - ``next_to_rr``: the next interval over this one, log;
    - ``irregularity``: the deviation of the local intervals over their mean;
    - ``rr_to_near``, ``next_to_near``: this interval and the next over the median of the local ones, log;
    - ``rr_to_usual``, ``next_to_usual``, ``last_to_usual``: this interval, the next and the last over the median of the
      ``WIDE_BEATS`` on each side, log; ``rr_to_long``, ``rr_to_short``: over their upper and lower decile;
    - ``change_near``, ``change``: the median change of log interval from beat to beat, in size, among the local and
      among the ``WIDE_BEATS`` on each side; ``changes``: the mean of tanh(change / ``CHANGED``) among these;
    - ``rr_to_all``, ``usual_to_all``: this interval and that median over the recording's median, log;
    - ``likeness`` of each lead: the correlation of the window with the median window of the recording;
    - ``size`` of each lead: its root mean square about its mean over that of the median window, log;
    - ``difference`` of each lead: the root mean square of the two's difference over that of the median window, log;
    - the same of the pieces of P wave, QRS complex and T wave, ``p_likeness`` and so on, sizes in units of the whole
      median window's.

    What is told in units of a patient's own usual beat is the same for patients whose beats differ.

    Args:
        recording: with at least three beats among its events.
        rate: Hz of the windows.
        causal: use nothing that comes after a beat's window, but for what the resampling filter reaches beyond it: the
            filter runs forwards alone, a lead keeps its last value while it is missing, the local rhythm is of beats
            before, the next interval counts as this one, median window and median interval are those of the last
            ``RECENT_BEATS``, and a lead is judged by its last ``RECENT_SECONDS``. What is not causal is for recordings
            that are whole, never for a stream.

    Raises:
        InputError: fewer than three beats; a lead that is not in mV.
    """
    found = beats_of(recording.events, where=f"recording {recording.id}")
    if len(found.samples) < 3:
        raise InputError(
            f"recording {recording.id} has {len(found.samples)} beats marked, where three are needed at least: name "
            "its annotations, or mark the beats first."
        )
    times = found.samples / recording.rate
    trace = _trace(recording, rate, causal)
    names = [f"{name}_{lead}" for name in SHAPE for lead in recording.leads]
    return BeatSeries(
        id=recording.id,
        patient=recording.patient,
        age=recording.age,
        sex=recording.sex,
        leads=list(recording.leads),
        samples=found.samples,
        times=times,
        feature_names=[*RHYTHM, *names],
        labels=found.labels,
        usable=_usable(recording, times, causal),
        trace=trace.astype(np.float32),
        rate=rate,
        simulated=recording.simulated,
        **_told(times, _windows(trace, times, rate), causal),
    )


def retold(
    series: BeatSeries, *, times: np.ndarray, windows: np.ndarray, labels: np.ndarray, usable: np.ndarray, causal: bool
) -> BeatSeries:
    """Return beats as they would be told had they come at other times and looked otherwise; it has no trace.

    Args:
        series: of the recording.
        times: (N,) seconds, increasing.
        windows: (N, L, C) mV.
        labels: (N,).
        usable: (N,).
        causal: see ``beat_series``.
    """
    return replace(
        series,
        samples=np.rint(times * series.rate).astype(np.int64),
        times=times,
        labels=labels,
        usable=usable,
        trace=series.trace[:0],
        simulated=True,
        **_told(times, windows, causal),
    )


def _told(times: np.ndarray, windows: np.ndarray, causal: bool) -> dict[str, np.ndarray]:
    """Return what follows from the times and windows of beats: the attributes of ``BeatSeries`` by name."""
    rhythm, templates = rhythm_of(times, causal=causal), usual_beats(windows, causal)
    return {
        "intervals": rhythm.intervals,
        "windows": windows.astype(np.float32),
        "features": np.concatenate([rhythm.features, shape_of(windows, templates)], axis=1).astype(np.float32),
        "usual": np.broadcast_to(usual_size(templates), windows[:, 0].shape).astype(np.float32),
    }


def rhythm_of(times: np.ndarray, *, causal: bool = False) -> Rhythm:
    """Return where beats at given times, (N,) seconds, stand in their rhythm; see ``beat_series``.

    Example:
        >>> even = rhythm_of(np.arange(5.0))
        >>> float(np.abs(even.features).max()), even.intervals.tolist()
        (0.0, [1.0, 1.0, 1.0, 1.0, 1.0])
    """
    gaps = np.maximum(np.diff(times), 1e-3)
    intervals = np.concatenate([gaps[:1], gaps])
    after = np.concatenate([gaps, gaps[-1:]])
    following = intervals if causal else after
    # Of the first beat alone the interval after it is taken for the one before, also where nothing else looks ahead.
    past = np.cumsum(intervals) / np.arange(1, len(intervals) + 1)
    place = np.arange(len(intervals))
    end = (place + 1 + (0 if causal else LOCAL_BEATS)).clip(max=len(intervals))
    mean, deviation = _moving(intervals, (place - LOCAL_BEATS).clip(min=0), end)
    log = np.log(intervals)
    change = np.abs(np.diff(log, prepend=log[:1]))
    near, wide = _around(log, LOCAL_BEATS, causal), _around(log, WIDE_BEATS, causal)
    all_of = np.nanmedian(_around(log, RECENT_BEATS - 1, causal), axis=1) if causal else np.median(log)
    usual_near, usual = np.nanmedian(near, axis=1), np.nanmedian(wide, axis=1)
    short, long = np.nanquantile(wide, OUTER, axis=1)
    changes = _around(change, WIDE_BEATS, causal)
    columns = (
        log,
        np.log(intervals / past),
        np.log(following / past),
        np.log(intervals / mean),
        np.log(following / intervals),
        deviation / mean,
        log - usual_near,
        np.log(following) - usual_near,
        log - usual,
        np.log(following) - usual,
        np.concatenate([log[:1], log[:-1]]) - usual,
        log - long,
        log - short,
        np.nanmedian(_around(change, LOCAL_BEATS, causal), axis=1),
        np.nanmedian(changes, axis=1),
        np.nanmean(np.tanh(changes / CHANGED), axis=1),
        log - all_of,
        usual - all_of,
    )
    return Rhythm(intervals, np.stack(columns, axis=1))


def _around(values: np.ndarray, reach: int, causal: bool) -> np.ndarray:
    """Return the values about each, (N, K): itself and ``reach`` before, unless causal as many after; NaN beyond."""
    padded = np.pad(values, (reach, 0 if causal else reach), constant_values=np.nan)
    return np.lib.stride_tricks.sliding_window_view(padded, len(padded) - len(values) + 1)


def _trace(recording: Recording, rate: float, causal: bool) -> np.ndarray:
    """Return the signal at another rate, band-passed, (T, C) float64."""
    from scipy.signal import butter, sosfilt, sosfiltfilt

    if causal:
        recording = replace(recording, signal=held(recording.signal), events=Events.of([], []))
    changed = recording.resampled(rate)
    whole = np.where(np.isfinite(changed.signal), changed.signal, 0.0).astype(np.float64)
    stages = butter(2, BAND, btype="bandpass", fs=rate, output="sos")
    if causal:
        return np.asarray(sosfilt(stages, whole - whole[:1], axis=0))
    return np.asarray(sosfiltfilt(stages, whole, axis=0))


def _windows(trace: np.ndarray, times: np.ndarray, rate: float) -> np.ndarray:
    """Cut the windows of beats, (N, L, C), with zeros where the recording has begun late or ended early."""
    before, after = round(BEFORE * rate), round(AFTER * rate)
    padded = np.pad(trace, ((before, after), (0, 0)))
    starts = np.rint(times * rate).astype(np.int64)
    return padded[starts[:, None] + np.arange(before + after)]


def _usable(recording: Recording, times: np.ndarray, causal: bool) -> np.ndarray:
    """Return which windows are usable in every lead, (N,)."""
    first, last = (
        np.rint((times + shift) * recording.rate).astype(np.int64).clip(0, len(recording.signal))
        for shift in (-BEFORE, AFTER)
    )
    if not causal:
        bad = np.concatenate([[0], np.cumsum(~signal_quality(recording).usable.all(axis=1))])
        return bad[last] == bad[first]
    found, recent = np.empty(len(times), dtype=bool), round(RECENT_SECONDS * recording.rate)
    bare = replace(recording, events=Events.of([], []))
    for beat, (start, end) in enumerate(zip(first, last, strict=True)):
        past = max(0, end - recent)
        found[beat] = end_is_usable(replace(bare, signal=recording.signal[past:end]), start - past)
    return found


def end_is_usable(recent: Recording, start: int) -> bool:
    """Return whether every lead can be used from a sample on, judged by a recording that goes no further."""
    return bool(usable_samples(recent)[start:].all())


def held(signal: np.ndarray) -> np.ndarray:
    """Return a signal, (L, C), with the last value of a lead where it is missing; before its first value that one.

    Example:
        >>> held(np.array([[np.nan], [2.0], [np.nan], [3.0]])).ravel()
        array([2., 2., 2., 3.])
    """
    missing = np.isnan(signal)
    if not missing.any():
        return signal
    place = np.maximum.accumulate(np.where(missing, -1, np.arange(len(signal))[:, None]), axis=0)
    first = np.where(missing.all(axis=0), 0, (~missing).argmax(axis=0))
    found = np.take_along_axis(signal, np.where(place < 0, first, place), axis=0)
    return np.where(missing.all(axis=0), np.zeros_like(found), found)


def usual_beats(windows: np.ndarray, causal: bool) -> np.ndarray:
    """Return the recording's usual beat, the median window, (1, L, C); of a stream that of each time, (N, L, C)."""
    if not causal:
        return np.median(windows, axis=0, keepdims=True)
    spans = ((max(0, n + 1 - RECENT_BEATS), n + 1) for n in range(len(windows)))
    return np.stack([np.median(windows[first:end], axis=0) for first, end in spans])


def usual_size(templates: np.ndarray) -> np.ndarray:
    """Return the root mean square about the mean of templates (N, L, C), (N, C) mV; that of an empty lead is tiny."""
    return _spread(templates) + 1e-6


def shape_of(windows: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Return ``SHAPE`` of every lead, (N, 12 C), of windows (N, L, C) beside templates, N or one."""
    length, found = windows.shape[1], []
    whole = usual_size(templates)[:, None]
    windows, templates = windows / whole, templates / whole
    for start, end in PIECES.values():
        first, last = (round((time + BEFORE) / (BEFORE + AFTER) * length) for time in (start, end))
        x, y = windows[:, first:last], templates[:, first:last]
        difference = np.log(np.hypot(np.sqrt(((x - y) ** 2).mean(axis=1)), QUIET))
        size_x, size_y = np.hypot(_spread(x), QUIET), np.hypot(_spread(y), QUIET)
        joint = ((x - x.mean(axis=1, keepdims=True)) * (y - y.mean(axis=1, keepdims=True))).mean(axis=1)
        found += [joint / (size_x * size_y), np.log(size_x / size_y), difference]
    return np.concatenate(found, axis=1)


def _spread(x: np.ndarray) -> np.ndarray:
    """Return the root mean square about the mean along windows, (N, C)."""
    return np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).mean(axis=1))


def _moving(values: np.ndarray, first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of ``values[first:end]`` for every pair."""
    centred = values - values.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(each)]) for each in (centred, centred**2))
    count = end - first
    mean = (sums[end] - sums[first]) / count
    variance = ((squares[end] - squares[first]) / count - mean**2).clip(min=0)
    return mean + values.mean(), np.sqrt(variance)
