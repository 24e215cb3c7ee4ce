"""Raw signals through sequence layers, forwards and backwards in time: S5, LinOSS, Mamba."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import Head, Reduction, SegmentNetwork
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.series.layers import sequence_layer
from integrand.core.layers import ResidualStack


class SequenceSegmentNetwork(SegmentNetwork):
    """Convolutions reduce the resolution, sequence layers read the segment in both directions.

        e = reduction(signal),      h = [stack(e), reversed stack(reversed e)],      scores = head(h),

    Elements lie 2^halvings / rate seconds apart, which the layers count as one; at the start the slowest of their
    states remembers a whole segment.

    A subclass says by ``layer`` which one, a name of ``sequence_layer``.

    Args:
        width: channels of the convolutions and the layers.
        d_state: states of a layer; of Mamba for each channel.
        layers: how many, in each direction.
        halvings: of the resolution, at least 1.
        dropout: in the layers and before the head.
    """

    layer: ClassVar[str]

    def __init__(
        self, *, width: int = 48, d_state: int = 32, layers: int = 2, halvings: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.layers, self.halvings, self.dropout = width, d_state, layers, halvings, dropout

    def build_network(self, task: SegmentTask) -> None:
        """Make convolutions, stacks and head."""
        self.reduction = Reduction(len(task.leads), self.width, self.halvings)
        slowest = 1 / max(2, task.samples >> self.halvings)

        def stack() -> ResidualStack:
            options = {"d_state": self.d_state, "slowest": slowest}
            made = [sequence_layer(self.layer, self.width, **options) for _ in range(self.layers)]
            return ResidualStack(made, dropout=self.dropout)

        self.forwards, self.backwards = stack(), stack()
        self.merge = nn.Linear(2 * self.width, self.width)
        self.head = Head(self.width, len(task.classes), self.dropout)

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        x = self.reduction(batch.signal).transpose(1, 2)
        found = torch.cat([self.forwards(x).y, self.backwards(x.flip(1)).y.flip(1)], dim=-1)
        return self.head(self.merge(found))


class S5SegmentNetwork(SequenceSegmentNetwork):
    """Network of S5 layers, see ``SequenceSegmentNetwork``."""

    layer = "s5"


class LinOSSSegmentNetwork(SequenceSegmentNetwork):
    """Network of LinOSS layers, see ``SequenceSegmentNetwork``."""

    layer = "linoss"


class MambaSegmentNetwork(SequenceSegmentNetwork):
    """Network of Mamba layers, see ``SequenceSegmentNetwork``; ``d_state`` 8 is enough of each channel."""

    layer = "mamba"
