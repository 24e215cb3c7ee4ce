"""One layer is an equation; all layers share one contract on sequences."""

from integrand.core.layers.residual_stack import ResidualStack
from integrand.core.layers.s5 import S5
from integrand.core.layers.sequence_layer import SequenceLayer, SequenceOutput

__all__ = ["S5", "ResidualStack", "SequenceLayer", "SequenceOutput"]
