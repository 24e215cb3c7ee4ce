"""Sequence layers that read a waveform forwards and backwards, their step the time between samples: S5, LinOSS, Mamba.

Dimension letters: B pieces, L samples, H channels of the network, F features of a sample.
"""

from typing import ClassVar

from torch import Tensor, nn

from integrand.apps.medical.waveforms.models.waveform_network import FEATURES, WaveformNetwork, head
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.core.layers import S5, LinOSS, Mamba, ResidualStack, SequenceLayer

SLOWEST = 1.0
"""Seconds that the slowest state remembers at the start, about a beat and its neighbours."""


class SequenceWaveform(WaveformNetwork):
    """Blocks of two layers each, one that reads the waveform from its start and one from its end.

        h <- h + (f(h) + reversed g(reversed h)) / 2,      f, g: x -> GLU(W gelu(layer(norm(x), dt)))

    The layers are differential equations in time, and dt is the interval between samples in units of that of training.
    Where a layer's step is exact, as those of S5 and Mamba are, another rate is the same equation with another step.

    A subclass says by ``make_layer`` which equation.

    Args:
        width: channels H.
        layers: blocks.
        dropout: within the blocks.
    """

    any_rate: ClassVar[bool] = True

    def __init__(self, *, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.width, self.layers, self.dropout = width, layers, dropout

    def make_layer(self, task: WaveformTask) -> SequenceLayer:
        """Return one layer."""
        raise NotImplementedError

    def build_network(self, task: WaveformTask) -> None:
        """Make lift, blocks and head."""
        self.lift = nn.Linear(FEATURES, self.width)

        def direction() -> nn.ModuleList:
            made = (ResidualStack([self.make_layer(task)], dropout=self.dropout) for _ in range(self.layers))
            return nn.ModuleList(made)

        self.forwards, self.backwards = direction(), direction()
        self.head = head(self.width, self.channels)

    def outputs(self, features: Tensor, rate: float) -> Tensor:
        """Map (B, L, F) to (B, L, outputs)."""
        dt = self.built_for.rate / rate
        h = self.lift(features)
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            # Every piece is whole, so that turning it round needs no care for padding.
            h = (forwards(h, dt).y + backwards(h.flip(1), dt).y.flip(1)) / 2
        return self.head(h)


class S5Waveform(SequenceWaveform):
    """Reads waveforms by S5 layers, see ``SequenceWaveform``.

    Args:
        d_state: states of a layer, even.
        width, layers, dropout: see there.
    """

    def __init__(self, *, width: int = 32, d_state: int = 32, layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__(width=width, layers=layers, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_layer(self, task: WaveformTask) -> SequenceLayer:
        """Return an S5 layer."""
        return S5(self.width, d_state=self.d_state, dt_min=min(0.5, 1 / (SLOWEST * task.rate)), dt_max=0.5)


class LinOSSWaveform(SequenceWaveform):
    """Reads waveforms by LinOSS layers, see ``SequenceWaveform``.

    The oscillators are stepped implicitly, which damps them by an amount that depends on the step: at another rate they
    are others, and a recording is resampled to the rate of training.

    Args:
        d_state: oscillators of a layer.
        width, layers, dropout: see there.
    """

    any_rate: ClassVar[bool] = False

    def __init__(self, *, width: int = 32, d_state: int = 32, layers: int = 3, dropout: float = 0.0) -> None:
        super().__init__(width=width, layers=layers, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_layer(self, task: WaveformTask) -> SequenceLayer:
        """Return a LinOSS layer."""
        return LinOSS(self.width, d_state=self.d_state)


class MambaWaveform(SequenceWaveform):
    """Reads waveforms by Mamba layers, see ``SequenceWaveform``.

    The layers have no short convolution, which would be of elements and not of seconds, and hold their input over a
    step: at another rate they are the same equation.

    Args:
        d_state: states of each channel.
        width, layers, dropout: see there.
    """

    def __init__(self, *, width: int = 24, d_state: int = 8, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__(width=width, layers=layers, dropout=dropout)
        self.save_hyperparameters()
        self.d_state = d_state

    def make_layer(self, task: WaveformTask) -> SequenceLayer:
        """Return a Mamba layer."""
        return Mamba(
            self.width,
            d_state=self.d_state,
            kernel_size=1,
            dt_min=min(0.5, 1 / (SLOWEST * task.rate)),
            dt_max=0.5,
            discretization="zoh",
        )
