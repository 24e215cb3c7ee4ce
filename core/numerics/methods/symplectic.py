"""Symplectic methods for separable systems: kicks and drifts in turn, as tables of coefficients.

One step of length h from (q, p), with s drifts between s + 1 kicks:

    p <- p + k_0 h F(q),    then for i = 1, ..., s:    q <- q + d_i h v(p),    p <- p + k_i h F(q)

Each kick and drift is the exact flow of half of the system, so that a step is symplectic whatever its length, and goes
back on itself where the coefficients read the same from either end. The orders that tables declare are measured in
``tests/convergence``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.arithmetic import Row, along, shift
from integrand.core.numerics.field_call import BoundField, check_slope
from integrand.core.numerics.methods.separable import Separable, halves
from integrand.core.numerics.methods.stepper import Step


@dataclass(frozen=True)
class Composition:
    """Coefficients of a symplectic method for separable systems, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_ode(method=...)``.
        kicks: shares k_0, ..., k_s of the step in which momenta change.
        drifts: shares d_1, ..., d_s of the step in which positions change.
        order: order of global convergence.
        source: author, year and place.
    """

    name: str
    kicks: Row
    drifts: Row
    order: int
    source: str

    @property
    def stages(self) -> int:
        """Evaluations of the force, and of the velocity, in one step."""
        return len(self.drifts)

    @property
    def symmetric(self) -> bool:
        """Whether a step with -h undoes one with h."""
        return self.kicks == self.kicks[::-1] and self.drifts == self.drifts[::-1]


def _triple_jump() -> Composition:
    outer = 1 / (2 - 2 ** (1 / 3))  # cancels the third-order error of the leapfrog that it strings together
    inner = 1 - 2 * outer
    joint = (outer + inner) / 2
    return Composition(
        "yoshida4",
        kicks=(outer / 2, joint, joint, outer / 2),
        drifts=(outer, inner, outer),
        order=4,
        source="Yoshida (1990), Construction of higher order symplectic integrators; Forest and Ruth (1990)",
    )


def _blanes_moan() -> Composition:
    k = (0.0792036964311957, 0.353172906049774, -0.0420650803577195)
    d = (0.209515106613362, -0.143851773179818)
    return Composition(
        "blanes_moan4",
        kicks=(*k, 1 - 2 * sum(k), *k[::-1]),
        drifts=(*d, 1 / 2 - sum(d), 1 / 2 - sum(d), *d[::-1]),
        order=4,
        source="Blanes and Moan (2002), Practical symplectic partitioned Runge-Kutta and Runge-Kutta-Nystrom methods, "
        "Table 2, S6",
    )


LEAPFROG = Composition(
    "leapfrog", kicks=(1 / 2, 1 / 2), drifts=(1.0,), order=2, source="Stormer (1907); Verlet (1967), velocity form"
)
YOSHIDA4 = _triple_jump()
BLANES_MOAN4 = _blanes_moan()

COMPOSITIONS = {table.name: table for table in (LEAPFROG, YOSHIDA4, BLANES_MOAN4)}


class SymplecticStepper:
    """The step of a ``Composition``, for fields that are ``Separable``.

    Time belongs to both halves: a force that depends on time takes the time that the drifts so far have reached, as a
    position would, and a velocity that of the kicks so far. So the orders hold for non-autonomous systems as well.

    The force at the end of a step is that at the start of the next. Dense output is the cubic through both ends and
    their slopes, which takes two more evaluations.

    Args:
        table: the method.

    Raises:
        InputError: from ``step``, if the field is not ``Separable``.

    Example:
        >>> field = BoundField(Separable(lambda t, p: p, lambda t, q: -q), None, 1)
        >>> t, h = torch.tensor(0.0), torch.tensor(0.5)
        >>> SymplecticStepper(LEAPFROG).step(field, t, h, torch.tensor([[1.0, 0.0]]), None).y.tolist()
        [[0.875, -0.46875]]

    Source: Hairer, Lubich and Wanner (2006), Geometric Numerical Integration, sections I.1.4, II.4 and VI.3.
    """

    def __init__(self, table: Composition) -> None:
        self.table, self.order, self.stages = table, table.order, table.stages
        self.error_order: int | None = None
        self._end: tuple[Tensor, Tensor] | None = None

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Take one step; see ``Stepper``."""
        system = field.field
        if not isinstance(system, Separable):
            raise InputError(
                f"method {self.table.name!r} needs a separable field, got {type(system).__name__}: give "
                "Separable(velocity, force), or take 'implicit_midpoint', which is symplectic for any Hamiltonian."
            )
        args = () if field.args is None else (field.args,)
        q, p = halves(y)
        h_y = along(h, y)

        def velocity(share: float) -> Tensor:
            return check_slope(system.velocity(shift(t, h, share), p, *args), q)

        def force(share: float) -> Tensor:
            return check_slope(system.force(shift(t, h, share), q, *args), p)

        kicked, drifted = self.table.kicks[0], 0.0
        pull = self._end[1] if self._end is not None and self._end[0] is y else force(drifted)
        p = torch.addcmul(p, h_y, pull, value=kicked)
        for drift, kick in zip(self.table.drifts, self.table.kicks[1:], strict=True):
            q = torch.addcmul(q, h_y, velocity(kicked), value=drift)
            drifted += drift
            pull = force(drifted)
            p = torch.addcmul(p, h_y, pull, value=kick)
            kicked += kick
        field.evaluations += self.stages
        end = torch.cat([q, p], dim=-1)
        self._end = end, pull
        return Step(end, None, ())

    def complete(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, step: Step) -> Step:
        """Add the slopes at both ends and the mean slope between them."""
        first, last = field(t, y), field(shift(t, h, 1.0), step.y)
        return step._replace(slopes=(first, (step.y - y) / along(h, y), last), first=first, last=last)

    def weights(self, theta: Tensor) -> Tensor:
        """Weights of dense output; see ``Stepper``."""
        return torch.stack([theta * (1 - theta) ** 2, theta**2 * (3 - 2 * theta), theta**2 * (theta - 1)], dim=-1)
