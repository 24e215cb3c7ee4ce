"""How an equation is solved: ordinary, stochastic, controlled, semilinear and linear, each from one call."""

from integrand.core.numerics.convolution import diagonal_convolution
from integrand.core.numerics.delta_rule import DeltaRuleOutput, gated_delta_rule
from integrand.core.numerics.divergence import Divergence, divergence, draw_probes
from integrand.core.numerics.exponential.semilinear import Semilinear, solve_semilinear
from integrand.core.numerics.fixed_points.differentiate_fixed_point import differentiate_fixed_point, unroll_fixed_point
from integrand.core.numerics.fixed_points.solve_fixed_point import (
    FIXED_POINT_METHODS,
    FixedPoint,
    solve_fixed_point,
)
from integrand.core.numerics.methods.registry import METHODS
from integrand.core.numerics.methods.separable import Separable
from integrand.core.numerics.scan import diagonal_scan
from integrand.core.numerics.selective_scan import SelectiveScanOutput, selective_scan
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import solve_log_ode
from integrand.core.numerics.solve_ode import solve_ode
from integrand.core.numerics.solve_sde import SDE_METHODS, StochasticSolution, solve_sde
from integrand.core.numerics.solved_by import SolverCall, SolverChanges, SolverProblem, SolverRecord, solved_by
from integrand.core.numerics.spectral import PeriodicGrid
from integrand.core.numerics.stepping.event import Event
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stepping.walk import SolveError
from integrand.core.numerics.stochastic.brownian import BrownianPath
from integrand.core.numerics.transport import Transported, transport

__all__ = [
    "FIXED_POINT_METHODS",
    "METHODS",
    "SDE_METHODS",
    "BrownianPath",
    "DeltaRuleOutput",
    "Divergence",
    "Event",
    "FixedPoint",
    "PeriodicGrid",
    "SelectiveScanOutput",
    "Semilinear",
    "Separable",
    "Solution",
    "SolveError",
    "SolverCall",
    "SolverChanges",
    "SolverProblem",
    "SolverRecord",
    "SolverStats",
    "Status",
    "StepControl",
    "StochasticSolution",
    "Transported",
    "diagonal_convolution",
    "diagonal_scan",
    "differentiate_fixed_point",
    "divergence",
    "draw_probes",
    "gated_delta_rule",
    "selective_scan",
    "solve_cde",
    "solve_fixed_point",
    "solve_log_ode",
    "solve_ode",
    "solve_sde",
    "solve_semilinear",
    "solved_by",
    "transport",
    "unroll_fixed_point",
]
