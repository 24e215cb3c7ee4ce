"""The variational latent ODE as an imputer."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from integrand.apps.series.layers import sequence_layer
from integrand.apps.timeseries.imputation.models.imputer import LEAST_STD, Imputer
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.core.fields import MLP
from integrand.core.layers import ResidualStack
from integrand.core.losses import gaussian_kl
from integrand.core.models import LatentODE, NeuralODE
from integrand.datasets.imputation import ImputationTask
from integrand.datasets.irregular import IrregularBatch


class LatentODEImputer(Imputer):
    """An encoder reads the window backwards and infers a latent state at its start; an ODE moves it through the window.

        z(0) ~ q(z | window),    dz/dt = f(z),    mean(t), std(t) = g(z(t)),    t in windows

    All that is known of a window goes through z(0). In training one path is drawn for each sample; in evaluation the
    path starts at the posterior's mean. The divergence from the prior is added to the loss with weight ``kl_weight``.

    Args:
        encoder: the layer that reads, a name of ``sequence_layer``; of the ODE-RNN there is one, of others ``layers``
            in a residual stack.
        width: channels of the encoder.
        d_state: states of its layers.
        layers: how many of them.
        latent: dimension D of the latent state.
        hidden: width of the latent field and of g.
        steps: output times over the window, between which the path is interpolated.
        method: a method of ``solve_ode``.
        kl_weight: weight of the divergence, per sample.

    Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time
    series.
    """

    def __init__(
        self,
        *,
        encoder: Literal["ode_rnn", "s5", "s4d", "lru", "linoss", "mamba", "cfc", "ltc", "lem"] = "ode_rnn",
        width: int = 64,
        d_state: int = 64,
        layers: int = 2,
        latent: int = 32,
        hidden: int = 100,
        steps: int = 12,
        method: str = "rk4",
        kl_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder, self.width, self.d_state, self.layers = encoder, width, d_state, layers
        self.latent, self.hidden, self.steps, self.method = latent, hidden, steps, method
        self.kl_weight = kl_weight

    def build_network(self, task: ImputationTask) -> None:
        """Make encoder, flow and readout."""
        count = 1 if self.encoder == "ode_rnn" else self.layers
        slowest = task.resolution / task.window
        made = [sequence_layer(self.encoder, self.width, d_state=self.d_state, slowest=slowest) for _ in range(count)]
        encoder = made[0] if self.encoder == "ode_rnn" else ResidualStack(made)
        flow = NeuralODE(MLP(self.latent, (self.hidden, self.hidden), activation="tanh"), method=self.method)
        self.model = LatentODE(self.features, self.latent, encoder, flow)
        channels = len(task.channels)
        self.straight = nn.Linear(self.latent, 2 * channels)
        self.bent = nn.Sequential(nn.Linear(self.latent, self.hidden), nn.GELU(), nn.Linear(self.hidden, 2 * channels))
        self.register_buffer("grid", torch.linspace(0, 1, self.steps + 1), persistent=False)

    grid: torch.Tensor

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch."""
        rows = self.read(batch)
        mean, std = self.model.infer(rows.features, rows.dt, rows.present)
        start = mean + std * torch.randn_like(mean) if self.training else mean
        solution = self.model.flow(start, self.grid)
        states = solution.interpolate((batch.times / self.built_for.window).clamp(max=1))
        found, raw = (self.straight(states) + self.bent(states)).chunk(2, dim=-1)
        return GaussianAnswer(
            mean=found,
            std=F.softplus(raw) + LEAST_STD,
            penalty=self.kl_weight * gaussian_kl(mean, std),
            stats=solution.stats,
        )
