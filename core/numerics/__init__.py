"""How an equation is solved: ordinary, stochastic, controlled, semilinear and linear, each from one call."""

from integrand.core.numerics.brownian import BrownianPath
from integrand.core.numerics.convolution import diagonal_convolution
from integrand.core.numerics.event import Event
from integrand.core.numerics.methods import METHODS
from integrand.core.numerics.scan import diagonal_scan
from integrand.core.numerics.semilinear import Semilinear, solve_semilinear
from integrand.core.numerics.separable import Separable
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import solve_log_ode
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.solve_sde import SDE_METHODS, StochasticSolution, solve_sde
from integrand.core.numerics.spectral import PeriodicGrid
from integrand.core.numerics.step_control import StepControl
from integrand.core.numerics.walk import SolveError

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
