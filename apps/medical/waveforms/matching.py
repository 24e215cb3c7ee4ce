"""Beats found against beats marked: which are the same, and what heart rate they tell.

Dimension letters: B pieces, L samples, N beats, T thresholds, W windows of time.
"""

from typing import Any

import numpy as np

from integrand.core.errors import InputError

WINDOW_SECONDS = 0.15
"""Within which a beat counts as found, of ANSI/AAMI EC57:1998."""
REFRACTORY_SECONDS = 0.2
"""Between beats: no ventricle is ready sooner."""
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
"""Probabilities that are tried."""
RATE_SECONDS = 10.0
"""Of a window in which a heart rate is told."""


def pick_beats(probability: np.ndarray, rate: float, threshold: float) -> np.ndarray:
    """Return where beats are, (N,): peaks of the probability (L,) at or above the threshold, none too near another.

    Example:
        >>> bump = np.exp(-0.5 * (np.arange(-50, 51) / 3) ** 2)
        >>> pick_beats(np.concatenate([bump, 0.3 * bump, bump]), 100.0, 0.5)
        array([ 50, 252])
    """
    from scipy.signal import find_peaks

    # A peak at the very end of a recording has nothing beside it that is lower.
    wide = np.pad(probability, 1)
    found, _ = find_peaks(wide, height=threshold, distance=max(1, round(REFRACTORY_SECONDS * rate)))
    return found - 1


def matched(marked: np.ndarray, found: np.ndarray, rate: float) -> int:
    """Return how many of the beats marked, (N,), are found within ``WINDOW_SECONDS``, each by one.

    Raises:
        InputError: wfdb is not installed.
    """
    if not len(marked) or not len(found):
        return 0
    try:
        from wfdb.processing import compare_annotations
    except ImportError as error:
        raise InputError("comparing beats needs the package wfdb: pip install 'integrand[medical]'.") from error
    said: Any = compare_annotations(marked, found, round(WINDOW_SECONDS * rate))
    return int(said.tp)


def matches_by_threshold(probability: np.ndarray, bumps: np.ndarray, rate: float) -> np.ndarray:
    """Return the beats that are right, said and marked at each of ``THRESHOLDS``, (T, 3) float64, summed over pieces.

    Args:
        probability: (B, L) that a beat is near.
        bumps: (B, L) 1 where a beat is marked, less beside it.
        rate: Hz.
    """
    counts = np.zeros((len(THRESHOLDS), 3))
    for own, bump in zip(probability, bumps, strict=True):
        marked = np.flatnonzero(bump == 1)
        found = pick_beats(own, rate, THRESHOLDS[0])
        heights = own[found]
        for place, threshold in enumerate(THRESHOLDS):
            kept = found[heights >= threshold]
            counts[place] += matched(marked, kept, rate), len(kept), len(marked)
    return counts


def heart_rates(beats: np.ndarray, rate: float, length: int) -> np.ndarray:
    """Return the heart rate in windows of ``RATE_SECONDS`` that lie side by side, (W,) 1/min; 0 where fewer than two.

        60 (n - 1) / (t_n - t_1)      of the n beats in a window

    Args:
        beats: (N,) samples.
        rate: Hz.
        length: samples of the recording; a last window that is not whole is left out.

    Example:
        >>> heart_rates(np.arange(0, 2000, 75), 100.0, 2000)
        array([80., 80.])
    """
    size = round(RATE_SECONDS * rate)
    told = np.zeros(length // size)
    for window in range(len(told)):
        own = beats[(beats >= window * size) & (beats < (window + 1) * size)]
        if len(own) > 1:
            told[window] = 60 * rate * (len(own) - 1) / (own[-1] - own[0])
    return told
