"""A convolutional look at each beat, and a state-space memory from beat to beat whose step is the time between them."""

from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.layers import S5, ResidualStack, SequenceLayer
from integrand.core.models.read_backwards import read_backwards

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
        self.enter = nn.Conv1d(leads, widths[0], 7, padding=3, stride=2)
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

        e_n = [look(beat_n), MLP(features_n)],      h = [stack(W e, RR), reversed stack(reversed W e, reversed RR)],
        scores_n = MLP([h_n, e_n]),

    where the step of the equation in a stack is the real interval RR between two beats, so that a pause counts as
    long as it lasts. A causal task has the forward stack alone. Without stages there is no look: the features, which
    tell of rhythm and shape in units of the patient's own usual beat, are then all that a network knows of a beat. Of
    the few patients of MIT-BIH the look is learned by heart, and new patients are named better without it.

    A subclass says by ``make_layer`` which layer steps from beat to beat; by default the look is that of convolutions.

    Args:
        width: channels of the look and of the layers.
        layers: how many, in each direction.
        stages: halvings of the window's resolution; 0 for no look.
        dropout: of the convolutions' channels, of features, in the layers and before the head.
    """

    may_be_zero: ClassVar[tuple[str, ...]] = ("stages",)

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
        hidden = seen = 2 * self.width
        self.encoder = None
        if self.stages:
            self.encoder, seen = self.make_encoder(task), hidden + self.width
        self.features = nn.Sequential(nn.Linear(len(task.features), hidden), nn.GELU(), nn.Dropout(self.dropout))
        self.merge = nn.Linear(seen, self.width)

        def stack() -> ResidualStack:
            return ResidualStack([self.make_layer() for _ in range(self.layers)], dropout=self.dropout)

        self.forwards = stack()
        self.backwards = None if task.causal else stack()
        found = seen + (1 if task.causal else 2) * self.width
        self.head = nn.Sequential(
            nn.LayerNorm(found),
            nn.Dropout(self.dropout),
            nn.Linear(found, hidden),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Linear(hidden, len(task.classes)),
        )

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the scores of the classes, (B, N, K)."""
        return self.carry(batch, None)[0]

    def carry(self, batch: BeatBatch, state: Any) -> tuple[Tensor, Any]:
        """Return the scores of beats that follow on others, and the state of the layers after them."""
        return self._named(self._looks(batch.windows.flatten(0, 1)), batch, state)

    def look(self, windows: Tensor) -> Tensor:
        """Return what is seen of each window, (M, C, L) to (M, width)."""
        assert self.encoder is not None
        return self.encoder(windows)

    def name(self, looks: Tensor, batch: BeatBatch) -> Tensor:
        """Return the scores (B, N, K) of beats by what was seen of each, (B N, width), and by their features."""
        return self._named(looks, batch, None)[0]

    def _looks(self, windows: Tensor) -> Tensor | None:
        if self.encoder is None:
            return None
        if torch.is_grad_enabled():
            return self.look(windows)
        return torch.cat([self.look(piece) for piece in windows.split(PIECE)])

    def _named(self, looks: Tensor | None, batch: BeatBatch, state: Any) -> tuple[Tensor, Any]:
        seen = self.features(batch.features)
        if looks is not None:
            seen = torch.cat([looks.view(*batch.mask.shape, -1), seen], dim=-1)
        x = self.merge(seen)
        ahead = self.forwards(x, batch.intervals, batch.present, state)
        found = [ahead.y]
        if self.backwards is not None:
            found.append(read_backwards(self.backwards, x, batch.intervals, batch.present))
        return self.head(torch.cat([*found, seen], dim=-1)), ahead.state


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
