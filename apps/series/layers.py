"""Sequence layers by name, as the networks of every task take them."""

from integrand.core.errors import unknown
from integrand.core.layers import LEM, LRU, LTC, S4D, S5, CfC, LinOSS, Mamba, SequenceLayer
from integrand.core.models import ODERNN

LAYERS = ("s5", "s4d", "lru", "linoss", "mamba", "cfc", "ltc", "lem", "ode_rnn")


def sequence_layer(name: str, width: int, *, d_state: int, slowest: float) -> SequenceLayer:
    """Return a layer of ``width`` channels that counts time in intervals between elements.

    Args:
        name: one of ``LAYERS``.
        width: its channels.
        d_state: its states, where they are not the channels themselves; of S4D and Mamba for each channel.
        slowest: least speed of a state at the start: one over the elements it remembers.

    Raises:
        InputError: no layer has that name.

    Example:
        >>> sequence_layer("s5", 8, d_state=4, slowest=0.01).d_model
        8
    """
    slowest = min(slowest, 0.5)
    if name == "s5":
        return S5(width, d_state=d_state, dt_min=slowest, dt_max=0.5)
    if name == "s4d":
        return S4D(width, d_state=d_state, dt_min=slowest, dt_max=0.5)
    if name == "lru":
        return LRU(width, d_state=d_state)
    if name == "linoss":
        return LinOSS(width, d_state=d_state)
    if name == "mamba":
        return Mamba(width, d_state=d_state, dt_min=slowest, dt_max=0.5)
    if name == "cfc":
        return CfC(width)
    if name == "ltc":
        return LTC(width, d_state=d_state)
    if name == "lem":  # of steps that no gap makes unstable
        return LEM(width, d_state=d_state, discretization="exponential")
    if name == "ode_rnn":
        return ODERNN(width)
    raise unknown("layer", name, LAYERS)
