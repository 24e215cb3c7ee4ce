"""What nearest neighbours say of samples: precision and recall, density and coverage, copies of the training rows.

Dimension letters: N generated rows, M real rows.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from integrand.apps.generation.metrics.distances import distance_blocks
from integrand.apps.generation.metrics.rows import Samples, as_rows
from integrand.core.errors import InputError


class PrecisionRecall(NamedTuple):
    """Shares of rows within the other sample's manifold.

    Attributes:
        precision: share of generated rows among the real ones.
        recall: share of real rows among the generated ones.
        k: of the neighbours whose distance is the radius.
    """

    precision: float
    recall: float
    k: int


class DensityCoverage(NamedTuple):
    """How full and how many of the real rows' neighbourhoods are.

    Attributes:
        density: generated rows in a real row's neighbourhood, in units of what equal distributions have: 1 on the mean.
        coverage: share of the real rows that have a generated one in their neighbourhood.
        k: of the neighbours whose distance is the radius.
    """

    density: float
    coverage: float
    k: int


class NearestTraining(NamedTuple):
    """How far generated rows are from what the model was trained on, and how far unseen real ones are.

    Attributes:
        distances: from each generated row to its nearest training row, (N,).
        rows: the number of that row among the training rows, (N,).
        real_distances: from each real row that no model saw to its nearest training row, (M,).
        median: of ``distances``.
        real_median: of ``real_distances``.
        ratio: ``median / real_median``: 1 is as far as unseen rows are, well below 1 are copies.
        copies: how many generated rows are a training row, number by number.
        real_copies: how many of the unseen real rows are.
    """

    distances: Tensor
    rows: Tensor
    real_distances: Tensor
    median: float
    real_median: float
    ratio: float
    copies: int
    real_copies: int


def precision_recall(generated: Samples, real: Samples, *, k: int = 3) -> PrecisionRecall:
    """Return the shares of generated rows among the real ones and of real ones among the generated; 1 is the best.

        precision = share of generated x with |x - y_j| <= r_j for some real y_j,
        r_j = the distance of y_j to its k-th nearest other real row

    and recall with the two samples exchanged. Both rise with the number of rows and with k: compare values of one k
    and of equal numbers, beside those of training rows against held-out ones.

    Args:
        generated: (N, D).
        real: (M, D).
        k: at least 1, and below N and M.

    Raises:
        InputError: see ``as_rows``; k does not fit.

    Example:
        >>> import numpy as np
        >>> line = np.arange(4.0)[:, None]
        >>> precision_recall(np.array([[0.5], [1.5], [9.0]]), line, k=1)
        PrecisionRecall(precision=0.6666666666666666, recall=1.0, k=1)

    Source: Kynkaanniemi, Karras, Laine, Lehtinen and Aila (2019), Improved precision and recall metric for assessing
    generative models, Eq. 1 and 2.
    """
    x, y = as_rows(generated=generated, real=real)
    return PrecisionRecall(
        _counts_within(x, y, _radii("real", y, k)).bool().double().mean().item(),
        _counts_within(y, x, _radii("generated", x, k)).bool().double().mean().item(),
        k,
    )


def density_coverage(generated: Samples, real: Samples, *, k: int = 5) -> DensityCoverage:
    """Return how full real rows' neighbourhoods are of generated ones, and the share that holds one; 1 is the best.

        density = 1/(k N) sum_ij [ |x_i - y_j| <= r_j ],      coverage = 1/M sum_j [ some |x_i - y_j| <= r_j ],
        r_j = the distance of y_j to its k-th nearest other real row

    Where both samples come from one density, the mean of density is 1 and that of coverage is
    1 - prod_i (M - i) / (N + M - i), i = 1 to k. One outlier among the real rows, which makes the precision of all that
    lies within its large ball 1, has little weight here.

    Args:
        generated: (N, D).
        real: (M, D).
        k: at least 1, and below M.

    Raises:
        InputError: see ``as_rows``; k does not fit.

    Example:
        >>> import numpy as np
        >>> density_coverage(np.array([[0.5], [1.5]]), np.arange(4.0)[:, None], k=1)
        DensityCoverage(density=2.0, coverage=0.75, k=1)

    Source: Naeem, Oh, Uh, Choi and Yoo (2020), Reliable fidelity and diversity metrics for generative models,
    Section 3.
    """
    x, y = as_rows(generated=generated, real=real)
    radii = _radii("real", y, k)
    inside, reached = 0, torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for _, block in distance_blocks(x, y):
        within = block <= radii
        inside += int(within.sum())
        reached |= within.any(0)
    return DensityCoverage(inside / (k * len(x)), reached.double().mean().item(), k)


def nearest_training(generated: Samples, train: Samples, real: Samples) -> NearestTraining:
    """Return how near generated rows come to training rows, beside how near unseen real rows come to them.

        ratio = median_i min_j |x_i - t_j| / median_i min_j |y_i - t_j|

    for generated x, training t and real y that the model was not trained on.

    Args:
        generated: (N, D).
        train: the training rows, all of them.
        real: (M, D), held out.

    Raises:
        InputError: see ``as_rows``; half of the real rows or more are training rows, so that there is no scale.

    Example:
        >>> import numpy as np
        >>> made = nearest_training(np.array([[0.0], [1.0]]), np.array([[0.0], [10.0]]), np.array([[2.0], [12.0]]))
        >>> made.median, made.ratio, made.copies
        (0.5, 0.25, 1)

    Source: the check for copies of Heusel et al. (2017) and others, as a ratio.
    """
    x, t, y = as_rows(generated=generated, train=train, real=real, least=1)
    (near, rows), (real_near, _) = _nearest(x, t), _nearest(y, t)
    median, real_median = near.quantile(0.5).item(), real_near.quantile(0.5).item()
    if real_median == 0:
        raise InputError("half of the real rows or more are training rows: give rows that the model did not see.")
    copies, real_copies = (int((distances == 0).sum()) for distances in (near, real_near))
    return NearestTraining(near, rows, real_near, median, real_median, median / real_median, copies, real_copies)


def _radii(what: str, rows: Tensor, k: int) -> Tensor:
    """Return each row's distance to its k-th nearest other row, (N,)."""
    if not 1 <= k < len(rows):
        raise InputError(f"k must be at least 1 and below the {len(rows)} rows of {what}, got {k}: give more rows.")
    # The row itself, at distance 0, is among them: of the k + 1 nearest the last is the k-th other.
    return torch.cat([block.kthvalue(k + 1, dim=1).values for _, block in distance_blocks(rows, rows)])


def _counts_within(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Return of each x how many balls it lies in, (N,)."""
    return torch.cat([(block <= radii).sum(1) for _, block in distance_blocks(x, centres)])


def _nearest(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return each x's distance to its nearest row, and which that is, the first of equal ones; (N,) each."""
    least = [block.min(1) for _, block in distance_blocks(x, rows)]
    return torch.cat([each.values for each in least]), torch.cat([each.indices for each in least])
