"""A state-space memory over the intervals between beats, which is all that it sees."""

import torch
from torch import Tensor, nn

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import Head, SegmentNetwork
from integrand.apps.medical.segments.task import SegmentTask
from integrand.core.errors import InputError
from integrand.core.layers import S5, ResidualStack
from integrand.core.models.read_backwards import read_backwards

SPREAD = 0.2
"""Of the logarithm of an interval about its mean, such as fibrillation has; the unit of the elements."""


class S5IntervalNetwork(SegmentNetwork):
    """S5 layers go from beat to beat, forwards and backwards, by steps of the real interval between them.

    An element is log RR against the mean of the segment, its change from the interval before, and that mean
    standardised by those of training, so that a rhythm looks alike at any heart rate; the step of the linear equation
    is RR itself. The signal is not looked at, so it must be known where the beats are.

    Args:
        width: channels.
        d_state: states of a layer.
        layers: how many, in each direction.
        dropout: in the layers and before the head.
    """

    def __init__(self, *, width: int = 32, d_state: int = 16, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.layers, self.dropout = width, d_state, layers, dropout

    def build_network(self, task: SegmentTask) -> None:
        """Make stacks and head."""
        if not task.beats:
            raise InputError(
                "no beats are marked in these data, which intervals need: take another --model, such as s5."
            )
        self.lift = nn.Linear(3, self.width)

        def stack() -> ResidualStack:
            made = [S5(self.width, d_state=self.d_state, dt_min=0.02, dt_max=1.0) for _ in range(self.layers)]
            return ResidualStack(made, dropout=self.dropout)

        self.forwards, self.backwards = stack(), stack()
        self.merge = nn.Linear(2 * self.width, self.width)
        self.head = Head(self.width, len(task.classes), self.dropout)

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        task = self.built_for
        if not batch.mask.shape[1]:
            raise InputError(
                "no beats are marked in this recording, which intervals need: name the --annotator of its beats."
            )
        there = batch.mask
        logs = batch.intervals.clamp(min=1e-3).log()
        mean = torch.where(there, logs, 0).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        change = torch.diff(logs, dim=1, prepend=logs[:, :1])
        pace = ((mean - task.interval_location) / task.interval_scale).expand_as(logs)
        elements = torch.stack([(logs - mean) / SPREAD, change / SPREAD, pace], dim=-1)
        x = self.lift(torch.where(there.unsqueeze(-1), elements, 0))
        found = [
            self.forwards(x, batch.intervals, batch.mask).y,
            read_backwards(self.backwards, x, batch.intervals, batch.mask, first=1.0),
        ]
        return self.head(self.merge(torch.cat(found, dim=-1)), batch.mask)
