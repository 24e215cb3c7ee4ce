"""State-space encoder, ODE decoder: the default forecaster."""

from typing import Literal

import torch
from torch import nn

from integrand.apps.timeseries.forecasting.models.decoder import ODEDecoder
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.core.layers import S5, ResidualStack
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class SSMODE(Forecaster):
    """Diagonal state spaces read the context at its own times; an ODE moves what they found through the future.

    The encoder's S5 layers solve a linear ODE exactly over every gap, driven by what changed: levels are measured from
    each channel's last. What they hold at the forecast origin, together with the last known levels and their ages,
    sets the decoder's initial state along a linear path and a nonlinear one that starts at zero: the network begins as
    a linear model and bends only as far as the data ask. The nonlinear path sees levels through a saturating function,
    so that beyond the levels of training the model goes on linearly.

    Args:
        width: channels of the encoder.
        d_state: states of each S5 layer.
        layers: S5 layers.
        latent: dimension D of the decoder's state.
        hidden: width of the decoder's field and of the nonlinear path.
        steps: output times over the horizon.
        method: a method of ``solve_ode``, for the decoder.
        discretization: how S5 takes its inputs, see there.
        dropout: within the encoder's blocks and on what they say.
        input_dropout: on the features of the context.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        layers: int = 1,
        latent: int = 64,
        hidden: int = 256,
        steps: int = 4,
        method: str = "rk4",
        discretization: Literal["zoh", "dirac"] = "zoh",
        dropout: float = 0.5,
        input_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.layers = width, d_state, layers
        self.latent, self.hidden, self.steps, self.method = latent, hidden, steps, method
        self.discretization: Literal["zoh", "dirac"] = discretization
        self.dropout, self.input_dropout = dropout, input_dropout

    def build_network(self, task: ForecastTask) -> None:
        """Make encoder, the two paths to the initial state, and decoder."""
        self.thin = nn.Dropout(self.input_dropout)
        self.lift = nn.Linear(self.features, self.width)
        self.encoder = ResidualStack(
            [
                S5(
                    self.width,
                    d_state=self.d_state,
                    dt_min=0.01,
                    dt_max=0.5,
                    discretization=self.discretization,
                    time_scale=task.resolution,
                )
                for _ in range(self.layers)
            ],
            dropout=self.dropout,
        )
        self.norm = nn.Sequential(nn.LayerNorm(self.width), nn.Dropout(self.dropout))
        summary = self.width + self.features
        self.straight = nn.Linear(summary, self.latent)
        bend = nn.Linear(self.hidden, self.latent)
        nn.init.zeros_(bend.weight)
        nn.init.zeros_(bend.bias)
        self.bent = nn.Sequential(nn.Linear(summary, self.hidden), nn.GELU(), nn.Dropout(self.dropout), bend)
        self.decoder = ODEDecoder(task, latent=self.latent, hidden=self.hidden, method=self.method, steps=self.steps)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        context = self.encode(batch)
        encoded = self.encoder(self.lift(self.thin(context.changes())), context.dt, context.present).y[:, -1]
        found, now = self.norm(encoded), self.thin(context.now)
        straight = self.straight(torch.cat([found, now], dim=-1))
        bent = self.bent(torch.cat([found, torch.tanh(now / 2)], dim=-1))
        path = self.decoder.solve(straight + bent, batch)
        return self.decoder.read(path, context.anchor, batch)
