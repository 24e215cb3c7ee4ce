"""The continuous ranked probability score of a Gaussian forecast."""

import math

import torch
from torch import Tensor


def gaussian_crps(mean: Tensor, std: Tensor, observed: Tensor) -> Tensor:
    """Score the forecast N(mean, std^2) against what was observed; lower is better, in the units of the observation.

        CRPS = std [ z (2 Phi(z) - 1) + 2 phi(z) - 1/sqrt(pi) ],      z = (observed - mean) / std

    For std -> 0 it becomes the absolute error. It is proper, and unlike the log score it grows only linearly with an
    outlier's distance.

    Args:
        mean: forecast mean, any shape.
        std: forecast standard deviation, positive.
        observed: what happened, same shape.

    Returns:
        The score of each element.

    Example:
        >>> round(gaussian_crps(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0)).item(), 6)
        0.233695

    Source: Gneiting and Raftery (2007), Strictly proper scoring rules, Eq. 21.
    """
    z = (observed - mean) / std
    cdf = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return std * (z * (2 * cdf - 1) + 2 * density - 1 / math.sqrt(math.pi))
