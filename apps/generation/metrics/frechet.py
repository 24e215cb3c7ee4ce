"""The Frechet distance of two Gaussians, and of those fitted to samples."""

import torch
from torch import Tensor

from integrand.apps.generation.metrics.rows import Samples, as_rows
from integrand.core.errors import InputError

ROUNDING = 1e-8
"""How far below 0, in units of the largest, an eigenvalue of a covariance may lie by rounding."""


def frechet_distance(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Return the squared Frechet distance of two Gaussians, which is their squared 2-Wasserstein distance.

        d^2 = |m_a - m_b|^2 + tr( A + B - 2 (A^(1/2) B A^(1/2))^(1/2) )

    The trace is formed as the least |A^(1/2) - U B^(1/2)|_F^2 over orthogonal U, from symmetric eigenvalues and one
    singular value decomposition: nothing becomes complex, nothing large cancels, covariances may be singular, and
    the result is never below 0.

    Args:
        mean_a, mean_b: (D,), float64.
        covariance_a, covariance_b: (D, D), symmetric, no eigenvalue below 0.

    Raises:
        InputError: shapes that do not fit, a covariance that is none.

    Example:
        >>> one, zero = torch.eye(2).double(), torch.zeros(2).double()
        >>> round(frechet_distance(zero, one, zero + 3, 4 * one), 12)  # 2 (3^2 + (1 - 2)^2)
        20.0

    Source: Dowson and Landau (1982), The Frechet distance between multivariate normal distributions; for the
    least over U Bhatia, Jain and Lim (2019), On the Bures-Wasserstein distance between positive definite matrices,
    Theorem 1.
    """
    root_a, root_b = _root(covariance_a, mean_a), _root(covariance_b, mean_b)
    if mean_a.shape != mean_b.shape:
        raise InputError(f"the means are of {len(mean_a)} and {len(mean_b)} numbers: give Gaussians of one dimension.")
    left, _, right = torch.linalg.svd(root_a @ root_b)
    apart = root_a - left @ right @ root_b
    return ((mean_a - mean_b).square().sum() + apart.square().sum()).item()


def frechet_between_samples(generated: Samples, real: Samples) -> float:
    """Return the squared Frechet distance of the Gaussians fitted to two samples; 0 is the best.

    It sees means and covariances alone. It is biased upwards, by an amount that falls as 1/N and depends on what was
    sampled, so that values compare only at equal N, and each beside its floor: what two sets of real rows of that size
    have.

    Args:
        generated: (N, D), rows or features of them.
        real: (M, D).

    Raises:
        InputError: see ``as_rows``.

    Example:
        >>> import numpy as np
        >>> round(frechet_between_samples(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 12)
        9.0

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017), GANs trained by a two time-scale update rule
    converge to a local Nash equilibrium, Eq. 6; on the bias Chong and Forsyth (2020), Effectively unbiased FID and
    Inception Score and where to find them.
    """
    x, y = as_rows(generated=generated, real=real)
    # torch.cov gives a number for a single column.
    return frechet_distance(
        *(each for rows in (x, y) for each in (rows.mean(0), torch.cov(rows.T).view(rows.shape[1], rows.shape[1])))
    )


def _root(covariance: Tensor, mean: Tensor) -> Tensor:
    """Return the symmetric square root, (D, D)."""
    if mean.dim() != 1 or covariance.shape != (len(mean), len(mean)):
        raise InputError(
            f"a Gaussian has a mean (D,) and a covariance (D, D), got {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}."
        )
    if not torch.allclose(covariance, covariance.T, rtol=ROUNDING, atol=ROUNDING * covariance.abs().max().item()):
        raise InputError("a covariance must be symmetric: form it as torch.cov(rows.T), in float64.")
    values, vectors = torch.linalg.eigh(covariance)
    least, most = values[0].item(), values[-1].item()
    if least < -ROUNDING * max(most, 0.0):
        raise InputError(f"a covariance has no eigenvalue below 0, and this one has {least:.3g}: form it in float64.")
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
