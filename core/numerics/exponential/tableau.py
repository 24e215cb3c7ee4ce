"""Exponential Runge-Kutta methods as tables of phi-functions.

One step of dy/dt = L y + N(t, y), L diagonal, from (t, y) to (t + h, y') with z = h L and s stages:

    Y_i = exp(c_i z) y + h sum_{j<i} a_ij(z) N(t + c_j h, Y_j),     y' = exp(z) y + h sum_i b_i(z) N(t + c_i h, Y_i)

The linear part is solved exactly, however stiff or oscillatory; with N = 0 the step is exact, and with L = 0 it is the
explicit Runge-Kutta method a(0), b(0), c. The order a table declares is measured in ``tests/convergence``.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from integrand.core.numerics.exponential.phi_functions import PhiSum, phi, phi_functions


class StepWeights(NamedTuple):
    """A method for dy/dt = L y + N at given z = h L, with s stages: everything a step multiplies with.

    Stage i < s is Y_i = decays[i] y + sum_j rows[i][j] N_j, and the step y' = decays[s] y + sum_j rows[s][j] N_j.
    None stands for no multiplication: a decay of 1, a weight of 0. Equal decays are one tensor.

    Attributes:
        decays: s + 1 tensors.
        rows: s + 1 rows, row i of at most i tensors, which contain the factor h.
    """

    decays: tuple[Tensor | None, ...]
    rows: tuple[tuple[Tensor | None, ...], ...]


@dataclass(frozen=True)
class ExponentialTableau:
    """Coefficients of an explicit exponential Runge-Kutta method, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_semilinear(method=...)``.
        a: rows of stage weights, row i holding the i weights of the stages before it; None for 0.
        b: weights of the step.
        c: abscissae of the stages, as fractions of the step.
        order: order of global convergence on smooth periodic problems.
        source: author, year and equation.
    """

    name: str
    a: tuple[tuple[PhiSum | None, ...], ...]
    b: tuple[PhiSum | None, ...]
    c: tuple[float, ...]
    order: int
    source: str

    @property
    def stages(self) -> int:
        """Evaluations of N in one step."""
        return len(self.b)

    def weights(self, z: Tensor, h: Tensor) -> StepWeights:
        """Evaluate the table at z = h L, in z's own precision; h is of a shape that broadcasts to z."""
        rows = (*self.a, self.b)
        terms = [term for row in rows for weight in row if weight is not None for term in weight.terms]
        highest = {c: 0 for c in (*self.c, 1.0) if c}
        for _, k, c in terms:
            highest[c] = max(highest.get(c, 0), k)
        values = {c: phi_functions(c * z, k) for c, k in highest.items()}
        # A weight that occurs twice in a table is evaluated once.
        made = {w: h * w.evaluate(values) for row in rows for w in row if w is not None}
        return StepWeights(
            tuple(values[c][0] if c else None for c in (*self.c, 1.0)),
            tuple(tuple(None if w is None else made[w] for w in row) for row in rows),
        )


_HALF_1, _HALF_2 = phi(1, 1 / 2), phi(2, 1 / 2)
_FIRST, _MIDDLE, _LAST = phi(1) - 3 * phi(2) + 4 * phi(3), 2 * phi(2) - 4 * phi(3), 4 * phi(3) - phi(2)

ETD1 = ExponentialTableau(
    "etd1", ((),), (phi(1),), (0.0,), 1, "Norsett (1969); Cox and Matthews (2002), Eq. 4; exponential Euler"
)
ETDRK2 = ExponentialTableau(
    "etdrk2",
    ((), (phi(1),)),
    (phi(1) - phi(2), phi(2)),
    (0.0, 1.0),
    2,
    "Cox and Matthews (2002), Eq. 22",
)
ETDRK3 = ExponentialTableau(
    "etdrk3",
    ((), (1 / 2 * _HALF_1,), (-1 * phi(1), 2 * phi(1))),
    (_FIRST, 2 * _MIDDLE, _LAST),
    (0.0, 1 / 2, 1.0),
    3,
    "Cox and Matthews (2002), Eqs. 23 to 25",
)
ETDRK4 = ExponentialTableau(
    "etdrk4",
    # Their last stage starts from the second; phi_1(z/2) (exp(z/2) - 1) / 2 = phi_1(z) - phi_1(z/2) starts it from y.
    ((), (1 / 2 * _HALF_1,), (None, 1 / 2 * _HALF_1), (phi(1) - _HALF_1, None, _HALF_1)),
    (_FIRST, _MIDDLE, _MIDDLE, _LAST),
    (0.0, 1 / 2, 1 / 2, 1.0),
    4,
    "Cox and Matthews (2002), Eqs. 26 to 29",
)
KROGSTAD4 = ExponentialTableau(
    "krogstad4",
    ((), (1 / 2 * _HALF_1,), (1 / 2 * _HALF_1 - _HALF_2, _HALF_2), (phi(1) - 2 * phi(2), None, 2 * phi(2))),
    (_FIRST, _MIDDLE, _MIDDLE, _LAST),
    (0.0, 1 / 2, 1 / 2, 1.0),
    4,
    "Krogstad (2005), Generalized integrating factor methods for stiff PDEs, ETDRK4-B",
)

EXPONENTIAL = {tableau.name: tableau for tableau in (ETDRK4, ETDRK3, ETDRK2, ETD1, KROGSTAD4)}
