"""The latent stochastic differential equation as a forecaster."""

import math

import torch
from torch import Tensor, nn

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.mixture import mixture, stratified_draws
from integrand.apps.timeseries.forecasting.models.readout import GaussianReadout
from integrand.core.fields import DiagonalDiffusion
from integrand.core.layers import S5
from integrand.core.models import LatentSDE
from integrand.core.numerics import SolverStats
from integrand.core.paths import LinearPath
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class LatentSDEForecaster(Forecaster):
    """A path of the posterior follows the context up to the forecast origin; from there the prior's SDE goes on.

    S5 reads the context backwards, and steers the posterior's drift as the start of its path. What stands between two
    steps is read on the line between them, by a small network that sees how far ahead it is, the calendar there and
    the group. In training one path is drawn for each sample; in evaluation several, and their mixture's mean and
    variance are returned. The divergence of the path from the prior's is added to the loss with weight ``kl_weight``.

    Args:
        width: channels of the encoder.
        d_state: states of the encoder.
        latent: dimension D of the latent state.
        hidden: width of both drifts and of the network that reads the state.
        steps: steps over the horizon; the context gets as many in proportion.
        samples: paths drawn in evaluation.
        kl_weight: weight of the divergence, per sample and target value.
        dropout: within the network that reads the state.

    Source: Li, Wong, Chen and Duvenaud (2020), Scalable gradients for stochastic differential equations.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        latent: int = 32,
        hidden: int = 64,
        steps: int = 8,
        samples: int = 8,
        kl_weight: float = 0.001,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.latent, self.hidden = width, d_state, latent, hidden
        self.steps, self.samples, self.kl_weight, self.dropout = steps, samples, kl_weight, dropout

    def build_network(self, task: ForecastTask) -> None:
        """Make encoder, both processes and readout."""
        past = task.context / task.horizon
        encoder = S5(
            self.width, d_state=self.d_state, dt_min=0.01, dt_max=0.5, time_scale=task.resolution / task.horizon
        )
        self.model = LatentSDE(self.features, self.latent, encoder, hidden=(self.hidden,), on_failure="nan")
        # Little noise at first, of 0.05 in a horizon: a start that is lost in noise teaches the encoder nothing.
        assert isinstance(self.model.diffusion, DiagonalDiffusion)
        nn.init.constant_(self.model.diffusion.bias_out, -3.0)
        self.mix = nn.Sequential(nn.Linear(self.latent + self.asked, self.hidden), nn.GELU(), nn.Dropout(self.dropout))
        self.readout = GaussianReadout(task, self.hidden)
        # Time is measured in horizons from the origin.
        self.register_buffer("past", torch.linspace(-past, 0, max(1, round(past * self.steps)) + 1), persistent=False)
        self.register_buffer("future", torch.linspace(0, 1, self.steps + 1), persistent=False)

    past: Tensor
    future: Tensor

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        assert batch.target_times is not None
        context, count = self.encode(batch), 1 if self.training else self.samples
        horizon = self.built_for.horizon
        # The paths of a sample lie together, as they do in what LatentODE returns.
        features, times, present, lead, asked, anchor = (
            x.repeat_interleave(count, dim=0)
            for x in (
                context.features,
                self.observed(batch).times / horizon,
                context.present,
                batch.target_times / horizon,
                self.ask(batch),
                context.anchor,
            )
        )
        noise = seeds = None
        if not self.training:
            # The same paths at every evaluation, whatever the batch: each sample meets the same few draws.
            noise = stratified_draws(count, self.latent, like=features).repeat(len(batch), 1)
            seeds = torch.arange(count, device=features.device).repeat(len(batch))
        posterior = self.model(features, times, present, self.past, noise=noise, seeds=seeds)
        pieces = [posterior.solution]
        for number in range(self._horizons(batch)):
            start = pieces[-1].states[:, -1]
            own = None if seeds is None else seeds + count * (number + 1)
            pieces.append(self.model.sample(len(start), self.future + number, start=start, seeds=own))
        # Where one piece ends the next begins.
        grid = torch.cat([self.past, *(piece.times[1:] for piece in pieces[1:])])
        states = torch.cat([pieces[0].states, *(piece.states[:, 1:] for piece in pieces[1:])], dim=1)
        read = self.mix(torch.cat([LinearPath(states, grid).evaluate(lead), asked], dim=-1))
        mean, std = (x.unflatten(0, (-1, count)).transpose(0, 1) for x in self.readout(read, anchor, lead * horizon))
        both = mixture(mean, std)
        return Forecast(
            mean=both.mean,
            std=both.std,
            penalty=self.kl_weight * posterior.kl.unflatten(0, (-1, count)).mean(1),
            stats=_together([piece.stats for piece in pieces], count),
            latent=states[::count],
            latent_times=grid * horizon,
        )

    def _horizons(self, batch: IrregularBatch) -> int:
        """Return how many horizons the batch's queries reach ahead."""
        # Training asks within one alone, and must not wait for the device to say so.
        if self.training or batch.target_times is None or not batch.target_times.numel():
            return 1
        farthest = float(batch.target_times.max()) / self.built_for.horizon
        return max(1, math.ceil(farthest - 1e-6))


def _together(parts: list[SolverStats], count: int) -> SolverStats:
    """Return the work of all parts for the first path of each sample."""
    names = ("evaluations", "accepted", "rejected")
    return SolverStats(**{name: torch.stack([getattr(part, name)[::count] for part in parts]).sum(0) for name in names})
