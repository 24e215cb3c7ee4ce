"""Sequence layers as forecasters: the equation that read the past is carried on to any time of the future.

Dimension letters: B batch, L context length, Q query times, C channels seen, K channels forecast, F features, W width;
N series: the batch, or each channel of each of its samples.
"""

from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.series.layers import sequence_layer
from integrand.apps.series.neighbours import before
from integrand.apps.timeseries.forecasting.models.forecaster import Forecast, Forecaster
from integrand.apps.timeseries.forecasting.models.readout import LEAST_STD
from integrand.apps.timeseries.forecasting.models.window_scale import channels_apart, last_level, window_scale
from integrand.core.fields.periodic_forcing import harmonics
from integrand.core.layers import LinOSS, SequenceLayer
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch

OVERTONES = 4
"""Harmonics of each calendar period in the cycle of a channel."""


class Elements(NamedTuple):
    """What the layers read, and what is asked of them.

    Attributes:
        features: (N, L + Q, F) of the rows, then of the queries, where nothing is observed.
        dt: (N, L + Q) intervals, in units of the resolution: before each row, and from the last row to each query.
        present: (N, L), False in the padding.
    """

    features: Tensor
    dt: Tensor
    present: Tensor


class SequenceForecaster(Forecaster):
    """A causal stack of sequence layers reads the context; each layer's own equation goes on to the query times.

    With a cycle c of the calendar, a level l and a spread s of the window, x = (value - c(t) - l) / s,

        y_k, h_k = layer_k(u_k),      u_1 = lift(x, -l/s, ...), u_{k+1} = u_k + W_k y_k + GLU(V_k gelu(norm(y_k))),
        [m, r](t) = S y(t) + MLP(y(t), ...),                   y(t) = [y_1(t), ..., y_n(t)],
        mean(t) = c(t) + l + s m(t),                           std(t) = s softplus(r(t)) + least,

    where y_k(t) is what layer k says at t, after its state h_k at the last row t_L has moved on with nothing to drive
    it. For a linear state space that is solved exactly, y_k(t) = C exp(A (t - t_L)) h_k: a linear forecaster with as
    many modes as states. V_k and the last matrix of the MLP start at zero, so that the network begins as a linear model
    and bends only as far as the data ask.

    Layers that only step over an interval, or whose time passes at elements alone (``flows = False``), take one step
    from h_k to each query, whose calendar and ages are the element. Either way an answer depends on the rows and its
    own time alone, neither on the other queries nor on their order.

    The cycle of a channel is a Fourier series over the calendar periods, learned and zero at first. The level is the
    last value of a channel. The spread is one; with ``independent`` the level is the mean of the window and the spread
    its deviation, each channel is a series of its own, and all go through the same weights: few of them, trained on K
    times as many series, and blind to channels that are not forecast.

    A subclass says by ``layer`` which one, a name of ``sequence_layer``.

    Args:
        width: channels of the layers.
        layers: how many of them.
        hidden: width of the MLP.
        dropout: between layers and within the MLP.
        independent: whether each channel is a series of its own.

    Source: Nie, Nguyen, Sinthong and Kalagnanam (2023), A time series is worth 64 words, for channels apart; Kim et al.
    (2022), Reversible instance normalization, for level and spread given back; Lin et al. (2024), CycleNet, for a
    learned cycle.
    """

    layer: ClassVar[str]
    flows: ClassVar[bool] = True

    def __init__(
        self, *, width: int = 64, layers: int = 2, hidden: int = 64, dropout: float = 0.2, independent: bool = False
    ) -> None:
        super().__init__()
        self.width, self.layers, self.hidden = width, layers, hidden
        self.dropout, self.independent = dropout, independent
        self.d_state = width

    def make_layer(self, task: ForecastTask) -> SequenceLayer:
        """Return one layer, which remembers the context at the start."""
        slowest = task.resolution / task.context
        return sequence_layer(self.layer, self.width, d_state=self.d_state, slowest=slowest)

    def build_network(self, task: ForecastTask) -> None:
        """Make cycle, lift, layers, what lies between them, and the two paths to the answer."""
        seen, told = (1, 1) if self.independent else (len(task.channels), task.targets)
        features = 4 * seen + 2 * len(task.periods) + task.described
        self.cycle = nn.Parameter(torch.zeros(len(task.channels), 2 * len(task.periods) * OVERTONES))
        self.cycle.requires_grad_(bool(task.periods))
        self.lift = nn.Linear(features, self.width)
        self.stack = nn.ModuleList(self.make_layer(task) for _ in range(self.layers))
        self.between = nn.ModuleList(Between(self.width, dropout=self.dropout) for _ in range(self.layers - 1))
        if self.flows and isinstance(passed := getattr(self.stack[-1], "d", None), nn.Parameter):
            passed.requires_grad_(False)  # what passes the last layer by never reaches a query: nothing is observed
        said = self.layers * self.width
        self.straight = nn.Linear(said, 2 * told)
        bend = nn.Linear(self.hidden, 2 * told)
        nn.init.zeros_(bend.weight)
        nn.init.zeros_(bend.bias)
        facts = features + 2 * seen
        self.bent = nn.Sequential(
            nn.Dropout(self.dropout), nn.Linear(said + facts, self.hidden), nn.GELU(), nn.Dropout(self.dropout), bend
        )
        with torch.no_grad():
            self.straight.weight.mul_(0.1)  # near the level at first
            self.straight.bias.zero_()

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        task, asked = self.built_for, batch.target_times
        assert asked is not None
        series = replace(batch, values=torch.where(batch.mask, batch.values - self._cycle(batch, batch.times), 0))
        if self.independent:
            series = channels_apart(series, task.targets)
        level, spread = window_scale(series) if self.independent else last_level(series)
        elements = self._elements(series, level, spread)
        said = self._flowed(elements) if self.flows else self._stepped(elements)
        queries = elements.features[:, -asked.shape[1] :]
        scale = torch.cat([torch.tanh(level / 2), spread.log()], dim=-1).expand(-1, asked.shape[1], -1)
        bent = self.bent(torch.cat([said, queries, scale], dim=-1))
        move, raw = (self.straight(said) + bent).chunk(2, dim=-1)
        told = move.shape[-1]
        mean = level[..., :told] + spread[..., :told] * move
        std = spread[..., :told] * F.softplus(raw) + LEAST_STD
        if self.independent:
            mean, std = (part.unflatten(0, (-1, task.targets)).squeeze(-1).mT for part in (mean, std))
        return Forecast(mean + self._cycle(batch, asked)[..., : task.targets], std, None, None)

    def _cycle(self, batch: IrregularBatch, times: Tensor) -> Tensor:
        """Return the cycle of every channel at times (B, T): (B, T, C)."""
        if not self.built_for.periods or batch.phase is None:
            return times.new_zeros(*times.shape, len(self.cycle))
        angle = batch.phase.unsqueeze(1) + self.calendar * times.unsqueeze(-1)
        overtones = torch.arange(1, OVERTONES + 1, device=angle.device)
        return harmonics((angle.unsqueeze(-1) * overtones).flatten(-2)) @ self.cycle.T

    def _elements(self, series: IrregularBatch, level: Tensor, spread: Tensor) -> Elements:
        """Describe rows and queries by values carried forward, which are observed, ages, where zero lies, the calendar
        and the group.

        An age is the time since a channel was last observed, on the scale of the context; 1 where it never was. Zero,
        the mean in training, lies at -l / s in units of the window: a linear mode may lead back there.
        """
        task, asked = self.built_for, series.target_times
        assert asked is not None
        values = torch.where(series.mask, (series.values - level) / spread, 0)
        nothing = values.new_zeros(*asked.shape, values.shape[-1])
        mask = torch.cat([series.mask, nothing.bool()], dim=1)
        times = torch.cat([series.times, asked], dim=1)
        last = before(torch.cat([values, nothing], dim=1), mask, times)
        age = torch.where(last.found, last.distance / task.context, 1)
        parts = [last.value, mask.to(values), age, (-level / spread).expand_as(age)]
        if series.phase is not None and task.periods:
            parts.append(harmonics(series.phase.unsqueeze(1) + self.calendar * times.unsqueeze(-1)))
        if series.static is not None and task.described:
            parts.append(series.static.unsqueeze(1).expand(-1, times.shape[1], -1))
        first = torch.full_like(asked[:, :1], task.resolution)
        dt = torch.cat([first, series.times.diff(dim=1), asked - series.times[:, -1:]], dim=1) / task.resolution
        return Elements(torch.cat(parts, dim=-1), dt, series.present)

    def _flowed(self, elements: Elements) -> Tensor:
        """Return what the layers say at the queries, (N, Q, layers W), in one sweep over rows and queries."""
        rows = elements.present.shape[1]
        wait, order = elements.dt[:, rows:].sort(dim=1)
        dt = even(torch.cat([elements.dt[:, :rows], wait[:, :1], wait.diff(dim=1)], dim=1))
        present = torch.cat([elements.present, torch.zeros_like(wait, dtype=torch.bool)], dim=1)
        u, said = self.lift(elements.features), []
        for k, layer in enumerate(self.stack):
            y = layer(u, dt, present).y
            said.append(y[:, rows:])
            u = self.between[k](u, y) if k < len(self.between) else u
        sorted_NQW = torch.cat(said, dim=-1)
        return torch.empty_like(sorted_NQW).scatter(1, order.unsqueeze(-1).expand_as(sorted_NQW), sorted_NQW)

    def _stepped(self, elements: Elements) -> Tensor:
        """Return the same, by one step of each layer from its state at the last row to every query."""
        rows = elements.present.shape[1]
        queries = elements.dt.shape[1] - rows
        dt, wait = even(elements.dt[:, :rows]), elements.dt[:, rows:].reshape(-1)
        lifted = self.lift(elements.features)
        u, asked, said = lifted[:, :rows], lifted[:, rows:].flatten(0, 1), []
        for k, layer in enumerate(self.stack):
            y, state = layer(u, dt, elements.present)
            at = layer.step(asked, wait, _repeated(state, queries)).y  # pyright: ignore[reportCallIssue]
            said.append(at)
            if k < len(self.between):
                u, asked = self.between[k](u, y), self.between[k](asked, at)
        return torch.cat(said, dim=-1).unflatten(0, (-1, queries))


