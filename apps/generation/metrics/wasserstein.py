"""Wasserstein distances of two samples: exact by assignment, and sliced.

Dimension letters: N rows of each, D numbers of each, P projections.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from integrand.apps.generation.metrics.rows import Samples, as_rows, require_equal_counts
from integrand.core.errors import InputError

BLOCK = 1 << 23
"""Numbers of projected rows that are sorted at a time."""


class SlicedWasserstein(NamedTuple):
    """Wasserstein distances along lines.

    Attributes:
        mean: the root of the mean over directions of the squared distances, the sliced distance.
        largest: the largest of them; the max-sliced distance is no less.
        projections: P.
    """

    mean: float
    largest: float
    projections: int


def wasserstein_distance(generated: Samples, real: Samples) -> float:
    """Return the 2-Wasserstein distance of two samples of equal size, exactly; 0 is the best.

        W_2 = ( min_s 1/N sum_i |x_i - y_s(i)|^2 )^(1/2),      s a permutation

    It is exact for the samples. As an estimate for the distributions that they come from it is too large: two samples
    of one distribution are N^(-1/D) or so apart, a floor that has to be told beside it. It takes 8 N^2 bytes and time
    that grows as N^3.

    Args:
        generated: (N, D).
        real: (N, D).

    Raises:
        InputError: see ``as_rows``; there are not as many of both.

    Example:
        >>> import numpy as np
        >>> wasserstein_distance(np.array([[0.0], [5.0]]), np.array([[6.0], [1.0]]))
        1.0

    Source: Peyre and Cuturi (2019), Computational optimal transport, Section 2.2; solved by the assignment of Crouse
    (2016), On implementing 2D rectangular assignment algorithms, as scipy has it.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    x, y = as_rows(generated=generated, real=real, least=1)
    require_equal_counts(generated=x, real=y)
    cost = cdist(x.cpu().numpy(), y.cpu().numpy(), "sqeuclidean")
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean() ** 0.5)


def sliced_wasserstein(
    generated: Samples, real: Samples, *, projections: int = 256, seed: int = 0
) -> SlicedWasserstein:
    """Return 2-Wasserstein distances of two samples along random lines, their mean and the largest; 0 is the best.

        SW_2 = ( 1/P sum_p W_2(x . e_p, y . e_p)^2 )^(1/2),      e_p uniform on the unit sphere

    where the distance along a line is that of the sorted values. A shift by m has W_2 = |m| and SW_2 = |m| / sqrt(D):
    compare values of one D alone.

    Args:
        generated: (N, D).
        real: (N, D).
        projections: P.
        seed: of the directions, which are drawn on the host and so are the same on every device.

    Raises:
        InputError: see ``as_rows``; there are not as many of both; ``projections`` below 1.

    Example:
        >>> import numpy as np
        >>> sliced_wasserstein(np.array([[0.0], [5.0]]), np.array([[6.0], [1.0]]), projections=2)
        SlicedWasserstein(mean=1.0, largest=1.0, projections=2)

    Source: Bonneel, Rabin, Peyre and Pfister (2015), Sliced and Radon Wasserstein barycenters of measures; the largest:
    Deshpande et al. (2019), Max-sliced Wasserstein distance and its use for GANs.
    """
    x, y = as_rows(generated=generated, real=real, least=1)
    count = require_equal_counts(generated=x, real=y)
    if projections < 1:
        raise InputError(f"projections must be at least 1, got {projections}.")
    directions = _directions(x, projections, seed)
    at_a_time = max(1, BLOCK // count)
    squared = torch.cat(
        [
            ((x @ some).sort(0).values - (y @ some).sort(0).values).square().mean(0)
            for some in directions.split(at_a_time, dim=1)
        ]
    )
    return SlicedWasserstein(squared.mean().sqrt().item(), squared.max().sqrt().item(), projections)


def _directions(rows: Tensor, count: int, seed: int) -> Tensor:
    """Return unit vectors (D, P)."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, rows.shape[1], dtype=rows.dtype, generator=generator).to(rows.device)
    return torch.nn.functional.normalize(normal, dim=1).T
