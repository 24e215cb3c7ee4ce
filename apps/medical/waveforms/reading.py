"""A whole recording read by a network in windows that overlap, so that its length does not matter.

Dimension letters: L samples, M windows, W samples of a window.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.datasets.recording import Recording

WINDOW_SECONDS = 20.0
"""Length of a window."""
BESIDE_SECONDS = 2.0
"""Seconds of a window on each side that its neighbour answers."""
AT_A_TIME = 16


class Reading(NamedTuple):
    """What a network says of a recording.

    Attributes:
        mean: (L,) the clean signal, mV.
        std: (L,) its deviation about that, mV.
        probability: (L,) that a beat is near the sample.
    """

    mean: np.ndarray
    std: np.ndarray
    probability: np.ndarray


@torch.no_grad()
def read(module: Any, signal: np.ndarray, rate: float) -> Reading:
    """Read a signal (L,) in mV, NaN where it is missing.

    A network that is bound to a rate reads the signal at that one, and its answer is brought back by lines.

    Args:
        module: a trained module of waveforms.
        signal: (L,).
        rate: Hz.
    """
    module.eval()
    network = module.network
    own = network.built_for.rate
    if rate == own or network.any_rate:
        return _read(module, signal, rate)
    changed = Recording("read", "read", signal[:, None].astype(np.float32), rate, ["x"], ["mV"]).resampled(own)
    found = _read(module, changed.signal[:, 0], own)
    times, known = np.arange(len(signal)) / rate, np.arange(len(found.mean)) / own
    return Reading(*(np.interp(times, known, part) for part in found))


def _read(module: Any, signal: np.ndarray, rate: float) -> Reading:
    beside = round(BESIDE_SECONDS * rate)
    inner = round(WINDOW_SECONDS * rate) - 2 * beside
    length = len(signal)
    if length <= inner + 2 * beside:
        windows, starts, beside = signal[None], [0], 0
        inner = length
    else:
        starts = list(range(0, length, inner))
        # What is before the start and after the end is missing.
        padded = np.pad(signal, (beside, inner + beside), constant_values=np.nan)
        windows = np.stack([padded[start : start + inner + 2 * beside] for start in starts])
    parts: list[np.ndarray] = []
    for some in np.split(windows, range(AT_A_TIME, len(windows), AT_A_TIME)):
        answer = module(batch_of(some, rate).to(module.device))
        probability = answer.beat.sigmoid()
        stacked = torch.stack([answer.mean, answer.std, probability]).double().cpu().numpy()
        parts.append(stacked[:, :, beside : beside + inner])
    joined = np.concatenate(parts, axis=1).reshape(3, -1)[:, :length]
    return Reading(*joined)


def batch_of(windows: np.ndarray, rate: float) -> WaveformBatch:
    """Return windows (M, W) in mV, NaN where missing, as a batch without targets."""
    observed = np.isfinite(windows)
    signal: Tensor = torch.from_numpy(np.where(observed, windows, 0.0)).float()
    return WaveformBatch(
        signal=signal,
        observed=torch.from_numpy(observed),
        clean=torch.zeros_like(signal),
        beats=torch.zeros_like(signal),
        snr=torch.zeros(len(signal)),
        rate=rate,
    )
