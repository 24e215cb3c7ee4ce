"""What stands before and after every cell of a partly observed series.

Dimension letters: B batch, L length, C channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Nearest(NamedTuple):
    """The nearest observed value on one side of every cell, (B, L, C), itself where it is observed.

    Attributes:
        value: 0 where there is none.
        distance: in time, 0 where there is none.
        found: whether there is one.
    """

    value: Tensor
    distance: Tensor
    found: Tensor


def before(values: Tensor, mask: Tensor, times: Tensor) -> Nearest:
    """Return the last observed value of each channel up to every element.

    Args:
        values: (B, L, C).
        mask: (B, L, C) bool, True where observed.
        times: (B, L), non-decreasing.

    Example:
        >>> values, mask = torch.tensor([[[5.0], [0.0]]]), torch.tensor([[[True], [False]]])
        >>> before(values, mask, torch.tensor([[0.0, 3.0]])).distance.flatten().tolist()
        [0.0, 3.0]
    """
    order = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    latest = torch.where(mask, order, -1).cummax(dim=1).values
    found, latest = latest >= 0, latest.clamp(min=0)
    stamps = times.unsqueeze(-1).expand_as(values)
    value = torch.where(found, values.gather(1, latest), 0)
    return Nearest(value, torch.where(found, stamps - stamps.gather(1, latest), 0), found)


def after(values: Tensor, mask: Tensor, times: Tensor) -> Nearest:
    """Return the first observed value of each channel from every element on; arguments as those of ``before``."""
    turned = before(values.flip(1), mask.flip(1), -times.flip(1))
    return Nearest(*(part.flip(1) for part in turned))


def interpolated(earlier: Nearest, later: Nearest) -> Tensor:
    """Return the line between the neighbours of every cell, the one there is at the ends, 0 where there is none."""
    both = earlier.found & later.found
    share = torch.where(both, earlier.distance / (earlier.distance + later.distance).clamp(min=1e-12), 0)
    line = earlier.value + share * (later.value - earlier.value)
    return torch.where(both, line, torch.where(earlier.found, earlier.value, later.value))
