"""What every network of waveforms shares: how it is described, what it sees of a piece, and how it answers.

Dimension letters: B pieces, L samples, H channels of the network, F features of a sample.
"""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.apps.training.task_network import TaskNetwork

FEATURES = 2
LEAST_DEVIATION = 1e-3
"""mV, of a piece that is flat, and of an answer: a converter's step is a few of them."""


class WaveformAnswer(NamedTuple):
    """What a network says of every sample of a piece.

    Attributes:
        mean: (B, L) the clean signal, mV; of a network that finds beats the signal that it was given.
        std: (B, L) deviation of the clean signal about it, mV, positive; of a network that finds beats 1.
        beat: (B, L) log-odds that a beat is at the sample; of a network that denoises 0.
    """

    mean: Tensor
    std: Tensor
    beat: Tensor


class WaveformNetwork(TaskNetwork[WaveformTask]):
    """Base of the networks of waveforms; a subclass says by ``outputs`` what it makes of the samples' features.

    A piece is seen about its own median, in units of its own deviation, so that offset and gain of the instrument have
    no say: the answer to a + b x is a + b times the answer to x.

        mean = a + b (u + f(u)),      std = b softplus(g(u)),      u = (x - a) / b,

    with a the median of what is observed and b its root mean square about it; in gaps u is 0.
    """

    any_rate: ClassVar[bool]
    """Whether the network can read another rate than it was trained at."""

    def outputs(self, features: Tensor, rate: float) -> Tensor:
        """Map features (B, L, F) of samples at ``rate`` Hz to (B, L, 2) of a denoising network, else (B, L, 1)."""
        raise NotImplementedError

    @property
    def channels(self) -> int:
        """Number of outputs of a sample."""
        return 2 if self.built_for.goal == "denoising" else 1

    def forward(self, batch: WaveformBatch) -> WaveformAnswer:
        """Answer at every sample."""
        observed = batch.observed.to(batch.signal)
        centre = torch.where(batch.observed, batch.signal, torch.nan).nanmedian(dim=1, keepdim=True).values
        centre = centre.nan_to_num(0.0)  # of a piece that is a gap throughout
        off = (batch.signal - centre) * observed
        power = off.square().sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp(min=1)
        scale = power.sqrt().clamp(min=LEAST_DEVIATION)
        u = off / scale
        found = self.outputs(torch.stack([u, observed], dim=-1), batch.rate).float()
        if self.built_for.goal == "detection":
            return WaveformAnswer(batch.signal, torch.ones_like(u), found[..., 0])
        mean = centre + scale * (u + found[..., 0])
        std = scale * F.softplus(found[..., 1]) + LEAST_DEVIATION
        return WaveformAnswer(mean, std, torch.zeros_like(u))


def head(width: int, channels: int) -> nn.Sequential:
    """Return a readout of H channels that says 0 at the start, so that a network begins with the signal as it is."""
    last = nn.Linear(width, channels)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)
