"""The base of layers that are a linear ODE with a diagonal transition, driven by the sequence."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.layers.sequence_layer import SequenceLayer, SequenceOutput
from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.scan import diagonal_scan


class Recurrence(NamedTuple):
    """What an ODE becomes over intervals: h_l = decay_l h_{l-1} + gain_l scale B x_l.

    Attributes:
        decay: complex, broadcasts to (B, L, N); of size 1 along B and L where all intervals are equal.
        gain: real or complex, likewise; None stands for one.
        scale: what of the gain no interval changes, (N,): it is multiplied into B once. None stands for one.
    """

    decay: Tensor
    gain: Tensor | None = None
    scale: Tensor | None = None


class LinearStateSpace(SequenceLayer):
    """A linear ODE with N diagonal states, many inputs and many outputs.

        h' = Lambda h + B x,      h_l = a_l h_{l-1} + g_l B x_l,      y_l = Re(C h_l) + D x_l

    A layer says by ``discretize`` what a and g are over given intervals. With irregular intervals both change from
    element to element. With constant ones (``dt`` None, a number or a tensor of no dimension, told by its form so that
    no value is looked at) the gain is multiplied into B once, and the scan takes one decay for all elements. That scan
    is the choice for constant intervals too: the convolution would transform N states where S4D transforms D channels,
    and measured on the CPU it takes longer. Products of real with complex matrices are made as real ones, with the two
    parts of a number beside each other in memory as the scan wants them.

    Its place on the map: layer level; what the diagonal state spaces share.

    A layer sets the parameters ``b`` (N, D), ``c`` (D, N) and ``d`` (D,); complex ones as real pairs, (N, D, 2).

    Args:
        d_model: channels D.
        time_scale: see ``SequenceLayer``.

    Example:
        >>> class Leak(LinearStateSpace):
        ...     def __init__(self):
        ...         super().__init__(1)
        ...         self.b, self.c, self.d = torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1)
        ...     def discretize(self, dt):
        ...         return Recurrence(torch.complex(0.5**dt, 0 * dt))
        >>> Leak()(torch.tensor([[[1.0], [0.0], [0.0]]]), dt=torch.tensor([[0.0, 1.0, 2.0]])).y.flatten()
        tensor([1.0000, 0.5000, 0.1250])
    """

    b: Tensor
    c: Tensor
    d: Tensor

    def discretize(self, dt: Tensor) -> Recurrence:
        """Return the recurrence over intervals dt (B, L, 1), in units of ``time_scale``; (1, 1, 1) if all are equal."""
        raise NotImplementedError

    def initial_state(self, batch: int, like: Tensor) -> Tensor:
        """Return zeros, (B, N) complex."""
        dtype = torch.promote_types(like.dtype, torch.complex64)
        return torch.zeros(batch, self.b.shape[0], dtype=dtype, device=like.device)

    def forward(
        self,
        x: Tensor,
        dt: Tensor | float | None = None,
        mask: Tensor | None = None,
        state: Tensor | None = None,
    ) -> SequenceOutput:
        """Map (B, L, D) to (B, L, D); see ``SequenceLayer``. The state is complex, as ``initial_state`` makes it."""
        self.check(x, dt, mask, state)
        constant = not isinstance(dt, Tensor) or dt.dim() == 0
        dt_BL = self.intervals(x.new_empty(1, 1) if constant else x, dt)
        if not x.shape[1]:
            return SequenceOutput(x, self.initial_state(x.shape[0], x) if state is None else state)
        # Exponentials and recurrences stay in float32 or wider: bfloat16 loses long memories to rounding.
        with torch.autocast(x.device.type, enabled=False):
            u = x.to(dt_BL.dtype)
            if mask is not None:
                u = torch.where(mask.unsqueeze(-1), u, 0)
            y, state = self.solve(u, dt_BL, state)
        return SequenceOutput(y.to(x.dtype), state)

    def solve(self, u: Tensor, dt: Tensor, state: Tensor | None) -> SequenceOutput:
        """Solve for inputs (B, L, D) over intervals (B, L), or (1, 1) where all are equal."""
        decay, gain, scale = self.discretize(dt.unsqueeze(-1))
        b = _matrix(self.b, u.dtype)
        if scale is not None:
            b = scale.unsqueeze(-1) * b
        if gain is None:
            drive = _drive(u, b)
        elif gain.shape[:2] == (1, 1):
            drive = _drive(u, gain.reshape(-1, 1) * b)
        else:
            drive = gain * _drive(u, b)
        h = diagonal_scan(decay, drive, state)
        return SequenceOutput(_read(h, self.output_matrix(u.dtype), self.d.to(u.dtype) * u), h[:, -1])

    def output_matrix(self, dtype: torch.dtype) -> Tensor:
        """Return C (D, N), complex or real."""
        return _matrix(self.c, dtype)


def expm1(z: Tensor) -> Tensor:
    """exp(z) - 1 without cancellation for small complex z, on every device."""
    return _expm1(z) if is_transformed() else _Expm1.apply(z)  # pyright: ignore[reportReturnType]


def _expm1(z: Tensor) -> Tensor:
    x, y = z.real, z.imag
    return torch.complex(torch.expm1(x) * torch.cos(y) - 2 * torch.sin(y / 2) ** 2, torch.exp(x) * torch.sin(y))


class _Expm1(torch.autograd.Function):
    """Its derivative is itself plus one: that spares the backward pass all that the forward one is made of."""

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        value = _expm1(z)
        ctx.save_for_backward(value)
        return value

    @staticmethod
    def backward(ctx, *grads: Tensor) -> Tensor:
        (grad,), (value,) = grads, ctx.saved_tensors
        return grad * (value + 1).conj()


def pairs(matrix: Tensor) -> nn.Parameter:
    """Return a complex matrix as a parameter of real pairs: optimisers, clipping and half precision all know these."""
    return nn.Parameter(torch.view_as_real(matrix.to(torch.complex64).resolve_conj()).contiguous())


def even(d_state: int) -> int:
    """Return N/2 of the N states that come in conjugate pairs."""
    if d_state < 2 or d_state % 2:
        raise InputError(f"d_state must be even and at least 2, got {d_state}: states come in conjugate pairs.")
    return d_state // 2


def _matrix(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a parameter in the precision of a real type, pairs as complex numbers."""
    parameter = parameter.to(dtype)
    return torch.view_as_complex(parameter) if parameter.dim() == 3 else parameter


def _drive(u: Tensor, b: Tensor) -> Tensor:
    """B u for real u (B, L, D) as one real product: (B, L, N), complex if b (N, D) is."""
    if not b.is_complex():
        return F.linear(u, b)
    rows = torch.view_as_real(b).transpose(1, 2).flatten(0, 1)
    return torch.view_as_complex(F.linear(u, rows).unflatten(-1, (-1, 2)))


def _read(h: Tensor, c: Tensor, added: Tensor) -> Tensor:
    """Re(C h) + added for complex h (B, L, N) as one real product: (B, L, D)."""
    if c.is_complex():
        h, c = torch.view_as_real(h).flatten(-2), torch.view_as_real(c.conj().resolve_conj()).flatten(1)
    else:
        h = h.real
    return torch.addmm(added.flatten(0, 1), h.flatten(0, 1), c.T).view_as(added)
