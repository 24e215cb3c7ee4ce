"""The simulated electrocardiogram beside its paper: ``benchmarks/ecg_simulator.py``.

McSharry, Clifford, Tarassenko and Smith (2003) ask for a heart that beats 60 times a minute with a deviation of 5,
whose intervals have a spectrum of two bands at 0.1 and 0.25 Hz with a ratio of 0.5, and put five waves at given angles
of the beat. What was asked for is read back from half an hour of the signal at the paper's 256 Hz, as one would from a
measured one: R waves are found by their height, and their times by a parabola through three samples. The times of the
waves are those of the largest and smallest voltages at one beat a second, and the spectrum of that signal is held
against the one of the paper's three equations, solved in x, y and z by scipy. Each figure goes to ``published/`` as its
distance from the paper's, and both stand in the row's note.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
from rows import PUBLISHED, commit, machine, write_row
from scipy.integrate import solve_ivp
from scipy.signal import find_peaks, periodogram

from integrand.datasets.synthetic.ecg.beats import ANGLES, LEAD_II, R_PEAK, WIDTHS
from integrand.datasets.synthetic.ecg.dipole import WAVES, Waves, voltages
from integrand.datasets.synthetic.ecg.heart_rate import BREATHING, MAYER, RATIO, rr_intervals

HEIGHTS = R_PEAK / LEAD_II[2] * np.array(LEAD_II)
TABLE = Waves(np.array([ANGLES]), np.array([WIDTHS]), HEIGHTS[None, :, None])
RATE, SECONDS = 256.0, 1800.0
BEATS, DEVIATION = 60.0, 5.0
"""A minute."""
LOW, HIGH = (0.04, 0.15), (0.15, 0.4)
"""Hz, the bands of heart rate variability."""
AROUND = ((-0.3, -0.1), (-0.1, -0.01), (-0.05, 0.05), (0.01, 0.1), (0.12, 0.4))
"""Seconds about the R wave between which each wave is looked for."""
FINE = 4096.0
HARMONICS = 40
SOURCE = "McSharry, Clifford, Tarassenko and Smith (2003)"


def main() -> None:
    """Measure every figure for every seed and write the rows."""
    parser = argparse.ArgumentParser(description="The simulator beside its paper.", allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on (5)")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder of the rows (benchmarks/published)")
    given = parser.parse_args()
    measured_at, seeds = commit(), list(range(given.seeds))
    found, seconds = [], []
    for seed in seeds:
        began = time.perf_counter()
        found.append(rhythm(seed))
        seconds.append(round(time.perf_counter() - began, 1))
    shared = {
        "command": f"python benchmarks/ecg_simulator.py --seeds {given.seeds}",
        "commit": measured_at,
        "machine": machine(1),
        "dataset": "simulated_ecg",
        "better": "lower",
        "baselines": {},
        "published": None,
        "source": None,
    }
    for name, (asked, unit) in RHYTHM.items():
        values = [one[name] for one in found]
        told = ", ".join(f"{value:.4g}" for value in values)
        row = {
            **shared,
            "row": f"ecg_simulator_{name}",
            "split_hash": "none",
            "metric": f"{name}_error",
            "seeds": seeds,
            "ours": [round(abs(value - asked), 6) for value in values],
            "seconds": seconds,
            "note": f"simulated; distance in {unit} of what half an hour of signal shows, {told}, from what {SOURCE} "
            f"have, {asked:g}",
        }
        print(write_row(row, given.output))
    for row in (_times_row(), _spectrum_row()):
        print(write_row({**shared, **row, "split_hash": "none", "seeds": [0]}, given.output))


RHYTHM = {
    "heart_rate": (BEATS, "beats a minute"),
    "heart_rate_deviation": (DEVIATION, "beats a minute"),
    "lf_hf_ratio": (RATIO, "units of the ratio"),
    "lf_centre": (MAYER, "Hz"),
    "hf_centre": (BREATHING, "Hz"),
}
"""What the paper asks of the rhythm, and its units."""


def rhythm(seed: int) -> dict[str, float]:
    """Return what is read back from a signal of one seed, by the names of ``RHYTHM``."""
    generator = np.random.default_rng(seed)
    mean = 60 / BEATS
    drawn = rr_intervals(
        math.ceil(1.05 * SECONDS / mean) + 10, generator, mean=mean, deviation=mean * DEVIATION / BEATS, ratio=RATIO
    )
    found = tachogram(_trace(drawn, SECONDS, RATE, wander=0.15))
    frequency, power = periodogram(found, 1 / found.mean())
    low, high = ((frequency >= first) & (frequency < last) for first, last in (LOW, HIGH))
    return {
        "heart_rate": 60 / found.mean(),
        "heart_rate_deviation": float(found.std() / found.mean() ** 2 * 60),
        "lf_hf_ratio": float(power[low].sum() / power[high].sum()),
        "lf_centre": float((frequency[low] * power[low]).sum() / power[low].sum()),
        "hf_centre": float((frequency[high] * power[high]).sum() / power[high].sum()),
    }


def tachogram(z: np.ndarray) -> np.ndarray:
    """Return the intervals between the R waves of a signal at ``RATE``, s."""
    top, _ = find_peaks(z, height=R_PEAK / 2, distance=round(0.3 * RATE))
    before, at, after = z[top - 1], z[top], z[top + 1]
    return np.diff(top + 0.5 * (before - after) / (before - 2 * at + after)) / RATE


def wave_times() -> np.ndarray:
    """Return when each wave of ``WAVES`` is at its peak, s from R's angle, at one beat a second."""
    z = _trace(np.ones(12), 6.0, FINE, wander=0.0)
    found = []
    for (first, last), height in zip(AROUND, HEIGHTS, strict=True):
        places = round(3 * FINE) + np.arange(round(first * FINE), round(last * FINE))
        found.append(places[(np.sign(height) * z[places]).argmax()] / FINE - 3)
    return np.array(found)


