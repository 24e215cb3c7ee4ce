"""Segments as networks take them.

Dimension letters: B segments, C leads, L samples, N intervals between beats, K labels.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class SegmentBatch:
    """Segments of one length.

    Attributes:
        signal: (B, C, L) in units of each lead's deviation.
        labels: (B,) int64 where one class holds, (B, K) float32 of 0 and 1 where several may.
        intervals: (B, N) seconds between the beats that are marked, 0 where padded; N is 0 where none are.
        mask: (B, N) bool, whether there is an interval.
    """

    signal: Tensor
    labels: Tensor
    intervals: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return self.signal.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "SegmentBatch":
        """Return the batch with its tensors on ``device``."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)}
        return SegmentBatch(**moved)
