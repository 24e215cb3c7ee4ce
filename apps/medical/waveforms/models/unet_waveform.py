"""A one-dimensional U-Net that reads a waveform at several resolutions at once."""

from typing import ClassVar

from torch import Tensor

from integrand.apps.medical.waveforms.models.waveform_network import FEATURES, WaveformNetwork
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.core.operators import UNet


class UNetWaveform(WaveformNetwork):
    """Reads waveforms by a U-Net; it is bound to the rate that it was trained at.

    Args:
        width: channels at the finest resolution, a multiple of 8 and at least 16.
        levels: resolutions, each half of the one before; the coarsest have four times the channels.
        blocks: residual blocks on each level.
        dropout: within the blocks.
    """

    any_rate: ClassVar[bool] = False

    def __init__(self, *, width: int = 16, levels: int = 5, blocks: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.levels, self.blocks, self.dropout = width, levels, blocks, dropout

    def build_network(self, task: WaveformTask) -> None:
        """Make the U-Net."""
        multipliers = [min(4, 2**level) for level in range(self.levels)]
        self.net = UNet(
            FEATURES,
            self.channels,
            dims=1,
            width=self.width,
            multipliers=multipliers,
            blocks=self.blocks,
            dropout=self.dropout,
        )

    def outputs(self, features: Tensor, rate: float) -> Tensor:
        """Map (B, L, F) to (B, L, outputs)."""
        return self.net(features.transpose(1, 2)).transpose(1, 2)
