"""Denoisers without a network, to compare with: filters, wavelets, and a line through every gap.

All see what a network sees. Gaps are bridged by lines first, and what a filter makes of the line is its answer there.

Dimension letters: B pieces, L samples.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from integrand.apps.medical.waveforms.batch import WaveformBatch

Array = np.ndarray
BAND = (0.5, 40.0)
"""Hz, the usual band of a monitor."""
SMOOTHED_SECONDS = 0.06
"""Window of the polynomial filter, about half a QRS complex."""
WAVELET = "sym8"


def bridged(batch: WaveformBatch) -> Array:
    """Return the signals (B, L) with lines through their gaps, float64; 0 where a piece is a gap throughout."""
    signal, observed = batch.signal.cpu().double().numpy(), batch.observed.cpu().numpy()
    places = np.arange(signal.shape[1])
    return np.stack(
        [
            np.interp(places, places[there], own[there]) if there.any() else own
            for own, there in zip(signal, observed, strict=True)
        ]
    )


def band_pass(signal: Array, rate: float) -> Array:
    """Pass signals (B, L) between 0.5 and 40 Hz by a Butterworth filter of order 2, forwards and backwards."""
    from scipy.signal import butter, sosfiltfilt

    stages = butter(2, (BAND[0], min(BAND[1], 0.45 * rate)), btype="bandpass", fs=rate, output="sos")
    # The offset is no wander: it stays.
    offset = np.median(signal, axis=1, keepdims=True)
    return np.asarray(sosfiltfilt(stages, signal - offset, axis=1)) + offset


def savitzky_golay(signal: Array, rate: float) -> Array:
    """Smooth signals (B, L) by cubic polynomials over windows of 60 ms and more.

    Source: Savitzky and Golay (1964), Smoothing and differentiation of data by simplified least squares procedures.
    """
    from scipy.signal import savgol_filter

    length = max(5, 2 * round(SMOOTHED_SECONDS * rate / 2) + 1)
    return np.asarray(savgol_filter(signal, length, 3, axis=1))


def wavelet(signal: Array, rate: float) -> Array:
    """Shrink the wavelet coefficients of signals (B, L) towards 0, and leave out those below 0.5 Hz but the mean.

    The threshold is sigma sqrt(2 log L) with sigma the median absolute value of the finest coefficients over 0.6745.

    Source: Donoho and Johnstone (1994), Ideal spatial adaptation by wavelet shrinkage, Eq. 13 and Section 3.
    """
    import pywt

    found = np.empty_like(signal)
    levels = max(1, min(pywt.dwt_max_level(signal.shape[1], WAVELET), round(math.log2(rate / (2 * BAND[0])))))
    for row, own in enumerate(signal):
        coarse, *details = pywt.wavedec(own, WAVELET, level=levels, mode="symmetric")
        sigma = float(np.median(np.abs(details[-1]))) / 0.6745
        threshold = sigma * math.sqrt(2 * math.log(len(own)))
        kept: list[Any] = [np.full_like(coarse, np.median(coarse))]
        kept += [pywt.threshold(each, threshold, mode="soft") for each in details]
        found[row] = pywt.waverec(kept, WAVELET, mode="symmetric")[: len(own)]
    return found


def baselines() -> dict[str, Callable[[Array, float], Array]]:
    """Return the baselines by name; wavelets where PyWavelets is installed.

    ``noisy`` gives the signal back, with lines through its gaps.
    """
    found: dict[str, Callable[[Array, float], Array]] = {
        "noisy": lambda signal, rate: signal,
        "band_pass": band_pass,
        "savitzky_golay": savitzky_golay,
    }
    try:
        import pywt  # noqa: F401
    except ImportError:
        return found
    return found | {"wavelet": wavelet}
