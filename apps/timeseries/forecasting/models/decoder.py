"""The half of a forecaster that moves a latent state through the future and reads it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast
from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import Solution
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

LEAST_STD = 0.05
"""Least standard deviation of a forecast, in standardised units: about what instruments resolve. Without it the score
is a thousandth better in validation, and an hour of fog after a clear day all but impossible."""


class ODEDecoder(nn.Module):
    """A latent neural ODE, driven by the calendar, with a Gaussian read off it at any time.

        dz/dt = f(z, calendar(t)),
        mean(t) = a(t) anchor + r(t) W z(t),      a(t) = a_1 + (1 - a_1) exp(-t / tau_a),
        std(t) = r(t) softplus(V z(t)),           r(t) = 1 - (1 - r_0) exp(-t / tau_r)

    The anchor is each channel's last value. How long it holds, a, and how far the future has come loose from it, r,
    are learned for each channel: both are the relaxation of a process to its equilibrium, so that soon after the
    origin the network need not learn with great precision that little has moved, nor late that the present is
    forgotten.

    Time is measured in horizons from the forecast origin, so t = 1 is the end. The equation is solved once on a grid
    of ``steps`` and interpolated to the query times, wherever they lie.

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

    def solve(self, z0: Tensor, batch: IrregularBatch) -> Solution:
        """Solve from z0 (B, D) over the grid."""
        return self.flow(z0, self.grid, self.drive(batch))

    def read(
        self, solution: Solution, anchor: Tensor, batch: IrregularBatch, penalty: Tensor | None = None
    ) -> Forecast:
        """Read the forecast at the batch's query times."""
        assert batch.target_times is not None
        states = solution.interpolate(batch.target_times / self.horizon)
        move, raw = self.readout(states).chunk(2, dim=-1)
        lead = (batch.target_times / self.horizon).unsqueeze(-1)
        held, start = self.hold["logit"].sigmoid(), self.reach["logit"].sigmoid()
        hold = held + (1 - held) * torch.exp(-lead / self.hold["log_time"].exp())
        reach = 1 - (1 - start) * torch.exp(-lead / self.reach["log_time"].exp())
        return Forecast(
            mean=hold * anchor.unsqueeze(1) + reach * move,
            std=reach * F.softplus(raw) + LEAST_STD,
            penalty=penalty,
            latent=solution.states,
            latent_times=self.grid * self.horizon,
            stats=solution.stats,
        )


def _relaxation(channels: int, *, logit: float, log_time: float) -> dict[str, nn.Parameter]:
    """A level in (0, 1) and a time for each channel, as unconstrained parameters."""
    return {
        "logit": nn.Parameter(torch.full((channels,), logit)),
        "log_time": nn.Parameter(torch.full((channels,), log_time)),
    }
