"""torchdiffeq's states, fields and tolerances, as our engine takes them.

torchdiffeq knows no batch: its state is a tensor of any shape, or a tuple of tensors, that shares one step. Our walks
take one tensor whose first dimension is a batch. A tensor of two dimensions or more is taken as it is; every other
state is laid out as one sample, (1, N).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integrand.core.numerics.stepping.step_control import ErrorNorm, wide

State = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Layout:
    """How a state lies in the tensor that is solved for.

    Attributes:
        shapes: shapes of the tensors of the state.
        tupled: whether the state is a tuple of them, rather than the one.
    """

    shapes: tuple[torch.Size, ...]
    tupled: bool

    @classmethod
    def of(cls, y0: State) -> "Layout":
        """Return the layout of a state."""
        return cls(tuple(part.shape for part in parts(y0)), isinstance(y0, tuple))

    @property
    def packed_shape(self) -> torch.Size:
        """The shape of the tensor that is solved for."""
        if self.tupled or len(self.shapes[0]) < 2:
            return torch.Size((1, sum(self.sizes)))
        return self.shapes[0]

    @property
    def sizes(self) -> list[int]:
        """How many numbers each tensor of the state has."""
        return [shape.numel() for shape in self.shapes]

    def pack(self, state: State) -> Tensor:
        """Lay out a state."""
        flat = torch.cat([part.reshape(-1) for part in parts(state)]) if isinstance(state, tuple) else state
        return flat.reshape(self.packed_shape)

    def unpack(self, y: Tensor) -> State:
        """Return the state as its owner knows it."""
        if not self.tupled:
            return y if y.shape == self.shapes[0] else y.view(self.shapes[0])
        split = y.reshape(-1).split(self.sizes)
        return tuple(part.view(shape) for part, shape in zip(split, self.shapes, strict=True))

    def unpack_all(self, states: Tensor) -> State:
        """Return states at T times, (T, ...), as their owner knows them, each tensor with time first."""
        count = states.shape[0]
        if not self.tupled:
            return states.view(count, *self.shapes[0])
        split = states.view(count, -1).split(self.sizes, dim=1)
        return tuple(part.reshape(count, *shape) for part, shape in zip(split, self.shapes, strict=True))

    def pack_slope(self, slope: Any, y: Tensor) -> Tensor:
        """Lay out what a field returned for ``y``; as in torchdiffeq it may broadcast, and have another precision."""
        if self.tupled:
            slope = torch.cat([part.reshape(-1) for part in slope])
            return slope.to(y).view_as(y)
        slope = torch.as_tensor(slope, dtype=y.dtype, device=y.device)
        return (slope if slope.shape == self.shapes[0] else slope.expand(self.shapes[0])).reshape(y.shape)


def parts(state: State) -> tuple[Tensor, ...]:
    """Return the tensors of a state."""
    return state if isinstance(state, tuple) else (state,)


class CalledField:
    """A field that torchdiffeq calls, as our walks call theirs.

    The field sees its own state, and the time in the precision of the state. It is always evaluated as its caller was:
    our walks look at a field without recording a gradient where they only choose a step, but a field that
    differentiates something itself, as the trace of its Jacobian or an energy, needs a graph there too.

    Attributes:
        open_tape: that of the field, if it has one; see ``core.numerics.gradients.tape``.
    """

    def __init__(self, func: Callable[..., Any], layout: Layout) -> None:
        self.func, self.layout = func, layout
        self.recording = torch.is_grad_enabled()
        self.open_tape = None if layout.tupled else getattr(func, "open_tape", None)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        if self.recording and not torch.is_grad_enabled():
            with torch.enable_grad():
                return self._evaluate(t, y.detach().requires_grad_()).detach()
        return self._evaluate(t, y)

    def _evaluate(self, t: Tensor, y: Tensor) -> Tensor:
        return self.layout.pack_slope(self.func(t.to(y.dtype.to_real()), self.layout.unpack(y)), y)


@dataclass(frozen=True)
class StateNorm(ErrorNorm):
    """An ``ErrorNorm`` that measures the state as its owner knows it.

    Attributes:
        measured: maps a state of relative errors to one number.
        layout: how the state lies.
    """

    measured: Callable[[Any], Tensor]
    layout: Layout

    def measure(self, error: Tensor, scale: Tensor) -> Tensor:
        """Return the size of ``error / scale``."""
        return torch.abs(self.measured(self.layout.unpack(wide(error) / scale)))


def largest_rms(state: tuple[Tensor, ...]) -> Tensor:
    """Return the largest of the root mean squares of several tensors, torchdiffeq's size of a tuple."""
    return torch.stack([part.abs().square().mean().sqrt() for part in state]).max()


def error_norm(rtol: Any, atol: Any, measured: Callable[[Any], Tensor] | None, y0: State) -> ErrorNorm | None:
    """Return how errors are measured, or None where the tolerances are not numbers of which this is known."""
    layout = Layout.of(y0)
    tolerances = [_tolerance(tolerance, layout, y0) for tolerance in (rtol, atol)]
    if any(tolerance is None for tolerance in tolerances):
        return None
    if all(isinstance(tolerance, float) and tolerance == 0 for tolerance in tolerances):
        return None
    relative, absolute = tolerances  # ``ErrorNorm`` multiplies and adds them, each a number or a tensor
    if measured is None and not layout.tupled:
        return ErrorNorm(relative, absolute, each=False)  # pyright: ignore[reportArgumentType]
    return StateNorm(relative, absolute, False, measured or largest_rms, layout)  # pyright: ignore[reportArgumentType]


def _tolerance(given: Any, layout: Layout, y0: State) -> float | Tensor | None:
    """Return one tolerance as a number, or one for each component; a tuple's may be given for each of its tensors."""
    first = parts(y0)[0]
    if isinstance(given, Tensor):
        if given.requires_grad or given.dim() or given.is_complex():
            return None
        given = given.item()
    if isinstance(given, (int, float)):
        return float(given) if given >= 0 else None
    if not layout.tupled or not isinstance(given, Iterable):
        return None
    each = tuple(given)
    if len(each) != len(layout.sizes) or not all(isinstance(one, (int, float)) and one >= 0 for one in each):
        return None
    real = first.dtype.to_real()
    filled = [first.new_full((size,), float(one), dtype=real) for one, size in zip(each, layout.sizes, strict=True)]
    return torch.cat(filled).view(layout.packed_shape)
