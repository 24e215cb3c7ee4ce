"""Pieces of waveforms, as networks take them.

Dimension letters: B pieces, L samples.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class WaveformBatch:
    """Pieces of one lead, all of one length and rate.

    Attributes:
        signal: (B, L) mV with noise, 0 where not observed.
        observed: (B, L) bool, False in gaps.
        clean: (B, L) mV without noise and gaps.
        beats: (B, L) in [0, 1]: 1 at the peak of a beat, falling to both sides.
        snr: (B,) signal-to-noise ratio, dB.
        rate: Hz.
    """

    signal: Tensor
    observed: Tensor
    clean: Tensor
    beats: Tensor
    snr: Tensor
    rate: float

    def __len__(self) -> int:
        return self.signal.shape[0]

    def to(self, device: torch.device, non_blocking: bool = False) -> "WaveformBatch":
        """Return the batch with its tensors on ``device``."""
        moved = {name: value.to(device, non_blocking=non_blocking) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def split(self, most: int) -> list["WaveformBatch"]:
        """Return the batch in parts of at most ``most`` pieces."""
        parts = {name: value.split(most) for name, value in self._tensors().items()}
        count = len(parts["signal"])
        return [replace(self, **{name: value[place] for name, value in parts.items()}) for place in range(count)]

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
