"""A controlled equation that the signal drives through its log-signatures: Log-NCDE."""

import torch
from torch import Tensor

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import Head, Reduction, SegmentNetwork
from integrand.apps.medical.segments.task import SegmentTask
from integrand.core.models import LogNCDE


class LogNCDESegmentNetwork(SegmentNetwork):
    """A state z driven by a path through the reduced signal, dz = f(z) dX, solved over log-signatures of its windows.

    The path has few channels, since a log-signature of depth two has an area for every pair of them. Time runs from 0
    to 1 over a segment; the head sees the state at the end of every window.

    Args:
        d_state: dimension of z.
        hidden: width of the field's hidden layer.
        channels: of the path.
        halvings: of the resolution before it, at least 1.
        window: elements of the path a window.
        dropout: before the head.
    """

    def __init__(
        self,
        *,
        d_state: int = 32,
        hidden: int = 64,
        channels: int = 6,
        halvings: int = 2,
        window: int = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.d_state, self.hidden, self.channels = d_state, hidden, channels
        self.halvings, self.window, self.dropout = halvings, window, dropout

    def build_network(self, task: SegmentTask) -> None:
        """Make convolutions, equation and head."""
        self.reduction = Reduction(len(task.leads), self.channels, self.halvings)
        self.model = LogNCDE(self.channels, self.d_state, hidden=(self.hidden,), window=self.window)
        self.head = Head(self.d_state, len(task.classes), self.dropout)

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        path = self.reduction(batch.signal).transpose(1, 2)
        times = torch.linspace(0, 1, path.shape[1], device=path.device, dtype=path.dtype)
        reached = times[self.window :: self.window]
        asked = torch.cat([reached, times[-1:]]) if not len(reached) or reached[-1] < 1 else reached
        found = self.model(path, times, query_times=asked)
        return self.head(found.states)
