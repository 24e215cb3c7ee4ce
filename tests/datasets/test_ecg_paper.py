"""The simulator against the paper: the rhythm read back from the trace, and the trace from the closed form."""

import math

import numpy as np
import torch
from scipy.signal import find_peaks, periodogram

from integrand.core.fields.cardiac_cycle import solve_on_circle
from integrand.datasets.synthetic.ecg.beats import ANGLES, LEAD_II, R_PEAK, WIDTHS
from integrand.datasets.synthetic.ecg.dipole import Waves, voltages
from integrand.datasets.synthetic.ecg.heart_rate import BREATHING, MAYER, rr_intervals

HEIGHTS = R_PEAK / LEAD_II[2] * np.array(LEAD_II)
PUBLISHED = Waves(np.array([ANGLES]), np.array([WIDTHS]), HEIGHTS[None, :, None])
RATE = 256.0
"""Hz, the paper's."""


def trace(intervals: np.ndarray, seconds: float, rate: float = RATE, wander: float = 0.15) -> np.ndarray:
    """The voltage of one lead, from three seconds after the first beat on."""
    peaks = np.cumsum(intervals) - intervals[0] - 3.0
    return voltages(peaks, PUBLISHED, np.zeros(len(peaks), int), seconds=seconds, rate=rate, wander=wander)[:, 0]


def tachogram(z: np.ndarray) -> np.ndarray:
    """Intervals between the R waves of a trace, each placed by a parabola through its highest samples."""
    top, _ = find_peaks(z, height=R_PEAK / 2, distance=round(0.3 * RATE))
    before, at, after = z[top - 1], z[top], z[top + 1]
    return np.diff(top + 0.5 * (before - after) / (before - 2 * at + after)) / RATE


def test_the_rhythm_asked_for_is_read_back_from_the_trace():
    """Sixty beats a minute with a deviation of five, the ratio of bands 0.5: half an hour of it."""
    drawn = rr_intervals(1900, np.random.default_rng(0), mean=1.0, deviation=5 / 60, ratio=0.5)
    found = tachogram(trace(drawn, 1800.0))
    # Baseline and the change of speed at a peak move it by under a millisecond.
    lag = min(range(8), key=lambda k: np.abs(found[:1000] - drawn[k : k + 1000]).max())
    assert np.abs(found - drawn[lag : lag + len(found)]).max() < 2e-3
    # The half of a periodic draw that is taken has 300 waves of the two bands: 6 % of a standard deviation.
    assert abs(60 / found.mean() - 60) < 0.1
    assert abs(found.std() * 60 - 5) < 0.5
    frequency, power = periodogram(found, 1 / found.mean())
    low, high = (frequency > 0.04) & (frequency < 0.15), (frequency >= 0.15) & (frequency < 0.4)
    assert abs(power[low].sum() / power[high].sum() - 0.5) < 0.15
    for band, centre in ((low, MAYER), (high, BREATHING)):
        assert abs((frequency[band] * power[band]).sum() / power[band].sum() - centre) < 0.005


def test_the_trace_is_the_closed_form_of_the_equation():
    """At one beat a second, with the waves of the beats beside; the simulator steps by Gauss' rule instead."""
    rate = 1000.0
    z = trace(np.ones(12), 6.0, rate, wander=0.0)
    beat = 3  # seconds of a peak inside
    t = np.arange(-400, 500) / rate
    args = tuple(
        torch.tensor(np.concatenate([each + 2 * math.pi * k * turns for k in (-1, 0, 1)])[None, :, None])
        for each, turns in (
            (np.array(ANGLES), 1),
            (np.array(WIDTHS), 0),
            (HEIGHTS * 2 * math.pi / np.array(WIDTHS) ** 2, 0),
        )
    )
    speed, baseline = torch.tensor([2 * math.pi], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    places = round(beat * rate) + np.arange(-400, 500)
    start = torch.tensor([[z[places[0]]]])
    exact = solve_on_circle(torch.from_numpy(t), start, (*args, speed, baseline))  # pyright: ignore[reportArgumentType]
    assert np.abs(exact[0, :, 0].numpy() - z[places]).max() < 5e-8


def test_every_wave_peaks_near_its_angle():
    """At one beat a second, theta / (2 pi): P, R and T within 3 ms, Q and S up to 6 ms further out."""
    z = trace(np.ones(12), 6.0, 4096.0, wander=0.0)
    found = []
    for (first, last), sign in zip(
        ((-0.3, -0.1), (-0.1, -0.01), (-0.05, 0.05), (0.01, 0.1), (0.12, 0.4)), (1, -1, 1, -1, 1), strict=True
    ):
        places = 3 * 4096 + np.arange(round(first * 4096), round(last * 4096))
        found.append(places[(sign * z[places]).argmax()] / 4096 - 3)
    off = np.array(found) - np.array(ANGLES) / (2 * math.pi)
    assert np.abs(off[[0, 2, 4]]).max() < 3e-3
    assert -6e-3 < off[1] < 0 < off[3] < 6e-3
