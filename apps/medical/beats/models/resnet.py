"""A baseline that sees each beat for itself: a residual network along its window, beside its place in the rhythm."""

from typing import Any

import torch
from torch import Tensor, nn

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.models.beat_network import BeatNetwork, WaveformEncoder
from integrand.apps.medical.beats.task import BeatTask


class ResNetBeatNetwork(BeatNetwork):
    """Residual convolutions along a window, with the features of the rhythm; no beat knows of its neighbours' shapes.

        scores_n = MLP([encoder(window_n), W features_n])

    Args:
        width: channels.
        stages: halvings of the window's resolution.
        dropout: of channels, and before the head.
    """

    def __init__(self, *, width: int = 64, stages: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.stages, self.dropout = width, stages, dropout

    def build_network(self, task: BeatTask) -> None:
        """Make encoder and head."""
        self.encoder = WaveformEncoder(len(task.leads), self.width, self.stages, self.dropout)
        self.rhythm = nn.Sequential(nn.Linear(len(task.features), self.width), nn.GELU())
        self.head = nn.Sequential(
            nn.LayerNorm(2 * self.width),
            nn.Linear(2 * self.width, self.width),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.width, len(task.classes)),
        )

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the scores of the classes, (B, N, K)."""
        b, n = batch.mask.shape
        looks = self.encoder(batch.windows.flatten(0, 1)).view(b, n, -1)
        return self.head(torch.cat([looks, self.rhythm(batch.features)], dim=-1))

    def carry(self, batch: BeatBatch, state: Any) -> tuple[Tensor, None]:
        """Return the scores of beats, which know of no others."""
        return self(batch), None