class Between(nn.Module):
    """What a layer hands to the next, u + W y + dropout(GLU(V gelu(norm(y)))); V is zero at first.

    Args:
        width: channels of u and y.
        dropout: of the nonlinear part.
    """

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.straight = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        """Map u and y (..., W) to (..., W)."""
        return u + self.straight(y) + self.dropout(F.glu(self.gate(F.gelu(self.norm(y))), dim=-1))


class StateSpaceForecaster(SequenceForecaster):
    """Base of the forecasters whose layers have states besides their channels, see ``SequenceForecaster``.

    Args:
        d_state: states of a layer; of S4D and Mamba for each channel.
        width, layers, hidden, dropout, independent: see there.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        layers: int = 2,
        hidden: int = 64,
        dropout: float = 0.2,
        independent: bool = False,
    ) -> None:
        super().__init__(width=width, layers=layers, hidden=hidden, dropout=dropout, independent=independent)
        self.save_hyperparameters()
        self.d_state = d_state


class S5Forecaster(StateSpaceForecaster):
    """Forecaster of S5 layers; arguments as those of ``StateSpaceForecaster``, ``d_state`` even."""

    layer = "s5"


class S4DForecaster(StateSpaceForecaster):
    """Forecaster of S4D layers; arguments as those of ``StateSpaceForecaster``, ``d_state`` even, for each channel."""

    layer = "s4d"

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 16,
        layers: int = 2,
        hidden: int = 64,
        dropout: float = 0.2,
        independent: bool = False,
    ) -> None:
        super().__init__(
            width=width, d_state=d_state, layers=layers, hidden=hidden, dropout=dropout, independent=independent
        )
        self.save_hyperparameters()


class LRUForecaster(StateSpaceForecaster):
    """Forecaster of LRU layers; arguments as those of ``StateSpaceForecaster``."""

    layer = "lru"


class LinOSSForecaster(StateSpaceForecaster):
    """Forecaster of LinOSS layers: oscillators, ``"imex"``, so that they swing on over any time to a query.

    Arguments as those of ``StateSpaceForecaster``.
    """

    layer = "linoss"
    flows = False

    def make_layer(self, task: ForecastTask) -> SequenceLayer:
        """Return one layer, which conserves what it remembers."""
        return LinOSS(self.width, d_state=self.d_state, discretization="imex")


class MambaForecaster(S4DForecaster):
    """Forecaster of Mamba layers, whose steps into the future the query's content chooses.

    Arguments as those of ``StateSpaceForecaster``, ``d_state`` for each channel.
    """

    layer = "mamba"
    flows = False


class RecurrentForecaster(SequenceForecaster):
    """Base of the forecasters whose layers go element by element, see ``SequenceForecaster``.

    Args:
        width, layers, hidden, dropout, independent: see there.
    """

    def __init__(
        self, *, width: int = 64, layers: int = 1, hidden: int = 64, dropout: float = 0.2, independent: bool = False
    ) -> None:
        super().__init__(width=width, layers=layers, hidden=hidden, dropout=dropout, independent=independent)
        self.save_hyperparameters()


class CfCForecaster(RecurrentForecaster):
    """Forecaster of closed-form continuous-time layers, which the time to the query gates.

    Arguments as those of ``RecurrentForecaster``.
    """

    layer = "cfc"
    flows = False


class LTCForecaster(RecurrentForecaster):
    """Forecaster of liquid time-constant layers; arguments as those of ``RecurrentForecaster``."""

    layer = "ltc"
    flows = False


def even(dt: Tensor) -> Tensor | float:
    """Return the one interval of a regular grid as a number, which layers take in half the time.

    On an accelerator looking would wait for the device, which has no need of it.

    Example:
        >>> even(torch.ones(2, 3))
        1.0
    """
    if dt.device.type != "cpu" or not dt.numel():
        return dt
    low, high = (bound.item() for bound in dt.aminmax())
    return low if low == high else dt


def _repeated(state: Any, count: int) -> Any:
    """Return a nested state with each sample ``count`` times in a row."""
    if isinstance(state, Tensor):
        return state.repeat_interleave(count, dim=0)
    parts = [_repeated(part, count) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
