"""Derivatives of trajectories by differences.

Dimension letters: N trajectories, T times, D state.
"""

import torch
from torch import Tensor


def differences(states: Tensor, interval: float) -> Tensor:
    """Return dy/dt (N, T, D) of states at equal intervals, by differences of fourth order, one-sided at the ends.

    Fewer than five states have second order.

    Source: Fornberg (1988), Generation of finite difference formulas on arbitrarily spaced grids, tables 1 and 3.

    Example:
        >>> t = torch.arange(6, dtype=torch.float64)
        >>> differences((t**4).view(1, 6, 1), 1.0).flatten().round().int().tolist()
        [0, 4, 32, 108, 256, 500]
    """
    if states.shape[1] < 5:
        return torch.gradient(states, spacing=interval, dim=1, edge_order=1)[0]
    inner = (states[:, :-4] - 8 * states[:, 1:-3] + 8 * states[:, 3:-1] - states[:, 4:]) / 12
    weights = states.new_tensor([[-25, 48, -36, 16, -3], [-3, -10, 18, -6, 1]]) / 12
    first = torch.einsum("ij,njd->nid", weights, states[:, :5])
    last = -torch.einsum("ij,njd->nid", weights, states[:, -5:].flip(1)).flip(1)
    return torch.cat([first, inner, last], dim=1) / interval
