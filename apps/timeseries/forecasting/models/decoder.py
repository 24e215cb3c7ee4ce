"""The half of a forecaster that moves a latent state through the future and reads it."""

import torch
from torch import Tensor, nn

from integrand.apps.timeseries.forecasting.models.forecaster import Forecast
from integrand.apps.timeseries.forecasting.models.readout import GaussianReadout
from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import Solution
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class ODEDecoder(nn.Module):
    """A latent neural ODE, driven by the calendar, with a Gaussian read off it at any time.

        dz/dt = f(z, calendar(t)),      (mean, std)(t) = readout(z(t), anchor, t), see ``GaussianReadout``

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
        self.readout = GaussianReadout(task, latent)

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
        mean, std = self.readout(states, anchor, batch.target_times)
        return Forecast(
            mean=mean,
            std=std,
            penalty=penalty,
            latent=solution.states,
            latent_times=self.grid * self.horizon,
            stats=solution.stats,
        )
