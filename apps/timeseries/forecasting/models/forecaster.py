"""What every forecasting network shares: its features, its anchor, and what it returns.

Dimension letters: B batch, L context length, Q query times, C channels seen, K channels forecast, F features,
T times of the latent path, D latent state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.apps.series.neighbours import before
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.fields.periodic_forcing import harmonics
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.irregular import IrregularBatch


@dataclass(frozen=True)
class Forecast(GaussianAnswer):
    """A Gaussian forecast of every target channel at every query time, and the path it is read from.

    Attributes:
        mean, std, penalty, stats: see ``GaussianAnswer``.
        latent: (B, T, D) states of the latent path; None where there is none.
        latent_times: (T,) or (B, T) their times, in time units from the forecast origin.
    """

    latent: Tensor | None = None
    latent_times: Tensor | None = None


class Forecaster(TaskNetwork[ForecastTask]):
    """Base of the forecasting networks, see ``TaskNetwork``."""

    calendar: Tensor
    foreseen: Foreseen

    def build(self, task: ForecastTask) -> None:
        """Make the parameters for a task; a second call with the same task does nothing."""
        if self.task is None:
            self.register_buffer("calendar", 2 * torch.pi / torch.tensor(task.periods), persistent=False)
            if task.known:
                self.foreseen = Foreseen(len(task.known), task.targets)
                self.register_forward_hook(_foresee)
        super().build(task)

    def forward(self, batch: IrregularBatch) -> Forecast:
        """Forecast the batch at its ``target_times``."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Number F of features an element of the context has."""
        task = self.built_for
        return 4 * len(task.channels) + 2 * len(task.periods) + task.described

    def encode(self, batch: IrregularBatch) -> Context:
        """Describe every context row, and the forecast origin as a last row on which nothing is observed.

        A row's features are the values (0 where missing), which are observed, the last value of each channel so far,
        its age on the scale of the context (1 where there was none), the calendar and the group. Because padded rows
        stand at the last time, the appended row's interval is the gap between the last observation and the origin.
        """
        task = self.built_for
        zeros = torch.zeros_like(batch.values[:, :1])
        values = torch.cat([batch.values, zeros], dim=1)
        mask = torch.cat([batch.mask, zeros.bool()], dim=1)
        times = torch.cat([batch.times, torch.zeros_like(batch.times[:, :1])], dim=1)
        present = torch.cat([batch.present, torch.ones_like(batch.present[:, :1])], dim=1)

        last = before(values, mask, times)
        carried = last.value
        age = torch.where(last.found, last.distance / task.context, 1).clamp(max=1)

        parts = [values, mask.to(values), carried, age]
        if batch.phase is not None and task.periods:
            parts.append(harmonics(batch.phase.unsqueeze(1) + self.calendar * times.unsqueeze(-1)))
        if batch.static is not None and task.described:
            parts.append(batch.static.unsqueeze(1).expand(-1, times.shape[1], -1))
        first = torch.full_like(times[:, :1], task.resolution)
        dt = torch.cat([first, times.diff(dim=1)], dim=1)
        return Context(torch.cat(parts, dim=-1), dt, present, carried[:, -1, : task.targets], len(task.channels))

    def observed(self, batch: IrregularBatch) -> Observed:
        """Return what the context holds, and the forecast origin as a last element on which nothing is observed.

        Padding stands at the origin, too: time passes up to there once, and not again.
        """
        nothing = batch.values.new_zeros(len(batch), 1, batch.values.shape[-1])
        origin = nothing[..., 0]
        return Observed(
            torch.cat([batch.values, nothing], dim=1),
            torch.cat([batch.mask, nothing.bool()], dim=1),
            torch.cat([torch.where(batch.present, batch.times, 0), origin], dim=1),
            torch.cat([batch.present, origin == 0], dim=1),
        )

    @property
    def asked(self) -> int:
        """Number A of features a query time has."""
        task = self.built_for
        return 1 + 2 * len(task.periods) + task.described

    def ask(self, batch: IrregularBatch) -> Tensor:
        """Describe every query time (B, Q, A): how far ahead it is, in horizons, the calendar there and the group."""
        task = self.built_for
        assert batch.target_times is not None
        lead = batch.target_times.unsqueeze(-1)
        parts = [lead / task.horizon]
        if batch.phase is not None and task.periods:
            parts.append(harmonics(batch.phase.unsqueeze(1) + self.calendar * lead))
        if batch.static is not None and task.described:
            parts.append(batch.static.unsqueeze(1).expand(-1, lead.shape[1], -1))
        return torch.cat(parts, dim=-1)


def _foresee(network: Forecaster, given: tuple[IrregularBatch, ...], said: Forecast) -> Forecast:
    """Add what follows from what is known beforehand, whatever the network: it stands after its ``forward``."""
    (batch,) = given
    if batch.known is None:
        raise InputError(f"the forecast needs {', '.join(network.built_for.known)} at the times it is asked for.")
    return replace(said, mean=said.mean + network.foreseen(batch.known))


class Foreseen(nn.Module):
    """What the channels known beforehand, k(t), add to the mean forecast: W k(t) + g(k(t)), zero at first.

    Args:
        known: how many these channels are.
        targets: how many channels are forecast.
        hidden: width of g.
    """

    def __init__(self, known: int, targets: int, hidden: int = 32) -> None:
        super().__init__()
        self.straight = nn.Linear(known, targets, bias=False)
        self.bent = nn.Sequential(nn.Linear(known, hidden), nn.GELU(), nn.Linear(hidden, targets))
        last = self.bent[-1]
        assert isinstance(last, nn.Linear)
        for parameter in (self.straight.weight, last.weight, last.bias):
            nn.init.zeros_(parameter)

    def forward(self, known: Tensor) -> Tensor:
        """Map (B, Q, known) to (B, Q, targets)."""
        return self.straight(known) + self.bent(known)


class Observed(NamedTuple):
    """The context as it was observed, the last element being the forecast origin, where nothing is.

    Attributes:
        values: (B, L + 1, C).
        mask: (B, L + 1, C) bool.
        times: (B, L + 1), non-decreasing; 0 at the origin and in the padding.
        present: (B, L + 1) bool, False in the padding.
    """

    values: Tensor
    mask: Tensor
    times: Tensor
    present: Tensor


@dataclass(frozen=True)
class Context:
    """The context as a network reads it.

    Attributes:
        features: (B, L + 1, F), the last row being the forecast origin.
        dt: (B, L + 1) intervals, in time units; 0 in the padding.
        present: (B, L + 1), False in the padding.
        anchor: (B, K) last value of each target channel, the forecast of persistence; 0 (the mean) where there is none.
        channels: number C of channels; the features begin with values, observed, carried and age of each.
    """

    features: Tensor
    dt: Tensor
    present: Tensor
    anchor: Tensor
    channels: int

    @property
    def now(self) -> Tensor:
        """(B, F) the features at the forecast origin."""
        return self.features[:, -1]

    def changes(self) -> Tensor:
        """Return the features (B, L + 1, F) with every level measured from the channel's last one.

        Weather of another season then looks to an encoder as weather does: levels it has not met stay out of it.
        """
        values, observed, carried, age, rest = self.features.split(
            [*[self.channels] * 4, self.features.shape[-1] - 4 * self.channels], dim=-1
        )
        last = carried[:, -1:]
        # A channel's age is 1 where it has not been seen yet, and its carried value then no level at all.
        moved = torch.where(age < 1, carried - last, 0)
        return torch.cat([(values - last) * observed, observed, moved, age, rest], dim=-1)
