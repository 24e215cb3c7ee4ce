"""The ODE-RNN as a forecaster."""

from torch import nn

from integrand.apps.timeseries.forecasting.models.decoder import ODEDecoder
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.core.models import ODERNN
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class ODERNNForecaster(Forecaster):
    """An ODE-RNN reads the context up to the origin; its last output starts an ODE through the future.

    Args:
        width: channels of the encoder.
        d_state: hidden state of the encoder.
        latent: dimension D of the decoder's state.
        hidden: width of both fields.
        steps: output times over the horizon.
        method: a method of ``solve_ode``, for the decoder.
        dropout: on the features of the context and on what the encoder says.

    Source: Rubanova, Chen and Duvenaud (2019), Algorithm 1.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        latent: int = 32,
        hidden: int = 64,
        steps: int = 4,
        method: str = "rk4",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.latent, self.hidden = width, d_state, latent, hidden
        self.steps, self.method, self.dropout = steps, method, dropout

    def build_network(self, task: ForecastTask) -> None:
        """Make encoder, flow and readout."""
        self.lift = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(self.features, self.width))
        self.encoder = ODERNN(self.width, d_state=self.d_state, hidden=(self.hidden,), time_scale=task.context)
        self.start = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(self.width, self.latent))
        self.decoder = ODEDecoder(task, latent=self.latent, hidden=self.hidden, method=self.method, steps=self.steps)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        context = self.encode(batch)
        encoded = self.encoder(self.lift(context.features), context.dt, context.present).y[:, -1]
        path = self.decoder.solve(self.start(encoded), batch)
        return self.decoder.read(path, context.anchor, batch)
