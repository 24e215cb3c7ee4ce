"""McSharry's model of the electrocardiogram: waves that a point on a circle passes move a voltage.

Dimension letters: L samples, N beats, M kinds of beats, W waves, C leads.
"""

import math
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError

WAVES = ("P", "Q", "R", "S", "T")
NODES = (0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6)
"""Of Gauss' rule with two points on [0, 1], whose weights are 1/2 each."""
BLOCK = 1 << 16
"""Samples formed at a time, so that what is between stays in tens of megabytes."""


class Waves(NamedTuple):
    """The waves of M kinds of beats at an interval of 1 s.

    Attributes:
        angle: (M, W) theta_i, radians from the R peak, 2 pi a second.
        width: (M, W) b_i, radians, the standard deviation.
        height: (M, W, C) mV that the wave alone would rise to in each lead if the voltage did not fall back.
    """

    angle: np.ndarray
    width: np.ndarray
    height: np.ndarray


def voltages(
    peaks: np.ndarray,
    waves: Waves,
    which: np.ndarray,
    *,
    seconds: float,
    rate: float,
    wander: float = 0.15,
    breathing: float = 0.25,
    phase: float = 0.0,
) -> np.ndarray:
    """Return the voltages that beats at given times cause, (L, C) float64, in mV.

    A point runs around a circle once from beat to beat, theta' = 2 pi / RR, and each wave i of a beat that it passes at
    the angle theta_i moves the voltage, which falls back to a baseline that breathing moves:

        z' = -sum_i a_i (theta - theta_i) exp(-(theta - theta_i)^2 / (2 b_i^2)) - (z - A sin(2 pi f t + phase))

    with a_i = h_i 2 pi / (b_i^2 RR) for a wave of height h_i. On its limit cycle, where it starts here, the model's
    radius is 1 and nothing but z is left to solve, from the baseline at 0. z' + z is a known function of time: its
    integral against e^t over a sample is taken by Gauss' rule with two points, and the baseline's in closed form. The
    error falls as the fourth power of the sample's length where all intervals are equal, and as the second where the
    point changes its speed within a sample, at a peak: 4e-5 mV at 360 Hz.

    Angles and widths are those of the table times RR^(-1/2), RR in seconds: in time the waves lengthen as the root of
    the interval (Bazett, 1920). A wave is that of its own beat alone, and reaches into both intervals beside it.

    Args:
        peaks: (N,) times of the R peaks, s, increasing; beats outside [0, seconds] shape its ends.
        waves: of every kind of beat.
        which: (N,) the kind of each beat, a row of ``waves``.
        seconds: how long.
        rate: samples per second, Hz.
        wander: A, mV.
        breathing: f, Hz.
        phase: radians.

    Raises:
        InputError: peaks do not increase or do not reach over the whole time.

    Source: McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating synthetic
    electrocardiogram signals, Eq. 1 and Table I; in several leads, each with heights of its own, Sameni, Clifford,
    Jutten and Shamsollahi (2007), Multichannel ECG and noise modeling, Eq. 5.
    """
    if len(peaks) < 2 or not (np.diff(peaks) > 0).all() or not peaks[0] <= 0 or not peaks[-1] >= seconds:
        raise InputError(f"peaks must increase from 0 s or before to {seconds:g} s or after: add beats.")
    count, h = round(seconds * rate), 1 / rate
    pushed = np.zeros((count, waves.height.shape[-1]))
    for start in range(1, count, BLOCK):
        steps = np.arange(start, min(start + BLOCK, count))  # a step n goes from sample n - 1 to n
        for node in NODES:
            t = (steps - 1 + node) * h
            pushed[steps] += 0.5 * h * math.exp(-h * (1 - node)) * _slope(t, peaks, waves, which)
    from scipy.signal import lfilter

    z = np.asarray(lfilter([1.0], [1.0, -math.exp(-h)], pushed, axis=0))
    # The bounded solution of z' = -z + A sin(omega t + phase).
    omega = 2 * math.pi * breathing
    turned = omega * h * np.arange(count) + phase
    baseline = wander * (np.sin(turned) - omega * np.cos(turned)) / (1 + omega**2)
    return z + baseline[:, None]


def _slope(t: np.ndarray, peaks: np.ndarray, waves: Waves, which: np.ndarray) -> np.ndarray:
    """Return the waves' part of z' at times t, (T, C): those of the beat before and of the beat after."""
    before = np.clip(np.searchsorted(peaks, t, side="right") - 1, 0, len(peaks) - 2)
    interval = peaks[before + 1] - peaks[before]
    stretch = interval**-0.5
    total = 0.0
    for beat in (before, before + 1):
        theta = 2 * math.pi * (t - peaks[beat]) / interval
        kind = which[beat]
        width = waves.width[kind] * stretch[:, None]
        off = theta[:, None] - waves.angle[kind] * stretch[:, None]
        rise = off * np.exp(-0.5 * (off / width) ** 2) * (2 * math.pi / (width**2 * interval[:, None]))
        total = total - np.einsum("tw,twc->tc", rise, waves.height[kind])
    return np.asarray(total)
