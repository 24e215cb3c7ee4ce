"""Implicit-explicit methods: the linear part implicitly, the nonlinear part explicitly.

One step of dy/dt = L y + N(t, y) by a pair of Runge-Kutta methods, from (t, y) to (t + h, y') with z = h L:

    Y_i = y + z sum_{j<=i} a_ij Y_j + h sum_{j<i} e_ij N_j,     y' = y + z sum_j a_sj Y_j + h sum_j d_j N_j

where N_j = N(t + c_j h, Y_j). The implicit parts are stiffly accurate: the step has the weights a_sj of the last stage,
so y' = Y_s + h sum_j (d_j - e_sj) N_j, which is what is computed, since it loses no digits where |z| is large. As L is
diagonal, each stage is solved by a division by 1 - z a_ii, and stages and step are rational functions of z times y and
the N_j: the same ``StepWeights`` as those of exponential methods.
"""

from dataclasses import dataclass
from math import sqrt

from torch import Tensor

from integrand.core.numerics.exponential.tableau import StepWeights


@dataclass(frozen=True)
class ImexTableau:
    """Coefficients of an implicit-explicit Runge-Kutta pair, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_semilinear(method=...)``.
        implicit: rows of a, row i holding i + 1 weights, the last of them the diagonal.
        explicit: rows of e, row i holding i weights.
        explicit_b: d, weights of N_j in the step.
        c: abscissae of the stages, the same for both parts.
        order: order of global convergence.
        source: author, year and place.
    """

    name: str
    implicit: tuple[tuple[float, ...], ...]
    explicit: tuple[tuple[float, ...], ...]
    explicit_b: tuple[float, ...]
    c: tuple[float, ...]
    order: int
    source: str

    @property
    def stages(self) -> int:
        """Evaluations of N in one step: a last stage whose N has no weight is not evaluated."""
        rows = (*self.explicit, self.explicit_b)
        return 1 + max(j for row in rows for j, weight in enumerate(row) if weight)

    def weights(self, z: Tensor, h: Tensor) -> StepWeights:
        """Eliminate the stages at z = h L, in z's own precision; h is of a shape that broadcasts to z."""
        # Each stage as what multiplies y, under -1, and what multiplies h N_j, under j; zeros are left out.
        made: list[dict[int, Tensor | float]] = []
        for a, e in zip(self.implicit, self.explicit, strict=True):
            stage: dict[int, Tensor | float] = {-1: 1.0, **{j: weight for j, weight in enumerate(e) if weight}}
            for weight, before in zip(a, made, strict=False):
                for j, of in before.items() if weight else ():
                    stage[j] = stage.get(j, 0.0) + weight * z * of
            made.append({j: part / (1 - a[-1] * z) for j, part in stage.items()} if a[-1] else stage)
        step = dict(made[-1])
        for j, (weight, own) in enumerate(zip(self.explicit_b, (*self.explicit[-1], 0.0), strict=True)):
            if weight != own:
                step[j] = step.get(j, 0.0) + (weight - own)

        count = self.stages
        stages = [*made[:count], step]
        return StepWeights(
            tuple(decay if isinstance(decay := stage[-1], Tensor) else None for stage in stages),
            tuple(tuple(h * stage[j] if j in stage else None for j in range(i)) for i, stage in enumerate(stages)),
        )


@dataclass(frozen=True)
class TwoStepImex:
    """The two-step backward differentiation formula, extrapolated for N.

        (3/2 - z) y_{n+1} = 2 y_n - y_{n-1} / 2 + h (2 N_n - N_{n-1})

    One evaluation a step. The first step, and the first after the step size has changed, is one of ``starter``, of the
    same order, which adds one evaluation.
    """

    name: str
    starter: ImexTableau
    order: int
    source: str
    stages: int = 1

    @property
    def c(self) -> tuple[float, ...]:
        """Abscissae of the evaluations, those of the starter included."""
        return self.starter.c[: self.starter.stages]

    def weights(self, z: Tensor, h: Tensor) -> StepWeights:
        """Return the one row: what multiplies y_n as decay, then what multiplies N_n, y_{n-1} and N_{n-1}."""
        inverse = 1 / (3 / 2 - z)
        return StepWeights((2 * inverse,), ((2 * h * inverse, -1 / 2 * inverse, -h * inverse),))


_G = 1 - 1 / sqrt(2)
"""Makes the implicit part of ARS(2,2,2) of order 2 and L-stable."""
_D = 1 - 1 / (2 * _G)
IMEX_EULER = ImexTableau(
    "imex_euler",
    implicit=((0.0,), (0.0, 1.0)),
    explicit=((), (1.0,)),
    explicit_b=(1.0, 0.0),
    c=(0.0, 1.0),
    order=1,
    source="Ascher, Ruuth and Spiteri (1997), Section 2.1: forward and backward Euler",
)
ARS222 = ImexTableau(
    "ars222",
    implicit=((0.0,), (0.0, _G), (0.0, 1 - _G, _G)),
    explicit=((), (_G,), (_D, 1 - _D)),
    explicit_b=(_D, 1 - _D, 0.0),
    c=(0.0, _G, 1.0),
    order=2,
    source="Ascher, Ruuth and Spiteri (1997), Section 2.6",
)


def _ars343() -> ImexTableau:
    """Build the pair from its two free numbers and the conditions of order 3 that fix the others."""
    g = 0.4358665215084589994  # the middle root of g^3 - 3 g^2 + 3 g / 2 = 1 / 6, with which the method is L-stable
    free = 0.5529291480359398  # e_42 = e_43, chosen for stability
    b2, b3 = -3 / 2 * g**2 + 4 * g - 1 / 4, 3 / 2 * g**2 - 5 * g + 5 / 4
    c3 = (1 + g) / 2
    e32 = (1 / 6 - g * free * (g + c3)) / (b3 * g)  # b . e c = 1 / 6
    return ImexTableau(
        "ars343",
        implicit=((0.0,), (0.0, g), (0.0, c3 - g, g), (0.0, b2, b3, g)),
        explicit=((), (g,), (c3 - e32, e32), (1 - 2 * free, free, free)),
        explicit_b=(0.0, b2, b3, g),
        c=(0.0, g, c3, 1.0),
        order=3,
        source="Ascher, Ruuth and Spiteri (1997), Section 2.7",
    )


ARS343 = _ars343()
SBDF2 = TwoStepImex("sbdf2", ARS222, 2, "Ascher, Ruuth and Wetton (1995), second-order SBDF")

IMEX: dict[str, ImexTableau | TwoStepImex] = {method.name: method for method in (ARS343, ARS222, SBDF2, IMEX_EULER)}
