"""Beats of patients as they might have been: seen by other electrodes, with fibrillating or with premature atria.

Of the few patients that are measured a network learns by heart what is theirs alone. What a variation changes says
nothing of a beat's class, or changes it as is known, so a network that learns from variations too is told so.

Dimension letters: N beats, L samples of a window, C leads.
"""

import math

import numpy as np

from integrand.datasets.beat_series import BEFORE, PIECES, BeatSeries, retold
from integrand.datasets.heart_beats import CLASSES
from integrand.datasets.synthetic.ecg.heart_rate import SHORTEST, fibrillating_intervals

NORMAL, SUPRAVENTRICULAR, VENTRICULAR = (CLASSES.index(name) for name in "NSV")
FEWEST = 3
"""Beats that a series has at least."""


def varied(series: BeatSeries, generator: np.random.Generator, *, causal: bool = False) -> list[BeatSeries]:
    """Return a recording as other electrodes might have seen it: as it is, with fibrillating and with premature atria.

    Args:
        series: of a recording.
        generator: of random numbers.
        causal: as the series was made.

    Returns:
        The three; without the second where hardly a beat is left without the supraventricular ones.
    """
    found = [series, with_premature_atria(series, generator, causal=causal)]
    if (series.labels != SUPRAVENTRICULAR).sum() >= FEWEST:
        found.append(with_fibrillating_atria(series, generator, causal=causal))
    return [seen_otherwise(one, generator, causal=causal) for one in found]


def seen_otherwise(series: BeatSeries, generator: np.random.Generator, *, causal: bool = False) -> BeatSeries:
    """Return the same beats in other leads, through more noise, of a heart that beats faster or slower.

        x'_n(t) = M x_n(t + d_n) + e_n(t),      RR' = s RR,

    with M = diag(exp(0.2 z)) + 0.35 Z, its leads in another order once in seven times, shifts d_n of up to 24 ms of one
    recording or of each beat, autoregressive noise e of up to half a usual beat's size, mostly much less, and
    s = exp(0.15 z), where z and Z are normal.
    """
    count, length, leads = series.windows.shape
    mixing = np.diag(np.exp(0.2 * generator.standard_normal(leads))) + 0.35 * generator.standard_normal((leads, leads))
    if generator.random() < 1 / 7:
        mixing = generator.permutation(mixing)
    windows = series.windows @ mixing.astype(np.float32)
    windows = windows + _noise(windows, generator)
    step = round(0.008 * series.rate)
    apart = generator.random() < 0.5
    shifts = generator.integers(-2, 3, count) * step if apart else np.full(count, generator.integers(-3, 4) * step)
    places = (np.arange(length) + shifts[:, None]).clip(0, length - 1)
    return retold(
        series,
        times=series.times * np.exp(0.15 * generator.standard_normal()),
        windows=np.take_along_axis(windows, places[:, :, None], axis=1),
        labels=series.labels,
        usable=series.usable,
        causal=causal,
    )


def with_fibrillating_atria(series: BeatSeries, generator: np.random.Generator, *, causal: bool = False) -> BeatSeries:
    """Return the beats as they might come if the atria of the patient fibrillated.

    Intervals are independent of each other, of a gamma distribution with a mean of 0.45 to 1 s and a deviation of 12 to
    32 % of it; a ventricular beat comes after half of the mean to all of it, or earlier. In place of P waves there is a
    straight line, and all over the window waves of 4 to 9 Hz. Supraventricular beats, of which there are none without a
    rhythm of the atria, are left out.

    Source: for the intervals Tateno and Glass (2001), see ``fibrillating_intervals``; the rest is textbook knowledge.
    """
    kept = series.labels != SUPRAVENTRICULAR
    labels, windows = series.labels[kept], _without_p_waves(series)[kept]
    mean, variation = generator.uniform(0.45, 1.0), generator.uniform(0.12, 0.32)
    intervals = fibrillating_intervals(len(labels), generator, mean=mean, variation=variation)
    early = mean * generator.uniform(0.5, 1.0, len(labels))
    intervals = np.where(labels == VENTRICULAR, np.minimum(intervals, early), intervals)
    return retold(
        series,
        times=np.cumsum(intervals),
        windows=windows + _fibrillation(windows, series.rate, generator),
        labels=labels,
        usable=series.usable[kept],
        causal=causal,
    )


