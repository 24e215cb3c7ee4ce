"""The variance-preserving process dx = -beta/2 x dt + sqrt(beta) dW written out in numbers, beta = 0.1 + 19.9 t."""

import numpy as np

from integrand.core.diffusion import VP

START, END = 0.01, 1.0
PROCESS = VP(start=START, end=END)


def beta(t: float) -> float:
    """Return the rate of the noise."""
    return 0.1 + 19.9 * t


def alpha(t: float) -> float:
    """Return the share of the data in x_t, exp of minus half the integral of beta."""
    return float(np.exp(-0.05 * t - 19.9 * t**2 / 4))


def sigma(t: float) -> float:
    """Return the standard deviation of the noise in x_t."""
    return float(np.sqrt(1 - alpha(t) ** 2))
