"""Imputers of others, to compare with: GRU-D read in both directions, and attention between times."""

import torch
from torch import nn

from integrand.apps.series.gru_d import GRUD
from integrand.apps.series.multi_time_attention import MultiTimeAttention
from integrand.apps.timeseries.imputation.models.imputer import GaussianHead, Imputer
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.datasets.imputation import ImputationTask
from integrand.datasets.irregular import IrregularBatch


class GRUDImputer(Imputer):
    """GRU-D reads a window forwards, and another one backwards; both states are read at every row.

    As published GRU-D reads forwards alone; in both directions it knows what comes after a gap, as an imputer must. The
    head adds to linear interpolation, as that of the sequence layers does, but reads the states alone.

    Args:
        d_state: states of each direction.
        hidden: width of the head's nonlinear path.
        dropout: on the states.

    Source: Che, Purushotham, Cho, Sontag and Liu (2018), Recurrent neural networks for multivariate time series with
    missing values.
    """

    def __init__(self, *, d_state: int = 96, hidden: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.d_state, self.hidden, self.dropout = d_state, hidden, dropout

    def build_network(self, task: ImputationTask) -> None:
        """Make both units and the head."""
        self.forwards, self.backwards = (
            GRUD(len(task.channels), self.d_state, time_scale=task.resolution) for _ in range(2)
        )
        self.thin = nn.Dropout(self.dropout)
        self.head = GaussianHead(task, 2 * self.d_state, 0, hidden=self.hidden, dropout=self.dropout)

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch."""
        rows = self.read(batch)
        ahead = self.forwards(batch.values, batch.mask, batch.times, rows.present)
        turned = (batch.values.flip(1), batch.mask.flip(1), -batch.times.flip(1), rows.present.flip(1))
        back = self.backwards(*turned).flip(1)
        return self.head(self.thin(torch.cat([ahead, back], dim=-1)), rows)


class MTANImputer(Imputer):
    """Attention from every row to the observed values of every channel, by learned embeddings of time.

    Args:
        width: what attention finds at a row.
        d_time: dimension of the embedding of time.
        heads: embeddings side by side.
        hidden: width of the head's nonlinear path.
        dropout: on what was found.

    Source: Shukla and Marlin (2021), Multi-time attention networks for irregularly sampled time series.
    """

    def __init__(
        self, *, width: int = 128, d_time: int = 64, heads: int = 1, hidden: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_time, self.heads, self.hidden, self.dropout = width, d_time, heads, hidden, dropout

    def build_network(self, task: ImputationTask) -> None:
        """Make attention and head."""
        self.attention = MultiTimeAttention(
            len(task.channels), self.width, heads=self.heads, d_time=self.d_time, time_scale=task.window
        )
        self.thin = nn.Dropout(self.dropout)
        self.head = GaussianHead(task, self.width, 0, hidden=self.hidden, dropout=self.dropout)

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch."""
        rows = self.read(batch)
        found = self.attention(batch.values, batch.mask, batch.times, rows.present, batch.times)
        return self.head(self.thin(found), rows)
