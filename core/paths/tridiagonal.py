"""Tridiagonal systems, all unknowns at once."""

import torch
from torch import Tensor


def solve_tridiagonal(lower: Tensor, diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solve l_i x_{i-1} + d_i x_i + u_i x_{i+1} = r_i along dimension 1, by parallel cyclic reduction.

    Each round eliminates from every equation the two unknowns at distance n, which brings in those at distance 2n;
    after log2(L) rounds each equation holds its own unknown alone. Where the diagonal dominates no pivots are needed.

    Args:
        lower: l, (B, L, ...); the first is not used.
        diagonal: d, (B, L, ...), not 0.
        upper: u, (B, L, ...); the last is not used.
        right: r, (B, L, ...).

    Returns:
        x, (B, L, ...).

    Example:
        >>> ones = torch.ones(1, 3)
        >>> solve_tridiagonal(ones, 3 * ones, ones, torch.tensor([[5.0, 10.0, 11.0]])).round(decimals=4).tolist()
        [[1.0, 2.0, 3.0]]

    Source: Hockney and Jesshope (1981), Parallel Computers, on parallel cyclic reduction.
    """
    length, distance = right.shape[1], 1
    lower, upper = lower.clone(), upper.clone()
    lower[:, 0], upper[:, -1] = 0, 0
    while distance < length:
        # Each equation takes what cancels its neighbours; those beyond the ends are 0 x = 0.
        take_before, take_after = -lower / _shifted(diagonal, distance, 1), -upper / _shifted(diagonal, -distance, 1)
        before, after = _shifted(upper, distance), _shifted(lower, -distance)
        diagonal = diagonal + take_before * before + take_after * after
        right = right + take_before * _shifted(right, distance) + take_after * _shifted(right, -distance)
        lower, upper = take_before * _shifted(lower, distance), take_after * _shifted(upper, -distance)
        distance *= 2
    return right / diagonal


def _shifted(tensor: Tensor, places: int, fill: float = 0) -> Tensor:
    """Move a tensor along dimension 1, to later places if positive, and fill in behind it."""
    edge = torch.full_like(tensor[:, : abs(places)], fill)
    if places > 0:
        return torch.cat([edge, tensor[:, :-places]], dim=1)
    return torch.cat([tensor[:, -places:], edge], dim=1)
