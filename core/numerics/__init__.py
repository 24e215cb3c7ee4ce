"""How an equation is solved: ordinary, stochastic, controlled, semilinear and linear, each from one call."""

from integrand.core.numerics.convolution import diagonal_convolution
from integrand.core.numerics.exponential.semilinear import Semilinear, solve_semilinear
from integrand.core.numerics.methods.registry import METHODS
from integrand.core.numerics.methods.separable import Separable
from integrand.core.numerics.scan import diagonal_scan
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import solve_log_ode
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.solve_sde import SDE_METHODS, StochasticSolution, solve_sde
from integrand.core.numerics.spectral import PeriodicGrid
from integrand.core.numerics.stepping.event import Event
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stepping.walk import SolveError
from integrand.core.numerics.stochastic.brownian import BrownianPath

__all__ = [
    "METHODS",
    "SDE_METHODS",
    "BrownianPath",
    "Event",
    "PeriodicGrid",
    "Semilinear",
    "Separable",
    "Solution",
    "SolveError",
    "SolverStats",
    "Status",
    "StepControl",
    "StochasticSolution",
    "diagonal_convolution",
    "diagonal_scan",
    "solve_cde",
    "solve_log_ode",
    "solve_ode",
    "solve_sde",
    "solve_semilinear",
]
