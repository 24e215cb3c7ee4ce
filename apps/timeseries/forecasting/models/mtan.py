"""Multi-time attention as a forecaster."""

import torch
from torch import nn

from integrand.apps.series.multi_time_attention import MultiTimeAttention
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.readout import GaussianReadout
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class MTANForecaster(Forecaster):
    """Every time asked looks back at the observations, each channel's weighted by learned similarities of times.

    A small network reads what was found, beside which channels were observed at all, how far ahead the query is, the
    calendar there and the group.

    Args:
        width: dimension of what attention returns.
        heads: heads of attention.
        d_time: dimension of the embedding of a time.
        hidden: width of the network that reads it.
        dropout: within that network.

    Source: Shukla and Marlin (2021), Multi-time attention networks for irregularly sampled time series; the forecast,
    which they do not make, is ours.
    """

    def __init__(
        self, *, width: int = 64, heads: int = 4, d_time: int = 64, hidden: int = 128, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.heads, self.d_time = width, heads, d_time
        self.hidden, self.dropout = hidden, dropout

    def build_network(self, task: ForecastTask) -> None:
        """Make attention and readout."""
        channels = len(task.channels)
        self.attention = MultiTimeAttention(
            channels, self.width, heads=self.heads, d_time=self.d_time, time_scale=task.context
        )
        self.mix = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(self.width + channels + self.asked, self.hidden),
            nn.GELU(),
            nn.Dropout(self.dropout),
        )
        self.readout = GaussianReadout(task, self.hidden)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        assert batch.target_times is not None
        values, mask, times, present = self.observed(batch)
        found = self.attention(values, mask, times, present, batch.target_times)
        seen = mask.any(1, keepdim=True).to(found).expand(-1, found.shape[1], -1)
        states = self.mix(torch.cat([found, seen, self.ask(batch)], dim=-1))
        mean, std = self.readout(states, self.encode(batch).anchor, batch.target_times)
        return Forecast(mean=mean, std=std, penalty=None, stats=None)
