"""Diagonally implicit Runge-Kutta methods as tables of coefficients, and the steps they take.

One step from (t, y) to (t + h, y'), with s stages, solved one after the other:

    k_i = f(t + c_i h, y + h sum_{j<=i} a_ij k_j),     y' = y + h sum_i b_i k_i

The order, the stability and the order of the error estimate that a table declares are checked in ``tests/convergence``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import Row, along, combine, on_device, shift
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.newton import StageEquations, StartJacobians
from integrand.core.numerics.methods.stepper import Step


@dataclass(frozen=True)
class DiagonallyImplicit:
    """Coefficients of a singly diagonally implicit Runge-Kutta method, with what is claimed of it.

    A stage is explicit (diagonal 0) or has the diagonal ``gamma``, so that one matrix I - h gamma J serves them all.

    Attributes:
        name: the method's name in ``solve_ode(method=...)``.
        a: rows of stage weights, row i holding those of the stages before it and its own.
        b: weights of the step.
        c: abscissae of the stages, as fractions of the step.
        order: order of global convergence on smooth problems.
        source: author, year and place.
        error: weights e_i of the error estimate h sum_i e_i k_i; empty without one.
        error_order: order p of the estimate, which is O(h^{p+1}).
    """

    name: str
    a: tuple[Row, ...]
    b: Row
    c: Row
    order: int
    source: str
    error: Row = ()
    error_order: int | None = None

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.b)

    @property
    def gamma(self) -> float:
        """The diagonal coefficient."""
        return self.a[-1][-1]

    @property
    def explicit_first(self) -> bool:
        """Whether the first stage is the slope at the step's start."""
        return self.a[0] == (0.0,)

    @property
    def stiffly_accurate(self) -> bool:
        """Whether the last stage is the step itself, so that the last slope is the one at its end."""
        return self.a[-1] == self.b

    @property
    def dense(self) -> tuple[Row, ...]:
        """Weights d_ki of dense output b_i(theta) = theta b_i + sum_k d_ki (theta^k - theta), k = 2, ..., p.

        A method with more stages than its order p keeps the conditions of that order, and as many as it has stages left
        of two for stiff problems. With A the weights of its implicit stages, a what they give the first slope, and b
        and c without the explicit stage, they are

            sum_i b_i(theta) c_i^(k-1) = theta^k / k,  k = 1, ..., p,
            b_1(theta) = b(theta)^T A^-1 a,     b(theta)^T A^-1 c^3 = theta^3.

        Since h k = A^-1 (Y - y - h a k_1), the last but one leaves a sum of y and the stages Y_i. These lie on the
        solution of a stiff problem, whose slopes magnify any distance from it by the stiffness. The last makes the sum
        exact for cubics; it is for parabolas anyway, where stages have order 2. Other methods have the straight line.

        Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.6, for the first conditions.
        """
        p = self.order
        if self.stages <= p:
            return ()
        a, c = np.zeros((self.stages, self.stages)), np.array(self.c)
        for i, row in enumerate(self.a):
            a[i, : i + 1] = row
        inverse = np.linalg.inv(a[1:, 1:])
        no_slope, cubes = [1.0, *-inverse @ a[1:, 0]], [0.0, *inverse @ c[1:] ** 3]
        conditions = np.array([*(c**k for k in range(p)), no_slope, cubes])
        right = np.zeros((p + 2, p + 1))  # of theta^0, ..., theta^p
        right[range(p), range(1, p + 1)] = 1 / np.arange(1, p + 1)
        right[p + 1, 3] = 1
        # The step's own b meets them all at theta = 1, so that theta^k - theta may stand for theta^k.
        solved = np.linalg.solve(conditions[: self.stages], right[: self.stages, 2:])
        return tuple(tuple(row) for row in solved.T.tolist())

    @property
    def predictors(self) -> tuple[Row, ...]:
        """Weights of y and of the stages solved so far, with which a parabola through three predicts each next one.

        Slopes would predict better on smooth solutions, and be far off where a stiff component relaxes within the step.
        """
        nodes, rows = [0.0], []
        for c, row in zip(self.c, self.a, strict=True):
            if row[-1]:
                latest = sorted(nodes)[-3:]
                weights = {n: math.prod((c - other) / (n - other) for other in latest if other != n) for n in latest}
                rows.append(tuple(weights.get(node, 0.0) for node in nodes))
                nodes.append(c)
        return tuple(rows)


