"""What stands on the right-hand side of an equation."""

from integrand.core.fields.linear import Linear
from integrand.core.fields.mlp import MLP
from integrand.core.fields.periodic_forcing import PeriodicForcing

__all__ = ["MLP", "Linear", "PeriodicForcing"]
