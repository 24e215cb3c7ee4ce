"""A convolutional look at each beat, and a state-space memory from beat to beat whose step is the time between them."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.layers import S5, ResidualStack, SequenceLayer
from integrand.core.models.read_backwards import read_backwards
from integrand.datasets.beat_series import RHYTHM

RIDGE = 2e-3
"""Of the regression's weights: that of a logistic regression of 50,000 beats with inverse penalty 0.005."""
PIECE = 4096
"""Beats that are encoded together where nothing is learned."""


class BeatNetwork(TaskNetwork[BeatTask]):
    """Names the beats of a run; a subclass says by ``forward`` how. Returns scores (B, N, K)."""

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the scores of the classes, (B, N, K)."""
        raise NotImplementedError

    def learn(self, batch: BeatBatch) -> tuple[Tensor, Tensor | None]:
        """Return the scores, and what training is to keep low beside their cross entropy, a scalar, or None."""
        return self(batch), None

    def carry(self, batch: BeatBatch, state: Any) -> tuple[Tensor, Any]:
        """Return the scores of beats that follow on others, (B, N, K), and the state after them.

        Args:
            batch: the beats that come next, of a causal task.
            state: what was returned with the beats before; None where there are none.
        """
        raise InputError(
            f"{type(self).__name__} does not name beats one after another: train s5 with --data.causal true."
        )


class WaveformEncoder(nn.Module):
    """Residual convolutions along a window, (B, C, L) to (B, width), averaged at the end.

    Args:
        leads: C.
        width: channels of the last stage; the first has half of them.
        stages: how often the resolution is halved, at least 1.
        dropout: of channels.
    """

    def __init__(self, leads: int, width: int, stages: int, dropout: float) -> None:
        super().__init__()
        widths = [max(8, width // 2), *[width] * stages]
        self.enter = nn.Conv1d(leads, widths[0], 7, padding=3)
        self.stages = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.GroupNorm(1, narrow),
                    "first": nn.Conv1d(narrow, wide, 5, padding=2, stride=2),
                    "second": nn.Conv1d(wide, wide, 5, padding=2),
                    "short": nn.Conv1d(narrow, wide, 1, stride=2),
                }
            )
            for narrow, wide in pairwise(widths)
        )
        self.norm, self.dropout = nn.GroupNorm(1, width), nn.Dropout1d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width)."""
        x = self.enter(x)
        for stage in self.stages:
            parts: Any = stage
            change = parts["second"](F.gelu(parts["first"](F.gelu(parts["norm"](x)))))
            x = parts["short"](x) + self.dropout(change)
        return F.gelu(self.norm(x)).mean(-1)


class RhythmBeatNetwork(BeatNetwork):
    """Base of the networks whose layers carry what was seen of each beat along the rhythm, forwards and backwards.

        e_n = [look(beat_n), MLP(rhythm_n)],      h = [stack(e, RR), reversed stack(reversed e, reversed RR)],
        scores_n = head([h_n, e_n]) + W_0 features_n,

    where the step of the equation in a stack is the real interval RR between two beats, so that a pause counts as
    long as it lasts. A causal task has the forward stack alone.

    The last term is a regression on the features of rhythm and of shape that what the layers see is added to;
    ``RIDGE`` |W_0|^2 is added to the loss. The layers see the features of the rhythm alone beside the windows: those of
    shape, in units of the patient's own usual beat, they would learn by heart.

    A subclass says by ``make_layer`` which layer steps from beat to beat; by default the look is that of convolutions.

    Args:
        width: channels of the look and of the layers.
        layers: how many, in each direction.
        stages: halvings of the window's resolution.
        dropout: of the convolutions' channels, in the layers and before the head.
    """

    def __init__(self, *, width: int, layers: int, stages: int, dropout: float) -> None:
        super().__init__()
        self.width, self.layers, self.stages, self.dropout = width, layers, stages, dropout

    def make_layer(self) -> SequenceLayer:
        """Return one layer of ``width`` channels that counts time in seconds."""
        raise NotImplementedError

    def make_encoder(self, task: BeatTask) -> nn.Module:
        """Return what looks at windows, (M, C, L) to (M, width)."""
        return WaveformEncoder(len(task.leads), self.width, self.stages, self.dropout)

    def build_network(self, task: BeatTask) -> None:
        """Make encoder, stacks and head."""
        self.encoder = self.make_encoder(task)
        self.rhythm = nn.Sequential(nn.Linear(len(RHYTHM), self.width), nn.GELU(), nn.Dropout(self.dropout))
        self.merge = nn.Linear(2 * self.width, self.width)

        def stack() -> ResidualStack:
            return ResidualStack([self.make_layer() for _ in range(self.layers)], dropout=self.dropout)

        self.forwards = stack()
        self.backwards = None if task.causal else stack()
        directions = 1 if task.causal else 2
        self.norm = nn.LayerNorm((directions + 2) * self.width)
        self.head = nn.Sequential(nn.Dropout(self.dropout), nn.Linear((directions + 2) * self.width, len(task.classes)))
        self.regression = nn.Linear(len(task.features), len(task.classes))
        nn.init.zeros_(self.regression.weight)
        nn.init.zeros_(self.regression.bias)

    def learn(self, batch: BeatBatch) -> tuple[Tensor, Tensor | None]:
        """Return the scores, (B, N, K), and the regression's penalty."""
        return self(batch), self.penalty()

    def penalty(self) -> Tensor:
        """Return ``RIDGE`` |W_0|^2."""
        return RIDGE * self.regression.weight.square().sum()

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the scores of the classes, (B, N, K)."""
        return self.carry(batch, None)[0]

    def carry(self, batch: BeatBatch, state: Any) -> tuple[Tensor, Any]:
        """Return the scores of beats that follow on others, and the state of the layers after them."""
        windows = batch.windows.flatten(0, 1)
        if torch.is_grad_enabled():
            return self._named(self.look(windows), batch, state)
        return self._named(torch.cat([self.look(piece) for piece in windows.split(PIECE)]), batch, state)

    def look(self, windows: Tensor) -> Tensor:
        """Return what is seen of each window, (M, C, L) to (M, width)."""
        return self.encoder(windows)

    def name(self, looks: Tensor, batch: BeatBatch) -> Tensor:
        """Return the scores (B, N, K) of beats by what was seen of each, (B N, width), and by their rhythm."""
        return self._named(looks, batch, None)[0]

    def _named(self, looks: Tensor, batch: BeatBatch, state: Any) -> tuple[Tensor, Any]:
        b, n = batch.mask.shape
        seen = torch.cat([looks.view(b, n, -1), self.rhythm(batch.features[..., : len(RHYTHM)])], dim=-1)
        x = self.merge(seen)
        ahead = self.forwards(x, batch.intervals, batch.present, state)
        found = [ahead.y]
        if self.backwards is not None:
            found.append(read_backwards(self.backwards, x, batch.intervals, batch.present))
        scores = self.head(self.norm(torch.cat([*found, seen], dim=-1))) + self.regression(batch.features)
        return scores, ahead.state


class S5BeatNetwork(RhythmBeatNetwork):
    """Convolutions see each beat, S5 layers step from beat to beat, see ``RhythmBeatNetwork``.

    Args:
        d_state: states of a layer.
        width, layers, stages, dropout: see there.
    """

    def __init__(
        self, *, width: int = 48, d_state: int = 32, layers: int = 2, stages: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__(width=width, layers=layers, stages=stages, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_layer(self) -> SequenceLayer:
        """Return an S5 layer whose states remember from a few beats to many."""
        return S5(self.width, d_state=self.d_state, dt_min=0.02, dt_max=1.0)
