"""Sequence layers that read a window forwards and backwards, and answer at every row: S5, LinOSS, Mamba, CfC, LTC."""

from typing import ClassVar

import torch
from torch import nn

from integrand.apps.series.layers import sequence_layer
from integrand.apps.timeseries.imputation.models.imputer import GaussianHead, Imputer
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.core.layers import ResidualStack
from integrand.core.models.read_backwards import read_backwards
from integrand.datasets.imputation import ImputationTask
from integrand.datasets.irregular import IrregularBatch


class SequenceImputer(Imputer):
    """Two stacks of sequence layers read a window at its own times, one forwards and one backwards.

        h = [stack(lift(rows), dt), reversed stack(reversed lift(rows), dt)],

    so that the state at a row knows all that was observed before it and after it, each carried over the gap by the
    layer's own equation. Mean and deviation are read off at every row, observed or not: a row at which nothing was
    observed is a question.

    A subclass says by ``layer`` which one, a name of ``sequence_layer``.

    Args:
        width: channels of the layers.
        d_state: states of a layer.
        layers: how many of them, in each direction.
        hidden: width of the head's nonlinear path.
        dropout: within the blocks and the head.
        input_dropout: on the features of a row.
    """

    layer: ClassVar[str]

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 64,
        layers: int = 2,
        hidden: int = 128,
        dropout: float = 0.1,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.layers, self.hidden = width, d_state, layers, hidden
        self.dropout, self.input_dropout = dropout, input_dropout

    def build_network(self, task: ImputationTask) -> None:
        """Make lift, stacks and head."""
        slowest = task.resolution / task.window

        def stack() -> ResidualStack:
            layers = [
                sequence_layer(self.layer, self.width, d_state=self.d_state, slowest=slowest)
                for _ in range(self.layers)
            ]
            return ResidualStack(layers, dropout=self.dropout)

        self.lift = nn.Sequential(nn.Dropout(self.input_dropout), nn.Linear(self.features, self.width))
        self.forwards, self.backwards = stack(), stack()
        self.norm = nn.Sequential(nn.LayerNorm(2 * self.width), nn.Dropout(self.dropout))
        self.head = GaussianHead(task, 2 * self.width, self.features, hidden=self.hidden, dropout=self.dropout)

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer at every row of the batch."""
        rows = self.read(batch)
        lifted = self.lift(rows.features)
        ahead = self.forwards(lifted, rows.dt, rows.present).y
        back = read_backwards(self.backwards, lifted, rows.dt, rows.present, first=1.0)  # as the first row forwards
        return self.head(self.norm(torch.cat([ahead, back], dim=-1)), rows)


class S5Imputer(SequenceImputer):
    """Imputer of S5 layers, see ``SequenceImputer``."""

    layer = "s5"


class LinOSSImputer(SequenceImputer):
    """Imputer of LinOSS layers, see ``SequenceImputer``."""

    layer = "linoss"


class MambaImputer(SequenceImputer):
    """Imputer of Mamba layers, see ``SequenceImputer``; ``d_state`` states of each channel."""

    layer = "mamba"


class CfCImputer(SequenceImputer):
    """Imputer of closed-form continuous-time layers, see ``SequenceImputer``."""

    layer = "cfc"


class LTCImputer(SequenceImputer):
    """Imputer of liquid time-constant layers, see ``SequenceImputer``."""

    layer = "ltc"
