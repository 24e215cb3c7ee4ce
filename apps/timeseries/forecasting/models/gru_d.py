"""GRU-D as a forecaster."""

import torch
from torch import nn

from integrand.apps.series.gru_d import GRUD
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.readout import GaussianReadout
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class GRUDForecaster(Forecaster):
    """GRU-D reads the context; its state decays to the time asked, and a small network reads it there.

    A query is an element at which nothing was observed: the time since each channel's last observation decays the
    state. Beside it the network sees how far ahead the query is, the calendar there and the group.

    Args:
        d_state: dimension of the state.
        hidden: width of the network that reads it.
        dropout: within that network.

    Source: Che, Purushotham, Cho, Sontag and Liu (2018), Recurrent neural networks for multivariate time series with
    missing values; the forecast, which they do not make, is ours.
    """

    def __init__(self, *, d_state: int = 64, hidden: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.d_state, self.hidden, self.dropout = d_state, hidden, dropout

    def build_network(self, task: ForecastTask) -> None:
        """Make recurrence and readout."""
        self.encoder = GRUD(len(task.channels), self.d_state, time_scale=task.context)
        self.mix = nn.Sequential(
            nn.Dropout(self.dropout),
            nn.Linear(self.d_state + self.asked, self.hidden),
            nn.GELU(),
            nn.Dropout(self.dropout),
        )
        self.readout = GaussianReadout(task, self.hidden)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        assert batch.target_times is not None
        values, mask, times, present = self.observed(batch)
        # The origin is no element to GRU-D, so that the state there is that after the last row.
        rows = torch.cat([batch.present, torch.zeros_like(present[:, -1:])], dim=1)
        state = self.encoder(values, mask, times, rows)[:, -1:]
        since = self.encoder.elapsed(mask, times)[:, -1:]
        ahead = (batch.target_times / self.encoder.time_scale).unsqueeze(-1)
        decayed = state * self.encoder.keep(since + ahead)
        states = self.mix(torch.cat([decayed, self.ask(batch)], dim=-1))
        anchor = self.encode(batch).anchor
        mean, std = self.readout(states, anchor, batch.target_times)
        return Forecast(mean=mean, std=std, penalty=None, stats=None)