def _differences(b: Row, embedded: Row) -> Row:
    """Return the error weights of a pair."""
    return tuple(weight - other for weight, other in zip(b, embedded, strict=True))


def _kvaerno3() -> DiagonallyImplicit:
    # The root of 6 g^3 - 18 g^2 + 9 g - 1 that makes the method L-stable.
    g = 1 - math.sqrt(2) * math.cos((math.pi + math.acos(2 * math.sqrt(2) / 3)) / 3)
    third = ((-4 * g**2 + 6 * g - 1) / (4 * g), (1 - 2 * g) / (4 * g), g)
    fourth = ((6 * g - 1) / (12 * g), 1 / ((12 - 24 * g) * g), (6 * g**2 - 6 * g + 1) / (3 - 6 * g), g)
    return DiagonallyImplicit(
        "kvaerno3",
        a=((0.0,), (g, g), third, fourth),
        b=fourth,
        c=(0.0, 2 * g, 1.0, 1.0),
        order=3,
        source="Kvaerno (2004), Singly diagonally implicit Runge-Kutta methods with an explicit first stage, "
        "ESDIRK 3/2",
        error=_differences(fourth, (*third, 0.0)),
        error_order=2,
    )


def _kencarp4() -> DiagonallyImplicit:
    last = (82889 / 524892, 0.0, 15625 / 83664, 69875 / 102672, -2260 / 8211, 1 / 4)
    embedded = (
        4586570599 / 29645900160,
        0.0,
        178811875 / 945068544,
        814220225 / 1159782912,
        -3700637 / 11593932,
        61727 / 225920,
    )
    return DiagonallyImplicit(
        "kencarp4",
        a=(
            (0.0,),
            (1 / 4, 1 / 4),
            (8611 / 62500, -1743 / 31250, 1 / 4),
            (5012029 / 34652500, -654441 / 2922500, 174375 / 388108, 1 / 4),
            (
                15267082809 / 155376265600,
                -71443401 / 120774400,
                730878875 / 902184768,
                2285395 / 8070912,
                1 / 4,
            ),
            last,
        ),
        b=last,
        c=(0.0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1.0),
        order=4,
        source="Kennedy and Carpenter (2003), Additive Runge-Kutta schemes, ESDIRK part of ARK4(3)6L[2]SA",
        error=_differences(last, embedded),
        error_order=3,
    )


IMPLICIT_EULER = DiagonallyImplicit("implicit_euler", ((1.0,),), (1.0,), (1.0,), 1, "Euler's method backward in time")
IMPLICIT_MIDPOINT = DiagonallyImplicit(
    "implicit_midpoint", ((1 / 2,),), (1.0,), (1 / 2,), 2, "Gauss method of one stage, Butcher (1964)"
)
TRAPEZOID = DiagonallyImplicit(
    "trapezoid", ((0.0,), (1 / 2, 1 / 2)), (1 / 2, 1 / 2), (0.0, 1.0), 2, "Lobatto IIIA method of two stages"
)
KVAERNO3 = _kvaerno3()
KENCARP4 = _kencarp4()

DIAGONALLY_IMPLICIT = {
    table.name: table for table in (IMPLICIT_EULER, IMPLICIT_MIDPOINT, TRAPEZOID, KVAERNO3, KENCARP4)
}


