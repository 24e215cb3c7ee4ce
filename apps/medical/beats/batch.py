"""Runs of neighbouring beats, as networks take them.

Dimension letters: B runs, N beats of a run, L samples of a window, C leads, F features.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class BeatBatch:
    """Runs of beats of one length, the shorter ones padded at their ends.

    Attributes:
        windows: (B, N, C, L) in units of each lead's deviation.
        features: (B, N, F) standardised.
        intervals: (B, N) seconds from the beat before, 0 where padded.
        labels: (B, N) int64.
        mask: (B, N) bool, whether a beat is there and its signal is usable.
    """

    windows: Tensor
    features: Tensor
    intervals: Tensor
    labels: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return self.windows.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "BeatBatch":
        """Return the batch with its tensors on ``device``."""
        return BeatBatch(**{f.name: getattr(self, f.name).to(device, non_blocking=non_blocking) for f in fields(self)})
