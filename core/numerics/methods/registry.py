"""The methods by name, the engine that has each, and their steppers."""

from integrand.core.errors import InputError
from integrand.core.numerics.engines import torchdiffeq_engine
from integrand.core.numerics.exponential.semilinear import SEMILINEAR
from integrand.core.numerics.methods.compiled import CompiledRungeKutta
from integrand.core.numerics.methods.diagonally_implicit import DIAGONALLY_IMPLICIT, DiagonallyImplicitStepper
from integrand.core.numerics.methods.dop853 import DOPRI8
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.methods.symplectic import COMPOSITIONS, SymplecticStepper
from integrand.core.numerics.methods.tableau import BOSH3, DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, TSIT5

TABLEAUS = {t.name: t for t in (EULER, MIDPOINT, HEUN, RALSTON, BOSH3, RK4, DOPRI5, TSIT5, DOPRI8)}
"""Explicit Runge-Kutta methods."""

METHODS: dict[str, tuple[str, ...]] = {
    "native": (*TABLEAUS, *DIAGONALLY_IMPLICIT, *COMPOSITIONS, *SEMILINEAR),
    "torchdiffeq": (*torchdiffeq_engine.ADAPTIVE, *torchdiffeq_engine.FIXED),
}
"""Methods by engine. The first engine that has a method is its default."""

ADAPTIVE = tuple(name for name, table in {**TABLEAUS, **DIAGONALLY_IMPLICIT}.items() if table.error)
"""Native methods that estimate their error, and so can choose their steps."""


def declared_order(method: str) -> tuple[float, float]:
    """Return the order of a method of any engine, and q, with which its steps shrink as tolerance^(1/q).

    Example:
        >>> declared_order("dopri5"), declared_order("rk4")
        ((5, 5), (4, 5))
    """
    if method in torchdiffeq_engine.ORDERS:
        order = torchdiffeq_engine.ORDERS[method]
        return order, order
    declared = {**TABLEAUS, **DIAGONALLY_IMPLICIT, **COMPOSITIONS, **SEMILINEAR}[method]
    estimate = getattr(declared, "error_order", None)
    return declared.order, (declared.order if estimate is None else estimate) + 1


def make_stepper(method: str, *, adaptive: bool, rtol: float, atol: float, compile: bool = False) -> Stepper:
    """Return the step of a native method other than those for semilinear problems, made for one solve.

    Args:
        method: its name.
        adaptive: whether its error is to be estimated.
        rtol: relative tolerance, to a share of which implicit equations are solved.
        atol: absolute tolerance, likewise.
        compile: whether to compile the step of an explicit method.
    """
    if method in TABLEAUS:
        kind = CompiledRungeKutta if compile else ExplicitRungeKutta
        return kind(TABLEAUS[method], estimate=adaptive)
    if compile:
        raise InputError(f"compile=True is for explicit methods ({', '.join(TABLEAUS)}), not {method!r}: leave it out.")
    if method in DIAGONALLY_IMPLICIT:
        return DiagonallyImplicitStepper(DIAGONALLY_IMPLICIT[method], rtol, atol, derivatives=2)
    return SymplecticStepper(COMPOSITIONS[method])
