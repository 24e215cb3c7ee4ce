"""Weights that make a residual be learned in the order of time."""

import torch
from torch import Tensor


def causal_weights(losses: Tensor, tolerance: float) -> Tensor:
    """Return the weight of each slice of time, by how well the equation holds in all slices before it.

        w_i = exp(-tolerance sum_{k < i} L_k)

    The first weight is 1; a later one grows from nearly 0 to 1 as the earlier residuals fall below 1 / tolerance. No
    gradient flows through the weights. Multiply by the losses and take the mean.

    Args:
        losses: (T,) mean squared residual in each slice of time, the earliest first.
        tolerance: how strict the order is; 0 gives equal weights.

    Returns:
        (T,), detached.

    Example:
        >>> causal_weights(torch.tensor([0.0, 1.0, 5.0]), 1.0).tolist()
        [1.0, 1.0, 0.367879...]

    Source: Wang, Sankaran and Perdikaris (2022), Respecting causality is all you need for training physics-informed
    neural networks, Eq. 3.4.
    """
    losses = losses.detach()
    return torch.exp(-tolerance * (losses.cumsum(0) - losses))
