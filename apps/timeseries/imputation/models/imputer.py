"""What every imputing network shares: how it reads a window, and the line it starts from.

Dimension letters: B batch, L rows of a window, which are the query times too, C channels, F features of a row.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.series.neighbours import Nearest, after, before, interpolated
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.fields.periodic_forcing import harmonics
from integrand.core.numerics import SolverStats
from integrand.datasets.imputation import ImputationTask
from integrand.datasets.irregular import IrregularBatch

LEAST_STD = 0.02
"""Least standard deviation of an answer, in standardised units: a few hundredths is what instruments resolve. Channels
that follow from others are told almost exactly, and the score alone would not mind how wrong it may be then."""


@dataclass(frozen=True)
class Rows:
    """A window as a network reads it.

    Attributes:
        features: (B, L, F): values (0 where missing), which are observed, the last and the next value of each channel,
            how near they are, the line between them, the calendar and the group.
        dt: (B, L) intervals before the rows, in units of the task's resolution.
        present: (B, L), False in the padding.
        line: (B, L, C) linear interpolation: the answer of the simplest baseline.
        loose: (B, L, C) how far the nearest value is: 0 where observed, 1 at a window's length or with none.
    """

    features: Tensor
    dt: Tensor
    present: Tensor
    line: Tensor
    loose: Tensor


class Imputer(TaskNetwork[ImputationTask]):
    """Base of the imputing networks, see ``TaskNetwork``; they answer at the rows of the window."""

    calendar: Tensor

    def build(self, task: ImputationTask) -> None:
        """Make the parameters for a task; a second call with the same task does nothing."""
        if self.task is None:
            self.register_buffer("calendar", 2 * torch.pi / torch.tensor(task.periods), persistent=False)
        super().build(task)

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch, whose ``target_times`` are its ``times``."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        """Number F of features of a row."""
        task = self.built_for
        return 7 * len(task.channels) + 2 * len(task.periods) + len(task.groups)

    def read(self, batch: IrregularBatch) -> Rows:
        """Describe every row of a window."""
        task = self.built_for
        if batch.target_times is not None and batch.target_times.shape != batch.times.shape:
            raise InputError("an imputer answers at the rows of its window: give rows without values where you ask.")
        earlier, later = (side(batch.values, batch.mask, batch.times) for side in (before, after))
        line = interpolated(earlier, later)
        closeness = [self._closeness(one) for one in (earlier, later)]
        mask = batch.mask.to(line)
        parts = [batch.values, mask, earlier.value, later.value, *closeness, line]
        if batch.phase is not None and task.periods:
            parts.append(harmonics(batch.phase.unsqueeze(1) + self.calendar * batch.times.unsqueeze(-1)))
        if batch.static is not None and task.groups:
            parts.append(batch.static.unsqueeze(1).expand(-1, line.shape[1], -1))
        dt = torch.cat([torch.ones_like(batch.times[:, :1]), batch.times.diff(dim=1) / task.resolution], dim=1)
        loose = 1 - torch.maximum(*closeness)
        return Rows(torch.cat(parts, dim=-1), dt, batch.present, line, loose)

    def _closeness(self, nearest: Nearest) -> Tensor:
        """Return 1 where the value itself is observed, falling with the logarithm of its distance, 0 with none."""
        task = self.built_for
        far = torch.log1p(nearest.distance / task.resolution) / math.log1p(task.window / task.resolution)
        return torch.where(nearest.found, 1 - far.clamp(max=1), 0)


class GaussianHead(nn.Module):
    """From what a network found at a row to the mean and the deviation of every channel there.

        mean = line + W [h, x] + g(h),      std = softplus(v(h) + a loose + b)

    The line and W carry what is linear; g starts at zero, so that the network begins as a regression.

    Args:
        task: what is imputed.
        width: of h.
        features: of x; 0 where the head is to see h alone.
        dropout: on h and x.
    """

    def __init__(self, task: ImputationTask, width: int, features: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        channels, self.features = len(task.channels), features
        self.thin = nn.Dropout(dropout)
        self.straight = nn.Linear(width + features, channels)
        self.bent = nn.Sequential(
            nn.Linear(width + features, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 2 * channels)
        )
        last = self.bent[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            self.straight.weight.mul_(0.1)
            self.straight.bias.zero_()
            last.weight.zero_()
            last.bias.zero_()
        self.slope = nn.Parameter(torch.full((channels,), 2.0))
        self.base = nn.Parameter(torch.full((channels,), -1.5))

    def forward(self, found: Tensor, rows: Rows, stats: SolverStats | None = None) -> GaussianAnswer:
        """Read (B, L, width)."""
        seen = torch.cat([found, self.thin(rows.features)], dim=-1) if self.features else found
        move, raw = self.bent(seen).chunk(2, dim=-1)
        std = F.softplus(raw + self.base + self.slope * rows.loose) + LEAST_STD
        return GaussianAnswer(mean=rows.line + self.straight(seen) + move, std=std, penalty=None, stats=stats)
