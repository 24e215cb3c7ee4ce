"""Denoisers without a network, to compare with: filters, wavelets, and a line through every gap.

All see what a network sees, and what they can be set to is chosen on the training part. Gaps are bridged by lines
first, and what a filter makes of the line is its answer there.

Dimension letters: B pieces, L samples, F frequencies.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from integrand.apps.medical.waveforms.batch import WaveformBatch

Array = np.ndarray
Filter = Callable[[Array, float], Array]
"""Maps signals (B, L) at a rate in Hz to signals."""
WAVELET = "sym8"


@dataclass(frozen=True)
class Baseline:
    """A denoiser.

    Attributes:
        name: in the tables.
        options: what it was set to on the training part, in words.
        apply: maps signals (B, L) whose gaps are bridged, at a rate in Hz, to clean ones.
    """

    name: str
    options: str
    apply: Filter


def fitted(batch: WaveformBatch) -> list[Baseline]:
    """Return the baselines, each as it gains most on pieces of the training part; wavelets where PyWavelets is there.

    ``noisy`` gives the signal back, with lines through its gaps.
    """
    found = [Baseline("noisy", "lines through the gaps", lambda signal, rate: signal)]
    bands = [(low, high) for low, high in product((0.0, 0.1, 0.25, 0.5), (15.0, 25.0, 40.0)) if high < batch.rate / 2]
    found.append(_best("band_pass", "{} Hz", bands, band_pass, batch))
    windows = [0.04, 0.06, 0.08, 0.12]
    found.append(_best("savitzky_golay", "windows of {} s", windows, savitzky_golay, batch))
    try:
        import pywt  # noqa: F401

        settings = list(product((0.25, 0.5, 1.0), (True, False)))
        found.append(_best("wavelet", "{} of the threshold, without wander", settings, wavelet, batch))
    except ImportError:
        pass  # an extra brings it
    return [*found, Baseline("wiener", "the training part's spectra", wiener(batch))]


def improvement(found: Array, batch: WaveformBatch) -> Array:
    """Return by how many decibels answers (B, L) are nearer to the clean signal than the noisy one, (B,).

    10 log10(sum (noisy - clean)^2 / sum (found - clean)^2)      over what was observed
    """
    clean, observed = batch.clean.double().numpy(), batch.observed.numpy()
    noise = ((batch.signal.double().numpy() - clean) ** 2 * observed).sum(axis=1)
    error = ((found - clean) ** 2 * observed).sum(axis=1)
    return 10 * np.log10(noise / np.maximum(error, 1e-12))


def bridged(batch: WaveformBatch) -> Array:
    """Return the signals (B, L) with lines through their gaps, float64; 0 where a piece is a gap throughout."""
    signal, observed = batch.signal.double().numpy(), batch.observed.numpy()
    places = np.arange(signal.shape[1])
    return np.stack(
        [
            np.interp(places, places[there], own[there]) if there.any() else own
            for own, there in zip(signal, observed, strict=True)
        ]
    )


def band_pass(band: tuple[float, float]) -> Filter:
    """Return a Butterworth filter of order 2, forwards and backwards; below ``band[0]`` Hz the median alone stays."""

    def apply(signal: Array, rate: float) -> Array:
        from scipy.signal import butter, sosfiltfilt

        kind: Any = "bandpass" if band[0] else "lowpass"
        stages = butter(2, band if band[0] else band[1], btype=kind, fs=rate, output="sos")
        offset = np.median(signal, axis=1, keepdims=True)
        return np.asarray(sosfiltfilt(stages, signal - offset, axis=1)) + offset

    return apply


def savitzky_golay(seconds: float) -> Filter:
    """Return a filter that smooths by cubic polynomials over windows.

    Source: Savitzky and Golay (1964), Smoothing and differentiation of data by simplified least squares procedures.
    """

    def apply(signal: Array, rate: float) -> Array:
        from scipy.signal import savgol_filter

        return np.asarray(savgol_filter(signal, max(5, 2 * round(seconds * rate / 2) + 1), 3, axis=1))

    return apply


def wavelet(options: tuple[float, bool]) -> Filter:
    """Return a filter that shrinks wavelet coefficients towards 0.

    The threshold is a share of sigma sqrt(2 log L), sigma the median absolute value of the finest coefficients over
    0.6745. Without wander, what is below 0.5 Hz is its median.

    Args:
        options: the share, and whether the wander is left out.

    Source: Donoho and Johnstone (1994), Ideal spatial adaptation by wavelet shrinkage, Section 3.
    """
    share, without_wander = options

    def apply(signal: Array, rate: float) -> Array:
        import pywt

        found = np.empty_like(signal)
        levels = max(1, min(pywt.dwt_max_level(signal.shape[1], WAVELET), round(math.log2(rate))))
        for row, own in enumerate(signal):
            coarse, *details = pywt.wavedec(own, WAVELET, level=levels, mode="symmetric")
            sigma = float(np.median(np.abs(details[-1]))) / 0.6745
            threshold = share * sigma * math.sqrt(2 * math.log(len(own)))
            kept: list[Any] = [np.full_like(coarse, np.median(coarse)) if without_wander else coarse]
            kept += [pywt.threshold(each, threshold, mode="soft") for each in details]
            found[row] = pywt.waverec(kept, WAVELET, mode="symmetric")[: len(own)]
        return found

    return apply


def wiener(batch: WaveformBatch) -> Filter:
    """Return the linear filter that errs least on average over the pieces of a batch.

        H(f) = S_c(f) / (S_c(f) + S_n(f)),

    with S_c and S_n the mean spectra of clean signals and noise, in units of the power of each noisy piece.

    Source: Wiener (1949), Extrapolation, interpolation, and smoothing of stationary time series, Section 3.1.
    """
    noisy, clean, known = bridged(batch), batch.clean.double().numpy(), batch.rate
    offset = np.median(noisy, axis=1, keepdims=True)
    power = noisy.var(axis=1, keepdims=True)
    spectra = [np.mean(np.abs(np.fft.rfft(x, axis=1)) ** 2 / power, axis=0) for x in (clean - offset, noisy - clean)]
    frequency = np.fft.rfftfreq(noisy.shape[1], 1 / known)
    gain = spectra[0] / (spectra[0] + spectra[1])

    def apply(signal: Array, rate: float) -> Array:
        middle = np.median(signal, axis=1, keepdims=True)
        # Mirrored, so that the ends do not meet.
        wide = np.concatenate([signal - middle, (signal - middle)[:, ::-1]], axis=1)
        own = np.interp(np.fft.rfftfreq(wide.shape[1], 1 / rate), frequency, gain)
        passed = np.fft.irfft(np.fft.rfft(wide, axis=1) * own, wide.shape[1], axis=1)
        return passed[:, : signal.shape[1]] + middle

    return apply


def _best(
    name: str, said: str, options: Sequence[Any], make: Callable[[Any], Filter], batch: WaveformBatch
) -> Baseline:
    """Return a baseline with those options that gain most."""
    signal = bridged(batch)
    gains = [float(improvement(make(each)(signal, batch.rate), batch).mean()) for each in options]
    chosen = options[int(np.argmax(gains))]
    told = " to ".join(f"{part:g}" for part in chosen) if name == "band_pass" else str(chosen)
    if name == "wavelet":
        told = f"{chosen[0]:g} of the threshold, {'without' if chosen[1] else 'with'} the wander"
        return Baseline(name, told, make(chosen))
    return Baseline(name, said.format(told), make(chosen))
