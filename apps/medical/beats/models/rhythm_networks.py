"""Convolutions see each beat, other layers than S5 step from beat to beat: LinOSS, LRU, Mamba, CfC."""

from typing import ClassVar

from integrand.apps.medical.beats.models.beat_network import RhythmBeatNetwork
from integrand.apps.series.layers import sequence_layer
from integrand.core.layers import SequenceLayer

SLOWEST = 0.02
"""Least speed of a state at the start, per second: layers remember about fifty beats."""


class NamedLayerBeatNetwork(RhythmBeatNetwork):
    """A network whose layer is one of ``sequence_layer``, see ``RhythmBeatNetwork``.

    A subclass says by ``layer`` which one.

    Args:
        d_state: states of a layer; of Mamba for each channel.
        width, layers, stages, dropout: see there.
    """

    layer: ClassVar[str]

    def __init__(
        self, *, width: int = 48, d_state: int = 32, layers: int = 2, stages: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__(width=width, layers=layers, stages=stages, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_layer(self) -> SequenceLayer:
        """Return the layer."""
        return sequence_layer(self.layer, self.width, d_state=self.d_state, slowest=SLOWEST)


class LinOSSBeatNetwork(NamedLayerBeatNetwork):
    """Forced oscillators step from beat to beat; arguments as those of ``NamedLayerBeatNetwork``."""

    layer = "linoss"


class LRUBeatNetwork(NamedLayerBeatNetwork):
    """Linear recurrent units step from beat to beat; arguments as those of ``NamedLayerBeatNetwork``."""

    layer = "lru"


class MambaBeatNetwork(NamedLayerBeatNetwork):
    """Selective layers step from beat to beat; arguments as those of ``NamedLayerBeatNetwork``."""

    layer = "mamba"


class CfCBeatNetwork(RhythmBeatNetwork):
    """Closed-form continuous-time layers step from beat to beat, one after another, see ``RhythmBeatNetwork``.

    Args:
        width, layers, stages, dropout: see there.
    """

    def __init__(self, *, width: int = 48, layers: int = 1, stages: int = 3, dropout: float = 0.2) -> None:
        super().__init__(width=width, layers=layers, stages=stages, dropout=dropout)
        self.save_hyperparameters()

    def make_layer(self) -> SequenceLayer:
        """Return the layer."""
        return sequence_layer("cfc", self.width, d_state=self.width, slowest=SLOWEST)
