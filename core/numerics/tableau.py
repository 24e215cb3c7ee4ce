"""Explicit Runge-Kutta methods as tables of coefficients.

One step from (t, y) to (t + h, y'), with s stages:

    k_i = f(t + c_i h, y + h sum_{j<i} a_ij k_j),     y' = y + h sum_i b_i k_i

The order a table declares is measured in ``tests/convergence``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta method, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_ode(method=...)``.
        a: rows of stage weights, row i holding the i weights of the stages before it.
        b: weights of the step.
        c: abscissae of the stages, as fractions of the step.
        order: order of global convergence on smooth problems.
        source: author, year and place.
    """

    name: str
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    order: int
    source: str

    @property
    def stages(self) -> int:
        """Field evaluations in one step."""
        return len(self.b)


EULER = Tableau("euler", ((),), (1.0,), (0.0,), 1, "Euler (1768)")
MIDPOINT = Tableau("midpoint", ((), (1 / 2,)), (0.0, 1.0), (0.0, 1 / 2), 2, "Runge (1895)")
HEUN = Tableau("heun", ((), (1.0,)), (1 / 2, 1 / 2), (0.0, 1.0), 2, "Heun (1900); trapezoidal corrector")
RALSTON = Tableau("ralston", ((), (2 / 3,)), (1 / 4, 3 / 4), (0.0, 2 / 3), 2, "Ralston (1962), least error bound")
RK4 = Tableau(
    "rk4",
    ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    (0.0, 1 / 2, 1 / 2, 1.0),
    4,
    "Kutta (1901), the classical method",
)

TABLEAUS = {tableau.name: tableau for tableau in (EULER, MIDPOINT, HEUN, RALSTON, RK4)}
