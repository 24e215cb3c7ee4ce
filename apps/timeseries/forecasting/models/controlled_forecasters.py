"""Controlled equations that the context drives up to the forecast origin: neural CDE, neural RDE, Log-NCDE."""

from typing import ClassVar, Literal

import torch
from torch import nn

from integrand.apps.timeseries.forecasting.models.decoder import ODEDecoder
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.core.models import ControlledModel, LogNCDE, NeuralCDE, NeuralRDE
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


class ControlledForecaster(Forecaster):
    """A state driven by the path through the context, dz = f(z) dX, starts an ODE through the future.

    The path ends at the forecast origin: after the last observation time alone moves on. What the state holds there
    and the last known levels with their ages, through an affine map, start the decoder. Time is measured in contexts.

    A subclass says by ``make_model`` which equation.

    Args:
        d_state: dimension of z.
        hidden: width of both fields.
        latent: dimension D of the decoder's state.
        steps: output times over the horizon.
        method: a method of ``solve_ode``, for the decoder.
        intensity: whether how often each channel has been observed so far drives the state, too.
        dropout: on what starts the decoder.
    """

    def __init__(
        self, *, d_state: int, hidden: int, latent: int, steps: int, method: str, intensity: bool, dropout: float
    ) -> None:
        super().__init__()
        self.d_state, self.hidden, self.latent = d_state, hidden, latent
        self.steps, self.method, self.intensity, self.dropout = steps, method, intensity, dropout

    def make_model(self, task: ForecastTask) -> ControlledModel:
        """Return the equation."""
        raise NotImplementedError

    def build_network(self, task: ForecastTask) -> None:
        """Make equation, decoder, and what lies between."""
        self.model = self.make_model(task)
        self.norm = nn.LayerNorm(self.d_state)
        self.start = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(self.d_state + self.features, self.latent))
        self.decoder = ODEDecoder(task, latent=self.latent, hidden=self.hidden, method=self.method, steps=self.steps)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        values, mask, times, _ = self.observed(batch)
        context = self.encode(batch)
        found = self.norm(self.model(values, times, mask=mask).states[:, -1])
        solution = self.decoder.solve(self.start(torch.cat([found, context.now], dim=-1)), batch)
        return self.decoder.read(solution, context.anchor, batch)


class NeuralCDEForecaster(ControlledForecaster):
    """Forecaster by a neural CDE, see ``ControlledForecaster``.

    Args:
        interpolation: how the path is made, see ``NeuralCDE``.
        d_state, hidden, latent, steps, method, intensity, dropout: see there.
    """

    def __init__(
        self,
        *,
        d_state: int = 32,
        hidden: int = 64,
        interpolation: Literal["hermite", "linear", "cubic", "rectilinear"] = "hermite",
        latent: int = 32,
        steps: int = 4,
        method: str = "rk4",
        intensity: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            d_state=d_state,
            hidden=hidden,
            latent=latent,
            steps=steps,
            method=method,
            intensity=intensity,
            dropout=dropout,
        )
        self.save_hyperparameters()
        self.interpolation: Literal["hermite", "linear", "cubic", "rectilinear"] = interpolation

    def make_model(self, task: ForecastTask) -> ControlledModel:
        """Return a neural CDE."""
        return NeuralCDE(
            len(task.channels),
            self.d_state,
            hidden=(self.hidden,),
            interpolation=self.interpolation,
            intensity=self.intensity,
            time_scale=task.context,
        )


class _WindowedForecaster(ControlledForecaster):
    """Shared by the two whose equation is driven by what windows of the path amount to."""

    equation: ClassVar[type[NeuralRDE] | type[LogNCDE]]

    def __init__(
        self,
        *,
        d_state: int = 32,
        hidden: int = 64,
        window: int = 8,
        latent: int = 32,
        steps: int = 4,
        method: str = "rk4",
        intensity: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(
            d_state=d_state,
            hidden=hidden,
            latent=latent,
            steps=steps,
            method=method,
            intensity=intensity,
            dropout=dropout,
        )
        self.save_hyperparameters()
        self.window = window

    def make_model(self, task: ForecastTask) -> ControlledModel:
        """Return the equation."""
        return self.equation(
            len(task.channels),
            self.d_state,
            hidden=(self.hidden,),
            window=self.window,
            intensity=self.intensity,
            time_scale=task.context,
        )


class NeuralRDEForecaster(_WindowedForecaster):
    """Forecaster by a neural RDE: log-signatures of windows drive the state, see ``ControlledForecaster``.

    Args:
        window: elements a window.
        d_state, hidden, latent, steps, method, intensity, dropout: see there.
    """

    equation = NeuralRDE


class LogNCDEForecaster(_WindowedForecaster):
    """Forecaster by a Log-NCDE: Lie brackets of the field over windows, see ``ControlledForecaster``.

    Args:
        window: elements a window.
        d_state, hidden, latent, steps, method, intensity, dropout: see there.
    """

    equation = LogNCDE
