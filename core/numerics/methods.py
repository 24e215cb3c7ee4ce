"""The methods by name, and the engine that has each."""

from integrand.core.numerics.dop853 import DOPRI8
from integrand.core.numerics.tableau import BOSH3, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, TSIT5

TABLEAUS = {t.name: t for t in (EULER, MIDPOINT, HEUN, RALSTON, BOSH3, RK4, DOPRI5, TSIT5, DOPRI8)}
"""Explicit Runge-Kutta methods."""
