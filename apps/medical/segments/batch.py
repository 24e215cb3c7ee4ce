"""Segments as networks take them.

Dimension letters: B segments, C leads, L samples, N intervals between beats, K labels.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
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
        patients: (B,) whose each is, on the host.
    """

    signal: Tensor
    labels: Tensor
    intervals: Tensor
    mask: Tensor
    patients: np.ndarray

    def __len__(self) -> int:
        return self.signal.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "SegmentBatch":
        """Return the batch with its tensors on ``device``."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)
