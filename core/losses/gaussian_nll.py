"""The negative log-likelihood of a Gaussian."""

import math

from torch import Tensor


def gaussian_nll(mean: Tensor, std: Tensor, observed: Tensor) -> Tensor:
    """Return -log N(observed; mean, std^2) of each element, in nats, with its constant.

        -log p = log std + z^2 / 2 + log(2 pi) / 2,      z = (observed - mean) / std

    Example:
        >>> import torch
        >>> round(gaussian_nll(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.0)).item(), 6)
        0.918939

    Source: any text on probability; the constant is kept so that values compare across models.
    """
    z = (observed - mean) / std
    return std.log() + 0.5 * z**2 + 0.5 * math.log(2 * math.pi)
