"""Fixed steps on a grid of one's own, with torchdiffeq's methods and outputs between the grid's points."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import combine, on_device
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.tape import TapedField
from integrand.core.numerics.methods.tableau import EULER, HEUN, MIDPOINT, Tableau
from integrand.core.numerics.stepping.walk import StepTaken

HEUN3 = Tableau(
    "heun3", ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), (0.0, 1 / 3, 2 / 3), 3, "Heun (1900), third order"
)
RK4_38 = Tableau(
    "rk4_38",
    ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    (1 / 8, 3 / 8, 3 / 8, 1 / 8),
    (0.0, 1 / 3, 2 / 3, 1.0),
    4,
    "Kutta (1901), the 3/8 rule",
)
GRID_METHODS = {"euler": EULER, "midpoint": MIDPOINT, "heun2": HEUN, "heun3": HEUN3, "rk4": RK4_38}
"""torchdiffeq's names for methods with fixed steps. Its ``rk4`` is the 3/8 rule, not the classical method."""


@dataclass(frozen=True, kw_only=True)
class GridMethod:
    """What happens between two points of a grid.

    Attributes:
        tableau: the method.
        cubic: whether states between grid points are read from cubic Hermite polynomials, rather than straight lines.
        perturb: whether slopes at the start of a step are taken just after it, and those at its end just before it.
    """

    tableau: Tableau
    cubic: bool
    perturb: bool

    def slopes(self, field: BoundField, t: Tensor, h: Tensor, end: Tensor, y: Tensor, sign: float) -> list[Tensor]:
        """Return the slopes of the stages of a step."""
        slopes: list[Tensor] = []
        for c, row in zip(self.tableau.c, self.tableau.a, strict=True):
            # The end is the grid's own number, on which a field with jumps may depend; t + h may miss it by rounding.
            at = end if c == 1 else torch.add(t, h, alpha=c) if c else t
            if self.perturb and c in (0, 1):
                at = _nudge(at.to(y.dtype.to_real()), sign if c == 0 else -sign)
            slopes.append(field(at, combine(y, h, row, slopes) if slopes else y))
        return slopes

    def between(self, theta: Tensor, h: Tensor, y: Tensor, last: Tensor, slopes: list[Tensor]) -> tuple[Tensor, ...]:
        """Return y + p (y' - y) + h (q f(t, y) + r f(t + h, y')) for every theta, with p, q, r the polynomial's.

        The last of the slopes of a cubic is that at the end of the step.
        """
        p, q, r = (part.view(-1, *(1,) * y.dim()) for part in self._polynomial(theta))
        states = y + p * (last - y)
        if self.cubic:
            states = states + h * (q * slopes[0] + r * slopes[-1])
        return states.unbind(0)

    def weights(self, theta: Tensor, h: Tensor, y: Tensor) -> Tensor:
        """Return the weights of the step's slopes in the same states, less y, which differentiate them."""
        p, q, r = self._polynomial(theta)
        weights = torch.outer(p, on_device(self.tableau.b, y))
        if self.cubic:
            weights = torch.cat([weights, r[:, None]], dim=1)
            weights[:, 0] += q
        return weights * h

    def _polynomial(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.cubic:
            return theta, torch.zeros_like(theta), torch.zeros_like(theta)
        return theta**2 * (3 - 2 * theta), theta * (1 - theta) ** 2, theta**2 * (theta - 1)


@dataclass(frozen=True, kw_only=True)
class GridWalk:
    """A walk over a grid, called with the field and the initial state.

    Attributes:
        grid: the times that steps begin and end on, (N,).
        times: output times, (T,), which begin and end with the grid.
        method: how steps are taken, and read between their ends.
        on_step: called with the start, the state and the length of every step before it is taken; or None.
    """

    grid: Tensor
    times: Tensor
    method: GridMethod
    on_step: Callable[[Tensor, Tensor, Tensor], None] | None

    def __call__(self, field: BoundField, y0: Tensor) -> tuple[list[Tensor], list[StepTaken]]:
        """Return the states at the output times, and the steps."""
        points, asked = self.grid.detach().tolist(), self.times.detach().tolist()
        sign = math.copysign(1.0, asked[-1] - asked[0])
        starts, method = self.grid.unbind(), self.method
        y, states, steps = y0, [y0], []
        for t, end, reached in zip(starts, starts[1:], points[1:], strict=False):
            h = end - t
            if self.on_step is not None:
                self.on_step(t, y, h * sign)
            slopes = method.slopes(field, t, h, end, y, sign)
            last = combine(y, h, method.tableau.b, slopes)
            first = len(states)
            beyond = first
            while beyond < len(asked) and sign * asked[beyond] <= sign * reached:
                beyond += 1
            # A straight line ends where the step does; a polynomial is read there too, for its slope in time.
            lands = beyond > first and not method.cubic and asked[beyond - 1] == reached
            inner = self.times[first : beyond - lands]
            weights = None
            if len(inner):
                if method.cubic:
                    slopes.append(field(end, last))
                theta = ((inner - t) / h).to(y.dtype.to_real())
                states.extend(method.between(theta, h, y, last, slopes))
                weights = method.weights(theta, h, y) if isinstance(field, TapedField) else None
            if lands:
                states.append(last)
            has_last = len(slopes) > method.tableau.stages
            landed, inside = beyond - 1 if lands else None, (first, first + len(inner))
            steps.append(StepTaken(0.0, 0.0, t, h, True, has_last, False, landed, inside, weights))
            y = last
        return states, steps


def even_grid(times: Tensor, step_size: float) -> Tensor:
    """Return times a ``step_size`` apart from the first of ``times``, and then its last, as torchdiffeq counts them."""
    sign = 1.0 if bool(times[-1] > times[0]) else -1.0
    start, end = sign * times[0], sign * times[-1]
    count = math.ceil(((end - start) / step_size + 1).item())
    grid = torch.arange(0, count, dtype=times.dtype, device=times.device) * step_size + start
    return sign * torch.cat([grid[:-1], end[None]])


def _nudge(t: Tensor, sign: float) -> Tensor:
    """Return the next number after or before t, with the slope of t."""
    return t + (torch.nextafter(t, t + sign) - t).detach()
