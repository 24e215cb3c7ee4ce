"""Multi-time attention as a classifier."""

import torch
from torch import Tensor, nn

from integrand.apps.series.classification.models.classifier import Classifier, Head
from integrand.apps.series.classification.models.controlled_classifiers import duration
from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.series.multi_time_attention import MultiTimeAttention
from integrand.datasets.irregular import IrregularBatch


class MTANClassifier(Classifier):
    """Attention brings the series to reference times, a GRU reads it there, and its last state is read out.

    The references are evenly spread from the first element of a series to its last. Beside what attention finds, the
    GRU is told which channels were observed at all.

    Args:
        width: dimension of what attention returns.
        heads: heads of attention.
        d_time: dimension of the embedding of a time.
        references: reference times.
        d_state: dimension of the GRU's state.
        dropout: on the last state.

    Source: Shukla and Marlin (2021), Multi-time attention networks for irregularly sampled time series, the encoder
    mTAND-Enc.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        heads: int = 1,
        d_time: int = 64,
        references: int = 32,
        d_state: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.heads, self.d_time, self.references = width, heads, d_time, references
        self.d_state, self.dropout = d_state, dropout

    def build_network(self, task: ClassificationTask) -> None:
        """Make attention, recurrence and head."""
        channels = len(task.channels)
        self.attention = MultiTimeAttention(
            channels, self.width, heads=self.heads, d_time=self.d_time, time_scale=duration(task)
        )
        self.recurrence = nn.GRU(self.width + channels, self.d_state, batch_first=True)
        self.thin = nn.Dropout(self.dropout)
        self.head = Head(self.d_state, task)
        self.register_buffer("shares", torch.linspace(0, 1, self.references), persistent=False)

    shares: Tensor

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        times = batch.times - batch.times[:, :1]
        found = self.attention(batch.values, batch.mask, times, batch.present, times[:, -1:] * self.shares)
        seen = batch.mask.any(1, keepdim=True).to(found).expand(-1, self.references, -1)
        states, _ = self.recurrence(torch.cat([found, seen], dim=-1))
        return self.head(self.thin(states[:, -1]), batch)
