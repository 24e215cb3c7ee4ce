"""Noise and gaps as they come into an electrocardiogram: muscles, breathing, electrodes, the mains, lost contact.

Dimension letters: L samples, K kinds of noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from integrand.core.errors import InputError, unknown

WANDER = (0.05, 0.5)
"""Hz, the band of the baseline's wander: breathing, and slower."""
WANDERING = 8
"""Sines that a wander is the sum of."""
MOTION_SECONDS = 0.5
"""Decay of an electrode's motion."""
SMOOTHED_SECONDS = 0.06
"""Window by which an electrode's motion is smoothed."""


class Corrupted(NamedTuple):
    """A signal with noise and gaps.

    Attributes:
        signal: (L,) float64, 0 in the gaps.
        observed: (L,) bool, False in the gaps.
        snr: the power of the clean signal about its mean over that of the noise, dB.
    """

    signal: np.ndarray
    observed: np.ndarray
    snr: float


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Draws noise of several kinds at a drawn signal-to-noise ratio, and gaps.

        noisy = clean + g sum_k sqrt(w_k) n_k,      10 log10(var(clean) / mean((noisy - clean)^2)) = snr,

    where each n_k has the power 1, the shares w are drawn evenly among all that sum to 1 (a flat Dirichlet
    distribution), the ratio is drawn evenly from its range, and g is what makes it hold in this very piece of signal.

    - ``white``: independent normal numbers, as of muscles.
    - ``wander``: sines of 0.05 to 0.5 Hz, as of breathing.
    - ``motion``: a random walk that decays in half a second, smoothed: an electrode that moves. Its band is that of the
      waves of the heart.
    - ``mains``: a sine of 50 or 60 Hz whose amplitude slowly changes.

    Attributes:
        snr: least and greatest ratio, dB.
        kinds: of noise, names in ``KINDS``.
        mains: Hz, of which one is drawn each time.
        gaps: largest share of samples that is missing; the share is drawn evenly from 0 on.
        gap_seconds: shortest and longest gap; the logarithm is drawn evenly.

    Raises:
        InputError: a number out of range, a kind that there is not.

    Example:
        >>> clean = np.sin(np.arange(1000) / 20)
        >>> found = Corruption(snr=(6, 6), gaps=0.0).draw(clean, 125.0, np.random.default_rng(0))
        >>> noise = found.signal - clean
        >>> round(10 * math.log10(clean.var() / np.mean(noise**2)), 6)
        6.0

    Source: the kinds are those of Moody, Muldrow and Mark (1984), A noise stress test for arrhythmia detectors; how
    they are drawn is ours.
    """

    snr: tuple[float, float] = (0.0, 18.0)
    kinds: tuple[str, ...] = ("white", "wander", "motion", "mains")
    mains: tuple[float, ...] = (50.0, 60.0)
    gaps: float = 0.1
    gap_seconds: tuple[float, float] = (0.1, 1.0)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("kind of noise", kind, KINDS)
        if not self.kinds:
            raise InputError(f"kinds of noise are missing: name one or more of {', '.join(KINDS)}.")
        low, high = self.snr
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise InputError(f"snr=({low:g}, {high:g}) is out of range: it must be a least and a greatest ratio in dB.")
        if not 0 <= self.gaps <= 0.5:
            raise InputError(f"gaps={self.gaps:g} is out of range: it must be a share from 0 to 0.5.")
        if not 0 < self.gap_seconds[0] <= self.gap_seconds[1]:
            raise InputError(f"gap_seconds={self.gap_seconds} is out of range: shortest and longest must be above 0 s.")
        if not self.mains or not min(self.mains) > 0:
            raise InputError(f"mains={self.mains} is out of range: frequencies must be above 0 Hz.")

    def draw(self, clean: np.ndarray, rate: float, generator: np.random.Generator) -> Corrupted:
        """Return a signal (L,) with noise and gaps.

        Args:
            clean: (L,) without a missing value.
            rate: Hz.
            generator: of random numbers.

        Raises:
            InputError: the signal has a missing value, or is flat, so that there is no ratio; mains at or above half
                the rate.
        """
        power = float(np.var(clean))
        if not power > 0 or not np.isfinite(clean).all():
            raise InputError("noise has a ratio to a signal that is neither flat nor missing: leave others out.")
        snr = float(generator.uniform(*self.snr))
        shares = generator.dirichlet(np.ones(len(self.kinds)))
        noise = np.zeros(len(clean))
        for kind, share in zip(self.kinds, shares, strict=True):
            drawn = KINDS[kind](self, len(clean), rate, generator)
            noise += math.sqrt(share / np.mean(drawn**2)) * drawn
        noise *= math.sqrt(power / 10 ** (snr / 10) / np.mean(noise**2))
        observed = self._observed(len(clean), rate, generator)
        return Corrupted(np.where(observed, clean + noise, 0.0), observed, snr)

    def _observed(self, count: int, rate: float, generator: np.random.Generator) -> np.ndarray:
        observed = np.ones(count, dtype=bool)
        missing = round(generator.uniform(0, self.gaps) * count)
        low, high = (math.log(seconds * rate) for seconds in self.gap_seconds)
        while missing > 0:
            length = min(missing, max(1, round(math.exp(generator.uniform(low, high)))), count)
            first = int(generator.integers(count - length + 1))
            observed[first : first + length] = False
            missing -= length
        return observed

    def _white(self, count: int, rate: float, generator: np.random.Generator) -> np.ndarray:
        return generator.standard_normal(count)

    def _wander(self, count: int, rate: float, generator: np.random.Generator) -> np.ndarray:
        t = np.arange(count) / rate
        frequency = np.exp(generator.uniform(math.log(WANDER[0]), math.log(WANDER[1]), WANDERING))
        phase = generator.uniform(0, 2 * math.pi, WANDERING)
        sizes = generator.standard_normal(WANDERING)
        return sizes @ np.sin(2 * math.pi * frequency[:, None] * t + phase[:, None])

    def _motion(self, count: int, rate: float, generator: np.random.Generator) -> np.ndarray:
        from scipy.signal import lfilter

        width = max(1, round(SMOOTHED_SECONDS * rate))
        window = np.hanning(width + 2)[1:-1]
        before = round(5 * MOTION_SECONDS * rate)  # the walk begins long enough ago to be at rest
        steps = generator.standard_normal(before + count + width - 1)
        walk = np.asarray(lfilter([1.0], [1.0, -math.exp(-1 / (MOTION_SECONDS * rate))], steps))[before:]
        return np.convolve(walk, window / window.sum(), mode="valid")

    def _mains(self, count: int, rate: float, generator: np.random.Generator) -> np.ndarray:
        frequency = float(generator.choice(np.array(self.mains)))
        if frequency >= rate / 2:
            raise InputError(
                f"mains of {frequency:g} Hz cannot be had at {rate:g} Hz, it must be above twice as much: take a "
                "higher rate, or name other kinds of noise."
            )
        t = np.arange(count) / rate
        size = 1 + 0.3 * np.sin(2 * math.pi * 0.1 * t + generator.uniform(0, 2 * math.pi))
        return size * np.sin(2 * math.pi * frequency * t + generator.uniform(0, 2 * math.pi))


KINDS: dict[str, Callable[[Corruption, int, float, np.random.Generator], np.ndarray]] = {
    "white": Corruption._white,
    "wander": Corruption._wander,
    "motion": Corruption._motion,
    "mains": Corruption._mains,
}
"""Kinds of noise by name, each as it is drawn."""
