"""State-space encoder, ODE decoder: the default forecaster."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.timeseries.models.forecaster import Forecast, Forecaster
from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.layers import S5, ResidualStack
from integrand.core.models.neural_ode import NeuralODE
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class SSMODE(Forecaster):
    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        layers: int = 2,
        latent: int = 32,
        hidden: int = 64,
        steps: int = 8,
        dropout: float = 0.5,
        discretization: Literal["zoh", "dirac"] = "zoh",
        linear_states: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.options = dict(self.hparams)

    def build_network(self, task: ForecastTask) -> None:
        o = self.options
        width, latent = o["width"], o["latent"]
        self.lift = nn.Linear(self.features, width)
        self.encoder = ResidualStack(
            [
                S5(width, d_state=o["d_state"], time_scale=task.resolution, discretization=o["discretization"], dt_min=0.01, dt_max=0.5)
                for _ in range(o["layers"])
            ],
            dropout=o["dropout"],
        )
        n = width + self.features
        if o["linear_states"]:
            self.linear = S5(self.features, d_state=o["linear_states"], time_scale=task.resolution, discretization=o["discretization"], dt_min=0.01, dt_max=0.5)
            n += self.features
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(o["dropout"])
        self.initial_linear = nn.Linear(n, latent)
        self.initial = nn.Sequential(nn.Linear(n, o["hidden"]), nn.GELU(), nn.Dropout(o["dropout"]), nn.Linear(o["hidden"], latent))
        nn.init.zeros_(self.initial[-1].weight); nn.init.zeros_(self.initial[-1].bias)
        periods = [p / task.horizon for p in task.periods]
        self.flow = NeuralODE(PeriodicForcing(MLP(latent, (o["hidden"],), control=2 * len(periods), activation="silu"), periods), method="rk4")
        self.register_buffer("grid", torch.linspace(0, 1, o["steps"] + 1), persistent=False)
        self.readout = nn.Linear(latent, 2 * task.targets)
        with torch.no_grad():
            self.readout.weight.mul_(0.1)
            self.readout.bias.zero_()

    def forward(self, batch: IrregularBatch) -> Forecast:
        task = self.built_for
        context = self.encode(batch)
        encoded = self.norm(self.encoder(self.lift(context.features), context.dt, context.present).y[:, -1])
        parts = [self.drop(encoded), context.features[:, -1]]
        if self.options["linear_states"]:
            parts.append(self.linear(context.features, context.dt, context.present).y[:, -1])
        summary = torch.cat(parts, -1)
        z0 = self.initial_linear(summary) + self.initial(summary)
        solution = self.flow(z0, self.grid, batch.phase)
        z = solution.interpolate(batch.target_times / task.horizon)
        mean, raw = self.readout(z).chunk(2, dim=-1)
        std = F.softplus(raw + 0.0) + 1e-3
        return Forecast(context.anchor.unsqueeze(1) + mean, std, None, solution.states, self.grid * task.horizon, solution.stats)