class DiagonallyImplicitStepper:
    """The step of a ``DiagonallyImplicit`` method.

    Slopes come from the solved stages, k_i = (Y_i - y - h sum_{j<i} a_ij k_j) / (h gamma), for the field would magnify
    what is left of the iteration's error by the stiffness. The error estimate is multiplied by (I - h gamma J)^-1. No
    gradient passes through it.

    Dense output is the polynomial of ``DiagonallyImplicit.dense``, of the method's own order where the problem is not
    stiff. Where it is, and the solution smooth, steps may grow until no polynomial through their stages tells what lies
    between them, though their ends are good. So ``solve_ode`` ends steps of these methods on the output times that
    samples share; only events, ``dense=True``, and times of each sample's own with ``stepping="per_sample"`` read what
    lies between.

    Args:
        table: the method.
        rtol: relative tolerance. Stages are solved to a small share of it, also where steps are fixed: to see the
            method's own error, or what it conserves, take one as small as that.
        atol: absolute tolerance.
        derivatives: how many derivatives of the solution are exact; each costs one more evaluation a stage, and a
            derivative beyond is an error.

    Example:
        >>> stepper = DiagonallyImplicitStepper(IMPLICIT_EULER, rtol=1e-6, atol=1e-9)
        >>> field = BoundField(lambda t, y: -1e6 * y, None, 1)
        >>> t, h = torch.tensor(0.0), torch.tensor(1.0)
        >>> stepper.step(field, t, h, torch.ones(1, 1), None).y.item() < 1.1e-6  # 1 / (1 + 1e6)
        True

    Source: Hairer and Wanner (1996), Solving ODEs II, sections IV.6 and IV.8.
    """

    stages = 0

    def __init__(self, table: DiagonallyImplicit, rtol: float, atol: float, *, derivatives: int = 1) -> None:
        self.table, self.rtol, self.atol, self.derivatives = table, rtol, atol, derivatives
        self.order, self.error_order = table.order, table.error_order
        self._predictors, self._dense, self._starts = table.predictors, table.dense, StartJacobians()

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step; see ``Stepper``."""
        table, s = self.table, h * self.table.gamma
        equations = StageEquations(
            field,
            t,
            y,
            s,
            rtol=self.rtol,
            atol=self.atol,
            matrices=self._starts.find(field, t, y),
            derivatives=self.derivatives,
        )
        if not table.explicit_first:
            first = None
        elif first is None:
            first = field(t, y)

        def solve(i: int, t: Tensor, base: Tensor) -> Tensor:
            known = [y, *(stage for _, stage in equations.solved)]
            terms = (weight * state for weight, state in zip(self._predictors[i], known, strict=True) if weight)
            return equations.solve(t, base, reduce(torch.add, terms))

        with torch.no_grad():
            end, slopes = self._stages(t, h, y, first, solve)
            error = equations.filter(combine(None, h, table.error, slopes)) if table.error else None
        if torch.is_grad_enabled():
            end, slopes = self._stages(t, h, y, first, equations.attach)
        last = slopes[-1] if table.stiffly_accurate else None
        return Step(end, error, tuple(slopes), last, equations.failed, first)

    def _stages(
        self,
        t: Tensor,
        h: Tensor,
        y: Tensor,
        first: Tensor | None,
        stage_at: Callable[[int, Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the step's end and the slopes, given the i-th implicit stage at its time and for its base."""
        table, slopes, stage = self.table, [] if first is None else [first], y
        explicit = len(slopes)
        for i, (c, row) in enumerate(zip(table.c[explicit:], table.a[explicit:], strict=True)):
            base = combine(y, h, row[:-1], slopes) if slopes else y
            stage = stage_at(i, shift(t, h, c), base)
            slopes.append((stage - base) / along(h * table.gamma, y))
        return stage if table.stiffly_accurate else combine(y, h, table.b, slopes), slopes

    def complete(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, step: Step) -> Step:
        """Return the step, whose own slopes dense output is made of."""
        return step

    def weights(self, theta: Tensor) -> Tensor:
        """Weights of dense output; see ``Stepper``."""
        theta = theta.unsqueeze(-1)
        weights = theta * on_device(self.table.b, theta)
        for power, row in enumerate(self._dense, start=2):
            weights = weights + (theta**power - theta) * on_device(row, theta)
        return weights
