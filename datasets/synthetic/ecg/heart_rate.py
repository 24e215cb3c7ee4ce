"""Intervals between heart beats with the two rhythms that a resting heart has."""

import math

import numpy as np

from integrand.core.errors import InputError

MAYER, BREATHING = 0.1, 0.25
"""Hz: the wave of blood pressure, and breathing at fifteen a minute."""
WIDTH = 0.01
"""Hz, standard deviation of either band."""
RATIO = 0.5
"""Power of the lower band over that of the higher."""
SHORTEST = 0.3
"""Seconds; an interval below is set to it."""


def rr_intervals(
    count: int,
    generator: np.random.Generator,
    *,
    mean: float = 1.0,
    deviation: float = 0.05,
    ratio: float = RATIO,
    breathing: float = BREATHING,
) -> np.ndarray:
    """Draw intervals between beats, (count,), in seconds, whose power spectrum has a band of two rhythms.

        S(f) = p_1 N(f; f_1, c) + p_2 N(f; f_2, c),     p_1 / p_2 = ratio

    A normal process of this spectrum, drawn by random phases and amplitudes sqrt(S), is sampled at the mean interval
    and given the mean and the standard deviation asked for.

    Args:
        count: how many, at least 1.
        generator: of random numbers.
        mean, deviation: of the intervals, s.
        ratio: p_1 / p_2, low over high frequency.
        breathing: f_2, Hz.

    Raises:
        InputError: a number is out of range.

    Source: McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating synthetic
    electrocardiogram signals, Eq. 2 and Section III-B.
    """
    if count < 1 or not mean > 0 or not deviation >= 0 or not ratio >= 0:
        raise InputError(
            f"count={count}, mean={mean:g}, deviation={deviation:g} or ratio={ratio:g} is out of range: count must be "
            "at least 1, mean above 0 and the others not negative."
        )
    # Twice as long as needed and cut, since what is drawn this way is periodic; at least 16 periods of the slow rhythm.
    length = 2 * max(count, math.ceil(16 / (MAYER * mean)))
    frequency = np.fft.rfftfreq(length, mean)
    share = ratio / (1 + ratio)
    power = share * _band(frequency, MAYER) + (1 - share) * _band(frequency, breathing)
    phase = generator.uniform(0, 2 * np.pi, len(frequency))
    drawn = np.fft.irfft(np.sqrt(power) * np.exp(1j * phase), length)
    drawn = (drawn - drawn.mean()) / max(drawn.std(), np.finfo(float).tiny)
    return np.maximum(mean + deviation * drawn[:count], SHORTEST)


def fibrillating_intervals(
    count: int, generator: np.random.Generator, *, mean: float = 0.7, variation: float = 0.24
) -> np.ndarray:
    """Draw intervals of atrial fibrillation, (count,), in seconds: independent of each other, by a gamma distribution.

    Args:
        count: how many.
        generator: of random numbers.
        mean: s.
        variation: standard deviation over the mean.

    Source: Tateno and Glass (2001), Automatic detection of atrial fibrillation using the coefficient of variation and
    density histograms of RR and delta RR intervals.
    """
    if count < 1 or not mean > 0 or not variation > 0:
        raise InputError(f"count={count}, mean={mean:g} and variation={variation:g} must all be above 0.")
    shape = 1 / variation**2
    return np.maximum(generator.gamma(shape, mean / shape, count), SHORTEST)


def _band(frequency: np.ndarray, centre: float) -> np.ndarray:
    return np.exp(-0.5 * ((frequency - centre) / WIDTH) ** 2)
