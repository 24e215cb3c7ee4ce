"""Runs of neighbouring beats, as networks take them.

Dimension letters: B runs, N beats of a run, L samples of a window, C leads, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class BeatBatch:
    """Runs of beats of one length, the shorter ones padded at their ends.

    Attributes:
        windows: (B, N, C, L) in units of the size of the patient's usual beat in each lead.
        features: (B, N, F) standardised.
        intervals: (B, N) seconds from the beat before, 0 where padded.
        labels: (B, N) int64.
        mask: (B, N) bool, whether a beat is there and its signal is usable.
        present: (B, N) bool, whether a beat is there.
        patients: (B,) int64, number of the patient in his part.
        folds: (B,) int64, of the fold he is in; -1 where no network learned from him.
    """

    windows: Tensor
    features: Tensor
    intervals: Tensor
    labels: Tensor
    mask: Tensor
    present: Tensor
    patients: Tensor
    folds: Tensor

    def __len__(self) -> int:
        return self.windows.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "BeatBatch":
        """Return the batch with its tensors on ``device``."""
        return BeatBatch(*(value.to(device, non_blocking=non_blocking) for value in self.values()))

    def values(self) -> list[Tensor]:
        """Return the tensors in the order of the attributes."""
        return [getattr(self, one.name) for one in fields(self)]

    def runs(self, chosen: Tensor) -> "BeatBatch":
        """Return the runs chosen, by a mask (B,) or by their numbers."""
        return BeatBatch(*(value[chosen] for value in self.values()))

    def between(self, first: int, end: int) -> "BeatBatch":
        """Return beats ``first`` to ``end`` - 1 of every run."""
        return BeatBatch(*(value[:, first:end] if value.dim() > 1 else value for value in self.values()))


def stack(runs: Sequence[BeatBatch]) -> BeatBatch:
    """Return runs as one batch, the shorter ones padded at their ends."""
    longest = max(run.mask.shape[1] for run in runs)
    gathered = zip(*(run.values() for run in runs), strict=True)
    return BeatBatch(*(torch.cat([_padded(value, longest) for value in values]) for values in gathered))


def _padded(value: Tensor, length: int) -> Tensor:
    missing = 0 if value.dim() == 1 else length - value.shape[1]
    return value if not missing else torch.cat([value, value.new_zeros((1, missing, *value.shape[2:]))], dim=1)
