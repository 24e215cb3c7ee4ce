"""The points of a grid as coordinates a network may read: periodic axes as circles.

Dimension letters: N points.
"""

from collections.abc import Sequence
from math import pi

import torch
from torch import Tensor


def coordinate_count(periodic: Sequence[bool]) -> int:
    """Return how many coordinates a point has: two along a periodic axis, one along others."""
    return sum(2 if joined else 1 for joined in periodic)


def grid_points(shape: Sequence[int], lengths: Sequence[float], periodic: Sequence[bool], like: Tensor) -> Tensor:
    """Return the points of a grid, (N, d), in the order of ``field.flatten(-dims)``, in units of the longest side.

    A periodic axis is a circle of its length, so that its ends meet: (r cos(x / r), r sin(x / r)) with r = L / (2 pi),
    and near points are as far apart as on the axis.

    Example:
        >>> grid_points((4,), (1.0,), (True,), torch.empty(0)).norm(dim=1) * 2 * pi
        tensor([1., 1., 1., 1.])
    """
    longest = max(lengths)
    columns = []
    for axis, (n, length, joined) in enumerate(zip(shape, lengths, periodic, strict=True)):
        place = torch.arange(n, dtype=like.dtype, device=like.device) / (n if joined else n - 1)
        size = length / longest
        own = [place * size]
        if joined:
            own = [(2 * pi * place).cos() * size / (2 * pi), (2 * pi * place).sin() * size / (2 * pi)]
        view = [-1 if other == axis else 1 for other in range(len(shape))]
        columns += [one.view(view).expand(*shape).flatten() for one in own]
    return torch.stack(columns, dim=1)
