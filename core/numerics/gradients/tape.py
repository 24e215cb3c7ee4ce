"""Fields that give their own vector-Jacobian product, and how a solver writes down what they did.

Reverse-mode automatic differentiation spends, on each small operation of each stage, more time on its records than on
arithmetic, and forms the gradient of every weight once a stage. A field that knows its derivative can do better: it
keeps what its derivative needs in a few large blocks while the solve goes on, answers products with its transposed
Jacobian on the way back, and forms each weight's gradient as one matrix product over the stages of many steps.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField, leaves
from integrand.core.numerics.modes import is_autocast, is_transformed


class TapeReader(Protocol):
    """A tape read backwards, from the last evaluation to the first."""

    def slot(self) -> Tensor:
        """Return the memory in which ``pop`` wants the next cotangent; another tensor would be copied there."""
        ...

    def pop(self, cotangent: Tensor | None, out: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Take the last evaluation left, and apply its transposed Jacobian to a cotangent, (B, ...).

        Args:
            cotangent: of the slope; None where nothing depends on it, and the result is then not to be used.
            out: where to put the first result.

        Returns:
            The cotangent of y, and those of the tensors of args that require gradients, in order.
        """
        ...

    def parameter_cotangents(self, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        """Return the cotangents of the tape's parameters, when every evaluation has been taken."""
        ...


class Tape(Protocol):
    """The evaluations of a field during one solve.

    A tape may have ``as_map()``, too, which returns the field as ``compiled_adjoint.FieldMap`` for steps that are
    compiled.

    Attributes:
        parameters: the tensors, other than y and args, that the field depends on.
    """

    parameters: tuple[Tensor, ...]

    def push(self, t: Tensor, y: Tensor, args: Any, out: Tensor | None = None) -> Tensor:
        """Evaluate the field, note what its derivative needs, and return the slope, in ``out`` if given."""
        ...

    def mark(self) -> int:
        """Return how many evaluations are noted."""
        ...

    def rewind(self, mark: int) -> None:
        """Forget all evaluations after the first ``mark``."""
        ...

    def pack(self) -> tuple[Tensor, ...]:
        """Hand over all that is noted, so that autograd keeps it, and frees it, as it does its own."""
        ...

    def read(self, packed: tuple[Tensor, ...]) -> TapeReader:
        """Read what was packed."""
        ...


def add_cotangents(totals: list[Tensor], new: Sequence[Tensor]) -> list[Tensor]:
    """Return the totals with what another evaluation adds to them, in place; the first evaluation begins them."""
    if not totals:
        return list(new)
    for total, one in zip(totals, new, strict=True):
        total.add_(one)
    return totals


class TapedField(BoundField):
    """A bound field whose evaluations go onto a tape."""

    def __init__(self, bound: BoundField, tape: Tape) -> None:
        super().__init__(bound.field, bound.args, bound.batch)
        self.tape = tape

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field and note it."""
        self.evaluations += 1
        return self.tape.push(t, y, self.args)

    def write(self, t: Tensor, y: Tensor, out: Tensor) -> None:
        """Evaluate the field into ``out`` and note it."""
        self.evaluations += 1
        self.tape.push(t, y, self.args, out)

    def peek(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field and forget it."""
        mark = self.tape.mark()
        slope = self(t, y)
        self.tape.rewind(mark)
        return slope

    def mark(self) -> int:
        """Return how many evaluations are noted."""
        return self.tape.mark()

    def rewind(self, mark: int) -> None:
        """Forget the evaluations of a refused step."""
        self.tape.rewind(mark)


def open_tape(bound: BoundField, y0: Tensor, times: Tensor) -> Tape | None:
    """Return a tape of the field, or None where there is no gradient to form or it must be left to autograd.

    Autograd keeps what a tape cannot give: derivatives with respect to time, lower precision under autocast, forward
    mode and the other transforms of ``torch.func``, and graphs that torch.compile traces.
    """
    make = getattr(bound.field, "open_tape", None)
    if make is None or not torch.is_grad_enabled() or times.requires_grad:
        return None
    if is_autocast(y0.device) or torch.compiler.is_compiling():
        return None
    if is_transformed():
        return None
    tape: Tape | None = make(y0, bound.args)
    if tape is None:
        return None
    inputs = (y0, *(leaf for _, leaf in leaves(bound.args)), *tape.parameters)
    return tape if any(tensor.requires_grad for tensor in inputs) else None
