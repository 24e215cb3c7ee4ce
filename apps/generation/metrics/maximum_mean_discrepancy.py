"""The maximum mean discrepancy of two samples under Gaussian kernels."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from integrand.apps.generation.metrics.distances import distance_blocks
from integrand.apps.generation.metrics.rows import Samples, as_rows, subsample
from integrand.core.errors import InputError

FACTORS = (0.5, 1.0, 2.0)
"""Bandwidths in units of the median distance, where none are given."""
MEDIAN_OF = 2000
"""Rows whose distances the median is taken of, at most."""


class MeanDiscrepancy(NamedTuple):
    """A discrepancy and what it depends on.

    Attributes:
        squared: the estimate of MMD^2, from about 0 to 2.
        bandwidths: those of the kernels.
    """

    squared: float
    bandwidths: tuple[float, ...]


def maximum_mean_discrepancy(
    generated: Samples, real: Samples, *, bandwidths: Sequence[float] | None = None
) -> MeanDiscrepancy:
    """Estimate the squared maximum mean discrepancy of two distributions from samples, without bias; 0 is the best.

        MMD^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y),      k(x, y) = mean_s exp(-|x - y|^2 / (2 s^2))

    each mean over pairs of different rows. Chance brings the estimate below 0 where the distributions are nearly equal.

    Args:
        generated: (N, D).
        real: (M, D); counts may differ.
        bandwidths: s; None for 1/2, 1 and 2 times the median distance of the real rows.

    Raises:
        InputError: see ``as_rows``; bandwidths that are not positive.

    Example:
        >>> made = maximum_mean_discrepancy(np.zeros((2, 1)), np.full((2, 1), 9.0), bandwidths=[1.0])
        >>> round(made.squared, 4)
        2.0

    Source: Gretton, Borgwardt, Rasch, Schoelkopf and Smola (2012), A kernel two-sample test, Eq. 3 (Lemma 6), and
    Section 8 for the median.
    """
    x, y = as_rows(generated=generated, real=real)
    if bandwidths is None:
        median = median_distance(y)
        bandwidths = [factor * median for factor in FACTORS]
    if not len(bandwidths) or not all(0 < width < math.inf for width in bandwidths):
        raise InputError(f"bandwidths must be positive and finite, one or more, got {list(bandwidths)}.")
    between = _kernel_sum(x, y, bandwidths) / (len(x) * len(y))
    # A row's kernel with itself is 1.
    within = [(_kernel_sum(rows, rows, bandwidths) - len(rows)) / (len(rows) * (len(rows) - 1)) for rows in (x, y)]
    return MeanDiscrepancy(sum(within) - 2 * between, tuple(map(float, bandwidths)))


def median_distance(rows: Samples, *, seed: int = 0) -> float:
    """Return the median of the distances between different rows; of more than 2000 rows, those of 2000 drawn by a seed.

    Raises:
        InputError: see ``as_rows``; more than half of the pairs are equal, so that it is 0.

    Example:
        >>> median_distance(np.array([[0.0], [1.0], [3.0]]))
        2.0
    """
    (x,) = as_rows(rows=rows)
    x = subsample(x, min(len(x), MEDIAN_OF), seed=seed)
    whole = np.concatenate([block.cpu().numpy() for _, block in distance_blocks(x, x)])
    median = float(np.median(whole[np.triu_indices(len(x), k=1)]))
    if median == 0:
        raise InputError("half of the real rows or more are equal, so that the median distance is 0: give bandwidths.")
    return median


def _kernel_sum(x: Tensor, y: Tensor, bandwidths: Sequence[float]) -> float:
    total = 0.0
    for _, block in distance_blocks(x, y):
        squared = block.square_()
        total += sum((squared * (-0.5 / width**2)).exp_().sum().item() for width in bandwidths)
    return total / len(bandwidths)
