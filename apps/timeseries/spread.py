"""The deviation of a point forecast or imputation, from its errors."""

import numpy as np
import torch

from integrand.core.losses import gaussian_crps

Array = np.ndarray
FACTORS = np.linspace(0.4, 1.2, 17)
LEAST = 0.05
"""Least deviation of a bin, as a share of that of all: a few errors that happen to be small are no certainty."""


def spread(errors: Array, bins: Array, count: int) -> Array:
    """Return the standard deviation of errors in each bin, scaled together for the best ranked probability score.

    Errors have heavier tails than a Gaussian, whose best deviation is then less than theirs.

    Args:
        errors: (R,).
        bins: (R,) whole numbers from 0 to ``count`` - 1.
        count: number of bins; one with fewer than two errors has the deviation of all.

    Returns:
        (count,), positive.

    Example:
        >>> spread(np.array([1.0, -1.0, 2.0, -2.0]), np.array([0, 0, 1, 1]), 3).argmax()
        1
    """
    square, number = (np.bincount(bins, weights, count) for weights in (errors.astype(np.float64) ** 2, None))
    pooled = np.sqrt(square.sum() / max(1, len(errors)))
    std = np.where(number > 1, np.sqrt(square / np.maximum(number, 1)), pooled)
    std = np.maximum(std, LEAST * pooled) + 1e-6
    if not len(errors):
        return np.ones(count)
    e, wide = torch.from_numpy(errors.astype(np.float64)), torch.from_numpy(std[bins])
    zero = torch.zeros_like(e)
    return std * FACTORS[np.argmin([gaussian_crps(zero, f * wide, e).mean().item() for f in FACTORS])]
