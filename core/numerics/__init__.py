"""How an equation is solved: methods as tableaus, one call ``solve_ode``, solutions, scans."""

from integrand.core.numerics.scan import diagonal_scan
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_ode import METHODS, SolveError, solve_ode

__all__ = ["METHODS", "Solution", "SolveError", "SolverStats", "Status", "diagonal_scan", "solve_ode"]
