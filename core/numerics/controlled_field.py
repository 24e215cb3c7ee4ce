"""A controlled equation as an ordinary one: the field f(t, z) dX/dt, and its tape."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import Field
from integrand.core.numerics.gradients.tape import Tape, TapeReader


class Control(Protocol):
    """What drives a controlled differential equation; every path of ``core.paths`` is one.

    Attributes:
        times: knots, between which the control is smooth, (L,) or (B, L).
    """

    times: Tensor

    @property
    def channels(self) -> int:
        """C."""
        ...

    @property
    def kinks(self) -> bool:
        """Whether the derivative jumps at the knots."""
        ...

    def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return dX/dt at times (Q,) or (B, Q) on the intervals between knots told beside them, as (B, Q, C)."""
        ...


class ControlledField(nn.Module):
    """The field f(t, z) dX/dt, at any time.

    A module, as the adjoint asks, that holds the field's parameters.

    Args:
        field: f, which returns (B, H, C).
        path: X.
        batch: B; called with nB states, it takes each sample's n together.
    """

    def __init__(self, field: Field, path: Control, batch: int) -> None:
        super().__init__()
        self.field, self.path, self.batch = field, path, batch

    def forward(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        """Evaluate at t () or (nB,) and z (nB, H)."""
        t_path = t.view(1) if t.dim() == 0 else t.view(self.batch, -1)
        slope = self.path.derivative(t_path.to(self.path.times)).to(z.dtype)
        return contract(self.field(t, z, *args), slope.flatten(0, 1).unsqueeze(1), z)


class StagedField(nn.Module):
    """The field f(t, z) dX/dt of a walk that asks for it in an order known beforehand.

    Args:
        field: f, which returns (B, H, C).
        slopes: dX/dt, (B, 1, C), of every call of one walk in turn; the next walk begins with the first again.
    """

    def __init__(self, field: Field, slopes: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.field, self.slopes, self.calls = field, slopes, 0

    def forward(self, t: Tensor, z: Tensor, *args: Any) -> Tensor:
        """Evaluate the next stage at t () or (B,) and z (B, H)."""
        slope = self.slopes[self.calls % len(self.slopes)]
        self.calls += 1
        return contract(self.field(t, z, *args), slope, z)

    def open_tape(self, z0: Tensor, args: Any) -> Tape | None:
        """Return a tape if f has one and the path needs no gradient; see ``core.numerics.gradients.tape``."""
        make = getattr(self.field, "open_tape", None)
        if make is None or not self.slopes or self.slopes[0].requires_grad:
            return None
        tape: Tape | None = make(z0, args)
        return None if tape is None else _ControlledTape(tape, self.slopes)


class _ControlledTape:
    """The tape of f dX/dt, given that of f."""

    def __init__(self, matrices: Tape, slopes: tuple[Tensor, ...]) -> None:
        self.matrices, self.slopes, self.count = matrices, slopes, 0
        self.parameters = matrices.parameters
        self.state: Tensor | None = None
        self.matrix: Tensor | None = None

    def push(self, t: Tensor, y: Tensor, args: Any, out: Tensor | None = None) -> Tensor:
        """See ``Tape``."""
        slope = self.slopes[self.count]
        self.count += 1
        if self.matrix is None:
            self.state, self.matrix = torch.empty_like(y), y.new_empty(*y.shape, slope.shape[-1])
        self.matrices.push(t, y, args, self.matrix.flatten(1))
        out = torch.empty_like(y) if out is None else out
        torch.bmm(self.matrix, slope.transpose(1, 2), out=out.unsqueeze(-1))
        return out

    def mark(self) -> int:
        """See ``Tape``."""
        return self.matrices.mark()

    def rewind(self, mark: int) -> None:
        """See ``Tape``."""
        self.matrices.rewind(mark)
        self.count = mark

    def pack(self) -> tuple[Tensor, ...]:
        """See ``Tape``."""
        self.matrix = None
        return self.matrices.pack()

    def read(self, packed: tuple[Tensor, ...]) -> "_ControlledReader":
        """See ``Tape``."""
        return _ControlledReader(self.matrices.read(packed), self.slopes[: self.count], self.state)


class _ControlledReader:
    """A tape of f dX/dt read backwards: a cotangent k of the slope is k dX/dt of the matrix."""

    def __init__(self, matrices: TapeReader, slopes: tuple[Tensor, ...], memory: Tensor | None) -> None:
        self.matrices, self.slopes, self.memory = matrices, list(slopes), memory

    def slot(self) -> Tensor:
        """See ``TapeReader``."""
        return self.memory  # pyright: ignore[reportReturnType]

    def pop(self, cotangent: Tensor | None, out: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """See ``TapeReader``."""
        slope = self.slopes.pop()
        if cotangent is None:
            return self.matrices.pop(None, out)
        matrix = self.matrices.slot()
        torch.mul(cotangent.unsqueeze(-1), slope, out=matrix.view(*cotangent.shape, slope.shape[-1]))
        return self.matrices.pop(matrix, out)

    def parameter_cotangents(self, wanted: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        """See ``TapeReader``."""
        return self.matrices.parameter_cotangents(wanted)


def contract(matrix: Tensor, slope: Tensor, z: Tensor) -> Tensor:
    """Return f dX/dt for f (B, H, C) and dX/dt (B, 1, C), in the wider of their types, also under autocast."""
    if matrix.shape != (*z.shape, slope.shape[-1]):
        raise InputError(
            f"the field returned {tuple(matrix.shape)} for states {tuple(z.shape)} along {slope.shape[-1]} "
            f"channels: return {(*z.shape, slope.shape[-1])}, a column for each channel."
        )
    return (matrix * slope).sum(-1)
