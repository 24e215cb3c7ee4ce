"""Explicit Runge-Kutta methods as steppers."""

from collections.abc import Sequence

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import Row, along, combine, known_length, on_device, shift
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.stepper import Step
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.modes import is_autocast, is_transformed


class ExplicitRungeKutta:
    """The step of a ``Tableau``.

    While autograd records, stages are sums of separate tensors. While it does not, the slopes of a step share one block
    of memory, whose rows k_1, ..., k_i give the next stage's state as a single product of a matrix and a vector.

    Args:
        tableau: the method.
        estimate: whether the step estimates its error, and evaluates f(t + h, y') if that takes it.
    """

    def __init__(self, tableau: Tableau, *, estimate: bool) -> None:
        self.tableau = tableau
        self.order, self.error_order = tableau.order, tableau.error_order if estimate else None
        self.stages = tableau.stages
        self.estimate = estimate
        self.shares_last = estimate and tableau.error[-1] != 0
        self._block: _Block | None = None
        self._rows: dict[Row, tuple[Tensor, int | None]] = {}

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step; see ``Stepper``."""
        slopes, length = self._open(y), known_length(h)
        for i, (c, row) in enumerate(zip(self.tableau.c, self.tableau.a, strict=True)):
            if i == 0 and first is not None:
                slopes.put(first)
            else:
                slopes.evaluate(field, shift(t, h, c), self._combine(y, length, row, slopes) if i else y)
        end = self._combine(y, length, self.tableau.b, slopes)
        if self.shares_last:
            slopes.evaluate(field, shift(t, h, 1.0), end)
        known = slopes.tensors()
        last = known[self.stages] if self.shares_last else None
        if not self.estimate:
            return Step(end, None, known, first=known[0])
        with torch.no_grad():  # how long a step is, is a choice, not a function to differentiate
            damping = self._estimate(length, self.tableau.error_damping, slopes) if self.tableau.error_damping else None
            error = self._estimate(length, self.tableau.error, slopes)
        return Step(end, error, known, last, first=known[0], damping=damping)

    def complete(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, step: Step) -> Step:
        """Add f(t + h, y') and the extra stages, where dense output takes them."""
        count = len(self.tableau.dense)
        if len(step.slopes) >= count:
            return step
        slopes = self._open(y, keep=len(step.slopes)) if self._block is not None else _Tensors(list(step.slopes))
        if len(step.slopes) == self.stages:
            slopes.evaluate(field, shift(t, h, 1.0), step.y)
        for c, row in zip(self.tableau.extra_c, self.tableau.extra_a, strict=True):
            slopes.evaluate(field, shift(t, h, c), self._combine(y, known_length(h), row, slopes))
        known = slopes.tensors()
        return step._replace(slopes=known, last=known[self.stages])

    def weights(self, theta: Tensor) -> Tensor | None:
        """Weights of dense output; see ``Stepper``."""
        if not self.tableau.dense:
            return None
        powers = torch.stack([theta ** (d + 1) for d in range(len(self.tableau.dense[0]))], dim=-1)
        return torch.stack(
            [_dot(row, powers.unbind(-1)) for row in self.tableau.dense],
            dim=-1,
        )

    def _open(self, y: Tensor, keep: int = 0) -> "_Tensors | _Block":
        # Autocast would take products with the block in half precision.
        if torch.is_grad_enabled() or is_transformed() or is_autocast(y.device):
            self._block = None
            return _Tensors([])
        if self._block is None or self._block.shape != y.shape:
            count = max(len(self.tableau.dense), self.stages + 1)
            self._block = _Block(y, count)
        self._block.count = keep
        return self._block

    def _combine(self, y: Tensor, h: Tensor | float, weights: Row, slopes: "_Tensors | _Block") -> Tensor:
        """Return y + h sum_i w_i k_i."""
        if isinstance(slopes, _Tensors):
            return combine(y, h, weights, slopes.known)
        row, only = self._row(weights, y)
        if only is not None and not isinstance(h, Tensor):
            return torch.add(y, slopes.rows[only], alpha=weights[only] * h)
        return slopes.combine(y, h, row)

    def _estimate(self, h: Tensor | float, weights: Row, slopes: "_Tensors | _Block") -> Tensor:
        known = slopes.tensors()
        if isinstance(slopes, _Tensors):
            return combine(None, h, weights, known)
        return slopes.combine(None, h, self._row(weights[: slopes.count], known[0])[0])

    def _row(self, weights: Row, like: Tensor) -> tuple[Tensor, int | None]:
        """Return weights on the device, and the place of the only one that is not zero, if there is but one."""
        found = self._rows.get(weights)
        if found is None:
            places = [place for place, weight in enumerate(weights) if weight]
            found = self._rows[weights] = on_device(weights, like), places[0] if len(places) == 1 else None
        return found


class _Tensors:
    """Slopes as separate tensors."""

    def __init__(self, known: list[Tensor]) -> None:
        self.known = known

    def put(self, slope: Tensor) -> None:
        self.known.append(slope)

    def evaluate(self, field: BoundField, t: Tensor, y: Tensor) -> None:
        self.known.append(field(t, y))

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self.known)


class _Block:
    """Slopes as rows of one block of memory, which every step of a solve uses again."""

    def __init__(self, y: Tensor, rows: int) -> None:
        self.shape = y.shape
        block = y.new_empty(rows, y.numel())
        self.rows = block.view(rows, *y.shape).unbind(0)
        # The first i rows as the columns of a matrix, so that a weighted sum of them is one product.
        self.columns = [block[:i].t() for i in range(rows + 1)]
        self.count = 0
        self.base = self.flat = y.reshape(-1)

    def put(self, slope: Tensor) -> None:
        if slope is not self.rows[self.count]:
            self.rows[self.count].copy_(slope)
        self.count += 1

    def evaluate(self, field: BoundField, t: Tensor, y: Tensor) -> None:
        field.write(t, y, self.rows[self.count])
        self.count += 1

    def tensors(self) -> tuple[Tensor, ...]:
        return self.rows[: self.count]

    def combine(self, y: Tensor | None, h: Tensor | float, weights: Tensor) -> Tensor:
        columns = self.columns[weights.shape[0]]
        if not isinstance(h, Tensor):
            if y is None:
                return torch.mv(columns, weights).mul_(h).view(self.shape)
            return torch.addmv(self._flat(y), columns, weights, alpha=h).view(self.shape)
        if h.dim() == 0:
            weights = weights * h
            total = torch.mv(columns, weights) if y is None else torch.addmv(self._flat(y), columns, weights)
            return total.view(self.shape)
        total = torch.mv(columns, weights).view(self.shape)
        h = along(h, total)
        return total.mul_(h) if y is None else torch.addcmul(y, h, total)

    def _flat(self, y: Tensor) -> Tensor:
        """Return the state flat, which the stages of a step all begin with."""
        if y is not self.base:
            self.base, self.flat = y, y.reshape(-1)
        return self.flat


def _dot(row: Row, powers: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(powers[0])
    for coefficient, power in zip(row, powers, strict=True):
        if coefficient:
            total = torch.add(total, power, alpha=coefficient)
    return total