def spectra() -> tuple[np.ndarray, np.ndarray]:
    """Return the amplitudes of the harmonics of one beat a second, ours and those of the paper's equations by scipy."""
    seconds, last, rate = 24, 4, 512.0
    strength = HEIGHTS * 2 * math.pi / np.array(WIDTHS) ** 2

    def slope(t: float, state: np.ndarray) -> list[float]:
        x, y, z = state
        pull, off = 1 - math.hypot(x, y), (math.atan2(y, x) - np.array(ANGLES) + math.pi) % (2 * math.pi) - math.pi
        pushed = float((strength * off * np.exp(-0.5 * (off / np.array(WIDTHS)) ** 2)).sum())
        return [pull * x - 2 * math.pi * y, pull * y + 2 * math.pi * x, -pushed - z]

    times = np.arange(round((seconds - last) * rate), round(seconds * rate)) / rate
    peers = solve_ivp(slope, (0, seconds), [1.0, 0.0, 0.0], t_eval=times, rtol=1e-9, atol=1e-11, max_step=4e-3).y[2]
    ours = _trace(np.ones(seconds + 8), float(seconds), rate, wander=0.0)[-last * round(rate) :]
    return tuple(np.abs(np.fft.rfft(each))[last : last * HARMONICS + 1 : last] / len(each) for each in (ours, peers))  # pyright: ignore[reportReturnType]


def _trace(intervals: np.ndarray, seconds: float, rate: float, *, wander: float) -> np.ndarray:
    """Return the voltage of lead II by the paper's table, from three seconds after the first beat on."""
    peaks = np.cumsum(intervals) - intervals[0] - 3.0
    return voltages(peaks, TABLE, np.zeros(len(peaks), int), seconds=seconds, rate=rate, wander=wander)[:, 0]


def _times_row() -> dict:
    began = time.perf_counter()
    found, asked = wave_times(), np.array(ANGLES) / (2 * math.pi)
    told = ", ".join(f"{name} {a:.4f} ({b:.4f})" for name, a, b in zip(WAVES, found, asked, strict=True))
    return {
        "row": "ecg_simulator_wave_times",
        "metric": "wave_time_error",
        "ours": [round(float(np.abs(found - asked).max()), 6)],
        "seconds": [round(time.perf_counter() - began, 1)],
        "note": f"simulated; the largest distance in s of a wave's peak, at one beat a second, from its angle in "
        f"Table I of {SOURCE} over 2 pi: {told}; Q and S stand on the flanks of R and are least further out",
    }


def _spectrum_row() -> dict:
    began = time.perf_counter()
    ours, peers = spectra()
    return {
        "row": "ecg_simulator_spectrum",
        "metric": "spectrum_error",
        "ours": [float(f"{np.abs(ours - peers).max() / peers.max():.3g}")],
        "seconds": [round(time.perf_counter() - began, 1)],
        "note": f"simulated; the largest difference of the amplitudes of harmonics 1 to {HARMONICS} at one beat a "
        f"second, over the largest amplitude, from those of Eq. 1 of {SOURCE} solved in x, y and z by scipy",
    }


if __name__ == "__main__":
    main()