def with_premature_atria(series: BeatSeries, generator: np.random.Generator, *, causal: bool = False) -> BeatSeries:
    """Return the beats as they might come if the atria of the patient beat too early now and then.

    Normal beats between normal ones become supraventricular: alone, 1 to 20 % of them; every second to fourth, in
    stretches; or in runs of 4, 12 or 60 beats in the mean. They come after 50 to 75 % of the usual interval, the same
    in one recording but for 4 %, with a P wave of another height, up to 24 ms later, perhaps inverted or hidden. The
    beat after them comes after 100 to 125 % of the interval it had, for the sinus node was reset.
    """
    count = len(series)
    usual = float(np.median(series.intervals))
    between = np.convolve(series.labels == NORMAL, np.ones(3), mode="same") == 3
    premature = between & _early(count, generator)
    ratio = generator.uniform(0.5, 0.75) + 0.04 * generator.standard_normal(count)
    intervals = np.where(premature, np.maximum(usual * ratio.clip(0.4, 0.8), SHORTEST), series.intervals)
    after = np.roll(premature, 1) & ~premature
    intervals = np.where(after, np.maximum(intervals, usual) * generator.uniform(1.0, 1.25), intervals)
    leads = series.windows.shape[2]
    height = generator.uniform(-1.2, 0.6, leads) * (generator.random() < 0.7)
    bare = _without_p_waves(series)
    waves = np.roll(series.windows - bare, generator.integers(0, 4) * round(0.008 * series.rate), axis=1)
    changed = bare + waves * height.astype(np.float32)
    return retold(
        series,
        times=np.cumsum(intervals),
        windows=np.where(premature[:, None, None], changed, series.windows),
        labels=np.where(premature, SUPRAVENTRICULAR, series.labels),
        usable=series.usable,
        causal=causal,
    )


def _early(count: int, generator: np.random.Generator) -> np.ndarray:
    """Draw which beats come early, (N,): some alone, some of every few in stretches, or runs."""
    kind = generator.integers(4)
    if kind == 0:
        return generator.random(count) < generator.uniform(0.01, 0.2)
    early, place = np.zeros(count, dtype=bool), 0
    every = int(generator.integers(2, 5)) if kind == 1 else 1
    length, gap = (12, 80) if kind == 1 else (generator.choice([4, 12, 60]), generator.choice([8, 40, 150]))
    while place < count:
        place += 1 + int(generator.exponential(gap))
        end = place + every * (1 + int(generator.exponential(length)))
        early[place:end:every] = True
        place = end
    return early


def _without_p_waves(series: BeatSeries) -> np.ndarray:
    """Return windows with a straight line in place of the P wave, (N, L, C)."""
    windows = series.windows.copy()
    first, last = (round((time + BEFORE) * series.rate) for time in PIECES["p_"])
    line = np.linspace(0, 1, last - first, dtype=np.float32)[:, None]
    windows[:, first:last] = windows[:, first : first + 1] * (1 - line) + windows[:, last - 1 : last] * line
    return windows


def _noise(windows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw noise of a first-order autoregression, its size in one recording far from that in another, (N, L, C)."""
    from scipy.signal import lfilter

    count, _, leads = windows.shape
    noise = generator.standard_normal(windows.shape, dtype=np.float32)
    noise = np.asarray(lfilter([1.0], [1.0, -generator.uniform(0, 0.95)], noise, axis=1))
    drift = np.exp(0.05 * np.cumsum(generator.standard_normal(count)))
    size = 0.5 * generator.random(leads) ** 3 * _usual(windows)
    return noise / noise.std() * size * (drift / drift.mean()).clip(max=4)[:, None, None]


def _fibrillation(windows: np.ndarray, rate: float, generator: np.random.Generator) -> np.ndarray:
    """Draw the waves of fibrillating atria, (N, L, C): two harmonics, from beat to beat of another phase."""
    count, length, leads = windows.shape
    frequency = generator.uniform(4, 9)
    size = generator.uniform(0.02, 0.2) * generator.uniform(0.25, 1.5, leads) * _usual(windows)
    turned = 2 * math.pi * (frequency * np.arange(length) / rate + generator.random((count, 1)))
    return (np.sin(turned) + np.sin(2 * turned + 1) / 2)[:, :, None] * size


def _usual(windows: np.ndarray) -> np.ndarray:
    """Return the root mean square about the mean of the median window, (C,)."""
    return np.median(windows, axis=0).std(axis=0)
