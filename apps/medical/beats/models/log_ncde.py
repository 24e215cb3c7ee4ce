"""A controlled differential equation reads the raw window of each beat, S5 steps from beat to beat."""

import torch
from torch import Tensor, nn

from integrand.apps.medical.beats.models.beat_network import RhythmBeatNetwork
from integrand.apps.medical.beats.task import BeatTask
from integrand.core.layers import S5, SequenceLayer
from integrand.core.models import LogNCDE


class CDEEncoder(nn.Module):
    """Windows drive a log neural CDE, whose last state is read, (B, C, L) to (B, width).

    Args:
        task: of the beats.
        width: of what is read.
        d_state: dimension of the state.
        hidden: units of the field.
        depth: of the log-signatures.
        step: samples of the window in one of them.
    """

    def __init__(self, task: BeatTask, width: int, *, d_state: int, hidden: int, depth: int, step: int) -> None:
        super().__init__()
        self.equation = LogNCDE(
            len(task.leads), d_state, out=width, depth=depth, window=step, hidden=(hidden,), method="midpoint"
        )
        self.register_buffer("times", torch.linspace(0, 1, task.window), persistent=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Return (B, width)."""
        return self.equation(windows.transpose(1, 2), self.times).y[:, -1]

    times: Tensor


class LogNCDEBeatNetwork(RhythmBeatNetwork):
    """A log neural CDE sees each beat, S5 layers step from beat to beat, see ``RhythmBeatNetwork``.

    Args:
        width: of what is seen, and of the S5 layers.
        d_state: dimension of the controlled equation's state, and states of an S5 layer.
        hidden: units of the equation's field.
        depth: of the log-signatures, 1 to 3.
        step: samples of the window in one of them.
        layers: S5 layers in each direction.
        dropout: in the layers and before the head.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        d_state: int = 32,
        hidden: int = 64,
        depth: int = 2,
        step: int = 6,
        layers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(width=width, layers=layers, stages=1, dropout=dropout)
        self.save_hyperparameters()
        self.d_state, self.hidden, self.depth, self.step = d_state, hidden, depth, step

    def make_encoder(self, task: BeatTask) -> nn.Module:
        """Return the controlled equation."""
        return CDEEncoder(task, self.width, d_state=self.d_state, hidden=self.hidden, depth=self.depth, step=self.step)

    def make_layer(self) -> SequenceLayer:
        """Return an S5 layer whose states remember from a few beats to many."""
        return S5(self.width, d_state=self.d_state, dt_min=0.02, dt_max=1.0)
