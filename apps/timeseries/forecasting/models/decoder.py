"""The half of a forecaster that moves a latent state through the future and reads it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast
from integrand.apps.timeseries.forecasting.models.readout import GaussianReadout
from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import Solution, SolverStats
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

ROUNDING = 1e-6
"""What a query may lie beyond the horizon, in horizons, by the rounding of single precision alone."""


@dataclass(frozen=True)
class LatentPath:
    """The latent state over the horizon, and beyond it where that was asked for; time in horizons.

    Attributes:
        within: the solution up to t = 1.
        beyond: the solution from there on, or None.
    """

    within: Solution
    beyond: Solution | None = None

    @property
    def times(self) -> Tensor:
        """(T,) of ``states``."""
        return self.within.times if self.beyond is None else torch.cat([self.within.times, self.beyond.times[1:]])

    @property
    def states(self) -> Tensor:
        """(B, T, D)."""
        if self.beyond is None:
            return self.within.states
        return torch.cat([self.within.states, self.beyond.states[:, 1:]], dim=1)

    @property
    def stats(self) -> SolverStats:
        """Work of both solves."""
        one = self.within.stats
        if self.beyond is None:
            return one
        other = self.beyond.stats
        return SolverStats(
            one.evaluations + other.evaluations, one.accepted + other.accepted, one.rejected + other.rejected
        )

    def interpolate(self, t: Tensor) -> Tensor:
        """Return the states (B, Q, D) at t (B, Q)."""
        states = self.within.interpolate(t)
        if self.beyond is None:
            return states
        return torch.where((t > 1 + ROUNDING).unsqueeze(-1), self.beyond.interpolate(t), states)


class ODEDecoder(nn.Module):
    """A latent neural ODE, driven by the calendar, with a Gaussian read off it at any time.

        dz/dt = f(z, calendar(t)),      (mean, std)(t) = readout(z(t), anchor, t), see ``GaussianReadout``

    Time is measured in horizons from the forecast origin, so t = 1 is the end of what training sees. The equation is
    solved once on a grid of ``steps`` and interpolated to the query times, wherever they lie. Where the farthest of
    them lies beyond t = 1, a second solve goes on from there with the same steps, which leaves the first as it is.

    Args:
        task: what is forecast.
        latent: dimension D of z.
        hidden: width of the field.
        method: a method of ``solve_ode``.
        steps: output times in the future; also the steps of methods that have fixed ones.
        past: how far before the origin the path starts, in horizons.
    """

    def __init__(
        self, task: ForecastTask, *, latent: int, hidden: int, method: str, steps: int, past: float = 0.0
    ) -> None:
        super().__init__()
        self.horizon = task.horizon
        periods = [p / task.horizon for p in task.periods]
        field = MLP(latent, (hidden,), control=2 * len(periods), activation="silu")
        self.forced = bool(periods)
        self.flow = NeuralODE(PeriodicForcing(field, periods) if periods else field, method=method)
        count = steps + round(past * steps)
        self.step = (1 + past) / count
        self.register_buffer("grid", torch.linspace(-past, 1.0, count + 1), persistent=False)
        self.readout = GaussianReadout(task, latent)

    grid: Tensor

    def drive(self, batch: IrregularBatch) -> Tensor | None:
        """Return what the field takes as its argument."""
        return batch.phase if self.forced else None

    def solve(self, z0: Tensor, batch: IrregularBatch) -> LatentPath:
        """Solve from z0 (B, D) over the grid, and on to the batch's farthest query where that lies beyond."""
        within = self.flow(z0, self.grid, self.drive(batch))
        # Training asks within the horizon alone, and must not wait for the device to say so.
        if self.training or batch.target_times is None or not batch.target_times.numel():
            return LatentPath(within)
        farthest = float(batch.target_times.max()) / self.horizon
        if farthest <= 1 + ROUNDING:
            return LatentPath(within)
        count = math.ceil((farthest - 1) / self.step - ROUNDING)
        onward = self.grid[-1] + self.step * torch.arange(max(count, 1) + 1, device=z0.device).to(self.grid)
        return LatentPath(within, self.flow(within.states[:, -1], onward, self.drive(batch)))

    def read(self, path: LatentPath, anchor: Tensor, batch: IrregularBatch, penalty: Tensor | None = None) -> Forecast:
        """Read the forecast at the batch's query times."""
        assert batch.target_times is not None
        states = path.interpolate(batch.target_times / self.horizon)
        mean, std = self.readout(states, anchor, batch.target_times)
        return Forecast(
            mean=mean,
            std=std,
            penalty=penalty,
            latent=path.states,
            latent_times=path.times * self.horizon,
            stats=path.stats,
        )
