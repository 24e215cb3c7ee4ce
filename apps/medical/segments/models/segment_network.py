"""What every network of segments shares: how it is described and built, what it reads the signal by, and its head.

Dimension letters: B segments, C leads, L samples, T elements after the convolutions, D width, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.task_network import TaskNetwork


class SegmentNetwork(TaskNetwork[SegmentTask]):
    """Labels segments; a subclass says by ``forward`` how."""

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the scores of the classes, (B, K): logarithms of probabilities up to a constant, or log odds."""
        raise NotImplementedError


class Reduction(nn.Module):
    """Convolutions that halve the resolution one after the other, (B, C, L) to (B, D, T), T = ceil(L / 2^halvings).

    Args:
        leads: C.
        width: D.
        halvings: how often.
        kernel: of the first, in samples; odd. The others have 5.
    """

    def __init__(self, leads: int, width: int, halvings: int, kernel: int = 15) -> None:
        super().__init__()
        kernels = [kernel, *[5] * (halvings - 1)]
        inputs = [leads, *[width] * (halvings - 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n, width, k, stride=2, padding=k // 2) for n, k in zip(inputs, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in kernels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D, T)."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        return x


class Head(nn.Module):
    """From what was found along a segment, (B, T, D), to the scores of the classes, by its mean and its largest.

    What holds throughout shows in the mean, what occurs once in the largest.

    Args:
        width: D.
        classes: K.
        dropout: before the last map.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.out = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, classes))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, K); elements where ``mask`` (B, T) is false do not count, and a segment of none has zeros."""
        if mask is None:
            pooled = torch.cat([x.mean(dim=1), x.amax(dim=1)], dim=-1)
        else:
            there = mask.unsqueeze(-1)
            mean = torch.where(there, x, 0).sum(dim=1) / there.sum(dim=1).clamp(min=1)
            largest = torch.where(there, x, -torch.inf).amax(dim=1)
            pooled = torch.cat([mean, torch.where(mask.any(dim=1, keepdim=True), largest, 0)], dim=-1)
        return self.out(self.norm(pooled))
