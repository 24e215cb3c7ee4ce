"""A sequence layer turned round in time."""

import torch
from torch import Tensor

from integrand.core.layers.sequence_layer import SequenceLayer


def read_backwards(encoder: SequenceLayer, x: Tensor, dt: Tensor, mask: Tensor, *, first: float = 0.0) -> Tensor:
    """Return what the encoder says when it reads from the last element to the first: each output of what is to come.

    Padding at the end comes first then: it is absent and its intervals are zero, so the state stays at rest.

    Args:
        encoder: any sequence layer.
        x: (B, L, D) in time's own order.
        dt: (B, L), the intervals before each element in time's own direction; the first is before the series and has
            no say.
        mask: (B, L) bool.
        first: the interval with which the last element that is there, and so the first that is read, comes. A layer
            that holds an element's input for its interval, as S5 does, learns nothing from one that comes with 0.

    Returns:
        (B, L, D) in time's own order: output l has read the elements from l on.

    Example:
        >>> from integrand.core.layers import S5
        >>> x, mask = torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)
        >>> read_backwards(S5(4, d_state=8), x, torch.rand(2, 6), mask).shape
        torch.Size([2, 6, 4])
    """
    intervals = torch.cat([torch.zeros_like(dt[:, :1]), dt[:, 1:].flip(1)], dim=1)
    turned = mask.flip(1)
    if first:
        intervals = torch.where(turned & (turned.cumsum(1) == 1), first, intervals)
    return encoder(x.flip(1), intervals, turned).y.flip(1)
