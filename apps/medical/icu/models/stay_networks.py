"""The networks of stays by name: which deep network stands beside the summaries."""

from typing import ClassVar

from integrand.apps.medical.icu.models.latent_classifiers import LatentODEClassifier, LatentSDEClassifier
from integrand.apps.medical.icu.models.wide_and_deep import WideAndDeep
from integrand.apps.series.classification.models.classifier import Classifier
from integrand.apps.series.classification.models.controlled_classifiers import NeuralCDEClassifier
from integrand.apps.series.classification.models.gru_d import GRUDClassifier
from integrand.apps.series.classification.models.mtan import MTANClassifier
from integrand.apps.series.classification.models.sequence_classifiers import (
    CfCClassifier,
    LinOSSClassifier,
    MambaClassifier,
    S5Classifier,
)


class S5Stays(WideAndDeep):
    """S5 layers over the hours, averaged over them, beside the summaries; see ``WideAndDeep``.

    Args:
        width: channels of the layers.
        d_state: states of a layer, even.
        layers: how many of them.
        dropout: within the layers.
        members, hidden, wide_dropout: see ``WideAndDeep``.
    """

    deep_network: ClassVar[type[Classifier]] = S5Classifier

    def __init__(
        self,
        *,
        width: int = 48,
        d_state: int = 32,
        layers: int = 2,
        dropout: float = 0.5,
        members: int = 1,
        hidden: int = 32,
        wide_dropout: float = 0.5,
    ) -> None:
        super().__init__(members=members, hidden=hidden, wide_dropout=wide_dropout)
        self.save_hyperparameters()
        self.width, self.d_state, self.layers, self.dropout = width, d_state, layers, dropout

    def make_deep(self) -> Classifier:
        """Return one classifier of these layers."""
        return self.deep_network(width=self.width, d_state=self.d_state, layers=self.layers, dropout=self.dropout)  # pyright: ignore[reportCallIssue]


class LinOSSStays(S5Stays):
    """LinOSS layers; arguments as those of ``S5Stays``."""

    deep_network = LinOSSClassifier


class MambaStays(S5Stays):
    """Mamba layers; arguments as those of ``S5Stays``, ``d_state`` for each channel."""

    deep_network = MambaClassifier


class CfCStays(WideAndDeep):
    """Closed-form continuous-time layers over the hours beside the summaries; see ``WideAndDeep``.

    Args:
        width: channels of the layers.
        layers: how many of them.
        dropout: within the layers.
        members, hidden, wide_dropout: see ``WideAndDeep``.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        layers: int = 1,
        dropout: float = 0.5,
        members: int = 1,
        hidden: int = 32,
        wide_dropout: float = 0.5,
    ) -> None:
        super().__init__(members=members, hidden=hidden, wide_dropout=wide_dropout)
        self.save_hyperparameters()
        self.width, self.layers, self.dropout = width, layers, dropout

    def make_deep(self) -> Classifier:
        """Return one classifier of these layers."""
        return CfCClassifier(width=self.width, layers=self.layers, dropout=self.dropout)


class _StateStays(WideAndDeep):
    """Shared by those whose deep network has a state of a size, and options of its own by default."""

    deep_network: ClassVar[type[Classifier]]

    def __init__(self, *, d_state: int = 32, members: int = 1, hidden: int = 32, wide_dropout: float = 0.5) -> None:
        super().__init__(members=members, hidden=hidden, wide_dropout=wide_dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_deep(self) -> Classifier:
        """Return one deep network."""
        return self.deep_network(d_state=self.d_state)  # pyright: ignore[reportCallIssue]


class NeuralCDEStays(_StateStays):
    """A neural CDE driven by the record, beside the summaries; see ``WideAndDeep``.

    Args:
        d_state: dimension of the state.
        members, hidden, wide_dropout: see ``WideAndDeep``.
    """

    deep_network = NeuralCDEClassifier


class GRUDStays(_StateStays):
    """A GRU-D; arguments as those of ``NeuralCDEStays``."""

    deep_network = GRUDClassifier


class MTANStays(_StateStays):
    """Multi-time attention read by a GRU; arguments as those of ``NeuralCDEStays``."""

    deep_network = MTANClassifier


class LatentODEStays(WideAndDeep):
    """A latent ODE that explains the record, beside the summaries; see ``WideAndDeep`` and ``LatentClassifier``.

    Args:
        latent: dimension of the latent state.
        kl_weight: weight of the divergence from the prior.
        fit_weight: weight of the squared error of the record's values.
        members, hidden, wide_dropout: see ``WideAndDeep``.
    """

    deep_network: ClassVar[type[Classifier]] = LatentODEClassifier

    def __init__(
        self,
        *,
        latent: int = 16,
        kl_weight: float = 0.001,
        fit_weight: float = 0.1,
        members: int = 1,
        hidden: int = 32,
        wide_dropout: float = 0.5,
    ) -> None:
        super().__init__(members=members, hidden=hidden, wide_dropout=wide_dropout)
        self.save_hyperparameters()
        self.latent, self.kl_weight, self.fit_weight = latent, kl_weight, fit_weight

    def make_deep(self) -> Classifier:
        """Return one latent classifier."""
        return self.deep_network(latent=self.latent, kl_weight=self.kl_weight, fit_weight=self.fit_weight)  # pyright: ignore[reportCallIssue]


class LatentSDEStays(LatentODEStays):
    """A latent SDE; arguments as those of ``LatentODEStays``."""

    deep_network = LatentSDEClassifier
