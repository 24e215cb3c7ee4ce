"""The energy distance of two samples."""

from torch import Tensor

from integrand.apps.generation.metrics.distances import distance_blocks
from integrand.apps.generation.metrics.rows import Samples, as_rows


def energy_distance(generated: Samples, real: Samples) -> float:
    """Estimate the energy distance of two distributions from samples, without bias; 0 is the best.

        E = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    each mean over pairs of different rows, n (n - 1) of them within a sample. It is the square of a metric, in units of
    the data, and zero where the distributions are equal and nowhere else. The estimate has no bias, so that chance
    brings it below 0 where they are nearly equal.

    Args:
        generated: (N, D).
        real: (M, D); counts may differ.

    Raises:
        InputError: see ``as_rows``.

    Example:
        >>> import numpy as np
        >>> energy_distance(np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]]))  # 2 * 1.5 - 1 - 3
        -1.0

    Source: Szekely and Rizzo (2013), Energy statistics: a class of statistics based on distances; without bias as
    a U-statistic.
    """
    x, y = as_rows(generated=generated, real=real)
    between = _sum(x, y) / (len(x) * len(y))
    return 2 * between - sum(_sum(rows, rows) / (len(rows) * (len(rows) - 1)) for rows in (x, y))


def _sum(x: Tensor, y: Tensor) -> float:
    return sum(block.sum().item() for _, block in distance_blocks(x, y))
