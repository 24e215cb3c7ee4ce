"""The half of a forecaster that moves a latent state through the future and reads it."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast
from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import Solution, SolverStats
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

LEAST_STD = 0.05
"""Least standard deviation of a forecast, in standardised units: about what instruments resolve. Without it the score
is a thousandth better in validation, and an hour of fog after a clear day all but impossible."""

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

        dz/dt = f(z, calendar(t)),
        mean(t) = a(t) anchor + r(t) W z(t),      a(t) = a_1 + (1 - a_1) exp(-t / tau_a),
        std(t) = r(t) softplus(V z(t)),           r(t) = 1 - (1 - r_0) exp(-t / tau_r)

    The anchor is each channel's last value. How long it holds, a, and how far the future has come loose from it, r,
    are learned for each channel: both are the relaxation of a process to its equilibrium, so that soon after the
    origin the network need not learn with great precision that little has moved, nor late that the present is
    forgotten.

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
        self.readout = nn.Linear(latent, 2 * task.targets)
        # At first a_1 = 0.73 and tau_a = 0.5, r_0 = 0.2 and tau_r = 0.14 horizons, as for weather a day ahead.
        self.hold = nn.ParameterDict(_relaxation(task.targets, logit=1.0, log_time=-0.7))
        self.reach = nn.ParameterDict(_relaxation(task.targets, logit=-1.4, log_time=-2.0))
        with torch.no_grad():
            # Start near persistence: the mean moves off the anchor as training finds reason to.
            self.readout.weight.mul_(0.1)
            self.readout.bias.zero_()

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
        move, raw = self.readout(states).chunk(2, dim=-1)
        lead = (batch.target_times / self.horizon).unsqueeze(-1)
        held, start = self.hold["logit"].sigmoid(), self.reach["logit"].sigmoid()
        hold = held + (1 - held) * torch.exp(-lead / self.hold["log_time"].exp())
        reach = 1 - (1 - start) * torch.exp(-lead / self.reach["log_time"].exp())
        return Forecast(
            mean=hold * anchor.unsqueeze(1) + reach * move,
            std=reach * F.softplus(raw) + LEAST_STD,
            penalty=penalty,
            latent=path.states,
            latent_times=path.times * self.horizon,
            stats=path.stats,
        )


def _relaxation(channels: int, *, logit: float, log_time: float) -> dict[str, nn.Parameter]:
    """A level in (0, 1) and a time for each channel, as unconstrained parameters."""
    return {
        "logit": nn.Parameter(torch.full((channels,), logit)),
        "log_time": nn.Parameter(torch.full((channels,), log_time)),
    }
