"""A sequence layer turned round in time."""

import torch
from torch import Tensor

from integrand.core.layers.sequence_layer import SequenceLayer


def read_backwards(encoder: SequenceLayer, x: Tensor, dt: Tensor, mask: Tensor) -> Tensor:
    """Return what the encoder says when it reads from the last element to the first: each output of what is to come.

    Padding at the end comes first then: it is absent and its intervals are zero, so the state stays at rest.

    Args:
        encoder: any sequence layer.
        x: (B, L, D) in time's own order.
        dt: (B, L), the intervals before each element in time's own direction; the first is before the series and has
            no say.
        mask: (B, L) bool.

    Returns:
        (B, L, D) in time's own order: output l has read the elements from l on.

    Example:
        >>> from integrand.core.layers import S5
        >>> x, mask = torch.randn(2, 6, 4), torch.ones(2, 6, dtype=torch.bool)
        >>> read_backwards(S5(4, d_state=8), x, torch.rand(2, 6), mask).shape
        torch.Size([2, 6, 4])
    """
    intervals = torch.cat([torch.zeros_like(dt[:, :1]), dt[:, 1:].flip(1)], dim=1)
    return encoder(x.flip(1), intervals, mask.flip(1)).y.flip(1)
