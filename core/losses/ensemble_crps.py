"""The continuous ranked probability score of an ensemble."""

import torch
from torch import Tensor


def ensemble_crps(members: Tensor, observed: Tensor) -> Tensor:
    """Score the distribution that members were drawn from against what was observed; lower is better, in its units.

        CRPS = 1/K sum_k |x_k - y| - 1 / (2 K (K - 1)) sum_jk |x_j - x_k|

    Its expectation is the score of the distribution itself, however few the members are. One member alone has the
    absolute error: that is the score of a forecast without spread.

    Args:
        members: (K, ...) equally likely forecasts.
        observed: (...) what happened.

    Returns:
        The score of each element, (...); chance may bring that of a few members below 0.

    Example:
        >>> ensemble_crps(torch.tensor([0.0, 2.0]), torch.tensor(1.0)).item()
        0.0
        >>> ensemble_crps(torch.tensor([3.0]), torch.tensor(1.0)).item()
        2.0

    Source: Gneiting and Raftery (2007), Strictly proper scoring rules, Eq. 21; Ferro (2014), Fair scores for ensemble
    forecasts, for K (K - 1) in place of K^2.
    """
    count = len(members)
    error = (members - observed).abs().mean(0)
    if count < 2:
        return error
    # In order, x_(k) stands above k - 1 members and below K - k of them.
    places = torch.arange(1 - count, count, 2, device=members.device, dtype=members.dtype)
    between = torch.einsum("k,k...->...", places, members.sort(0).values)
    return error - between / (count * (count - 1))
