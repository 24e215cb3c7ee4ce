"""Distances between all pairs of rows, block by block, so that they need not all be held at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 1 << 23
"""Distances that are held at a time: 64 MiB."""


def distance_blocks(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield Euclidean distances |x_i - y_j| for one block of rows i after another, and the first i of the block.

    They come from differences, not from |x|^2 + |y|^2 - 2 x.y, which leaves equal rows a distance of 1e-8: what is
    equal is at distance 0, and ties remain ties.

    Args:
        x: (N, D).
        y: (M, D).

    Yields:
        The first row of the block, and its distances (n, M).

    Example:
        >>> [(first, block.tolist()) for first, block in distance_blocks(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))]
        [(0, [[5.0]])]
    """
    rows = max(1, BLOCK // max(1, len(y)))
    for first in range(0, len(x), rows):
        yield first, torch.cdist(x[first : first + rows], y, compute_mode="donot_use_mm_for_euclid_dist")
