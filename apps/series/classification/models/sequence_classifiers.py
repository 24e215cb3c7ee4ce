"""Sequence layers in a residual stack, read out as a mean or at the end: S5, S4D, LRU, LinOSS, Mamba, CfC, LTC, LEM."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from integrand.apps.series.classification.models.classifier import Classifier, Head
from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.series.layers import sequence_layer
from integrand.core.layers import LinOSS, ResidualStack, SequenceLayer
from integrand.datasets.irregular import IrregularBatch


class SequenceClassifier(Classifier):
    """A stack of sequence layers reads the series at its own times; what it says is averaged and read out.

        h = stack(lift(elements), dt),      p = softmax(head(mean_l h_l)),

    the mean taken over the elements that are there; or ``pooling="last"``, h at the last element.

    A subclass says by ``layer`` which one, a name of ``sequence_layer``.

    Args:
        width: channels of the layers.
        layers: how many of them.
        pooling: ``"mean"`` or ``"last"``.
        dropout: within the blocks.
    """

    layer: ClassVar[str]

    def __init__(
        self, *, width: int = 64, layers: int = 2, pooling: Literal["mean", "last"] = "mean", dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.width, self.layers, self.dropout = width, layers, dropout
        self.pooling: Literal["mean", "last"] = pooling
        self.d_state = width

    def make_layer(self, task: ClassificationTask) -> SequenceLayer:
        """Return one layer, which remembers the longest series at the start."""
        return sequence_layer(self.layer, self.width, d_state=self.d_state, slowest=1 / task.elements)

    def build_network(self, task: ClassificationTask) -> None:
        """Make lift, stack and head."""
        self.lift = nn.Linear(self.features, self.width)
        self.stack = ResidualStack([self.make_layer(task) for _ in range(self.layers)], dropout=self.dropout)
        self.head = Head(self.width, task)

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        features, dt, present = self.elements(batch)
        h = self.stack(self.lift(features), dt, present).y
        return self.head(pooled(h, batch, present, self.pooling), batch)


def pooled(h: Tensor, batch: IrregularBatch, present: Tensor | None, how: str) -> Tensor:
    """Return the mean of (B, L, D) over the elements that are there, or the last one, (B, D); 0 where there is none."""
    if how == "last":
        last = (batch.lengths - 1).clamp(min=0)
        return torch.where(batch.lengths.unsqueeze(1) > 0, h[torch.arange(len(h), device=h.device), last], 0)
    if present is None:
        return h.mean(1)
    weight = present.unsqueeze(-1)
    return torch.where(weight, h, 0).sum(1) / weight.sum(1).clamp(min=1)


class S5Classifier(SequenceClassifier):
    """Classifier of S5 layers, see ``SequenceClassifier``.

    Args:
        d_state: states of a layer, even.
        width, layers, pooling, dropout: see there.
    """

    layer = "s5"

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 32,
        layers: int = 2,
        pooling: Literal["mean", "last"] = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(width=width, layers=layers, pooling=pooling, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state


class S4DClassifier(S5Classifier):
    """Classifier of S4D layers; arguments as those of ``S5Classifier``, ``d_state`` for each channel."""

    layer = "s4d"


class LRUClassifier(S5Classifier):
    """Classifier of LRU layers; arguments as those of ``S5Classifier``."""

    layer = "lru"


class LinOSSClassifier(SequenceClassifier):
    """Classifier of LinOSS layers, see ``SequenceClassifier``.

    Args:
        d_state: oscillators of a layer.
        discretization: ``"im"``, which forgets, or ``"imex"``, which conserves.
        width, layers, pooling, dropout: see there.
    """

    layer = "linoss"

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 32,
        discretization: Literal["im", "imex"] = "im",
        layers: int = 2,
        pooling: Literal["mean", "last"] = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(width=width, layers=layers, pooling=pooling, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state
        self.discretization: Literal["im", "imex"] = discretization

    def make_layer(self, task: ClassificationTask) -> SequenceLayer:
        """Return a LinOSS layer."""
        return LinOSS(self.width, d_state=self.d_state, discretization=self.discretization)


class MambaClassifier(SequenceClassifier):
    """Classifier of Mamba layers, see ``SequenceClassifier``.

    Args:
        d_state: states of each channel.
        width, layers, pooling, dropout: see there.
    """

    layer = "mamba"

    def __init__(
        self,
        *,
        width: int = 64,
        d_state: int = 16,
        layers: int = 2,
        pooling: Literal["mean", "last"] = "mean",
        dropout: float = 0.1,
    ) -> None:
        super().__init__(width=width, layers=layers, pooling=pooling, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state


class RecurrentClassifier(SequenceClassifier):
    """Base of the classifiers whose layers go element by element, see ``SequenceClassifier``.

    Args:
        width, layers, pooling, dropout: see there.
    """

    def __init__(
        self, *, width: int = 64, layers: int = 1, pooling: Literal["mean", "last"] = "mean", dropout: float = 0.1
    ) -> None:
        super().__init__(width=width, layers=layers, pooling=pooling, dropout=dropout)
        self.save_hyperparameters()


class CfCClassifier(RecurrentClassifier):
    """Classifier of closed-form continuous-time layers; arguments as those of ``RecurrentClassifier``."""

    layer = "cfc"


class LTCClassifier(RecurrentClassifier):
    """Classifier of liquid time-constant layers; arguments as those of ``RecurrentClassifier``."""

    layer = "ltc"


class LEMClassifier(RecurrentClassifier):
    """Classifier of long expressive memories; arguments as those of ``RecurrentClassifier``."""

    layer = "lem"


class ODERNNClassifier(RecurrentClassifier):
    """Classifier of ODE-RNNs; arguments as those of ``RecurrentClassifier``."""

    layer = "ode_rnn"
