"""The variational latent ODE as a forecaster."""

from dataclasses import replace

import torch
from torch import Tensor

from integrand.apps.timeseries.forecasting.models.decoder import ODEDecoder
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.mixture import mixture, stratified_draws
from integrand.core.losses import gaussian_kl
from integrand.core.models import ODERNN, LatentODE
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class LatentODEForecaster(Forecaster):
    """An ODE-RNN reads the context backwards, and infers a latent state at its start; the ODE runs on into the future.

    In training one path is drawn for each sample; in evaluation several, and their mixture's mean and variance are
    returned. The divergence from the prior is added to the loss with weight ``kl_weight``.

    Args:
        width: channels of the encoder.
        d_state: hidden state of the encoder.
        latent: dimension D of the latent state.
        hidden: width of the latent field.
        steps: output times over the horizon; the context gets as many in proportion.
        method: a method of ``solve_ode``.
        samples: paths drawn in evaluation.
        kl_weight: weight of the divergence, per sample and target value.

    Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time
    series.
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
        samples: int = 8,
        kl_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.latent, self.hidden = width, d_state, latent, hidden
        self.steps, self.method, self.samples, self.kl_weight = steps, method, samples, kl_weight

    def build_network(self, task: ForecastTask) -> None:
        """Make encoder, flow and readout."""
        self.decoder = ODEDecoder(
            task,
            latent=self.latent,
            hidden=self.hidden,
            method=self.method,
            steps=self.steps,
            past=task.context / task.horizon,
        )
        encoder = ODERNN(self.width, d_state=self.d_state, hidden=(self.hidden,), time_scale=task.context)
        self.model = LatentODE(self.features, self.latent, encoder, self.decoder.flow)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        context = self.encode(batch)
        mean, std = self.model.infer(context.features, context.dt, context.present)
        if self.training:
            return self._path(batch, context.anchor, mean, std, torch.randn_like(mean))
        # The same paths at every evaluation, whatever the batch: each sample meets the same few draws.
        noise_SD = stratified_draws(self.samples, self.latent, like=mean)
        paths = [self._path(batch, context.anchor, mean, std, noise.expand_as(mean)) for noise in noise_SD]
        both = mixture(torch.stack([p.mean for p in paths]), torch.stack([p.std for p in paths]))
        return replace(paths[0], mean=both.mean, std=both.std)

    def _path(self, batch: IrregularBatch, anchor: Tensor, mean: Tensor, std: Tensor, noise: Tensor) -> Forecast:
        path = self.decoder.solve(mean + std * noise, batch)
        return self.decoder.read(path, anchor, batch, self.kl_weight * gaussian_kl(mean, std))
