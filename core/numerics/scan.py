"""The diagonal linear recurrence, in parallel along the sequence."""

import math

import torch
from torch import Tensor


def diagonal_scan(a: Tensor, b: Tensor, initial: Tensor | None = None) -> Tensor:
    """Solve h_l = a_l h_{l-1} + b_l for every l at once.

    The sequence is cut into about sqrt(L) chunks of about sqrt(L) elements. All chunks run the recurrence together from
    zero, carrying the running product of their decays; the chunk ends are then chained, and each chunk adds its
    decayed carry. That takes 2 sqrt(L) small operations and one large one, and touches each element a constant number
    of times (log L times in a doubling scan). The gradient is the same recurrence run backwards, so it costs the same
    again, and is differentiable in its turn.

    Args:
        a: decays, real or complex, (B, L, ...) or anything that broadcasts to ``b``.
        b: inputs, (B, L, ...).
        initial: state before the first element, (B, ...); zero when None.

    Returns:
        States h, in the shape of ``b``.

    Example:
        >>> diagonal_scan(torch.tensor(0.5), torch.ones(1, 3, 1)).flatten().tolist()
        [1.0, 1.5, 1.75]

    Source: Blelloch (1990), Prefix sums and their applications; the square-root blocking is two-level Brent (1974).
    """
    dtype = torch.promote_types(a.dtype, b.dtype)
    if initial is not None and initial.is_complex():
        dtype = dtype.to_complex()
    a, b = a.to(dtype).expand_as(b), b.to(dtype)
    if initial is not None:
        b = torch.cat([(b[:, :1] + a[:, :1] * initial.to(dtype).unsqueeze(1)), b[:, 1:]], dim=1)
    if b.shape[1] == 0:
        return b
    return _Scan.apply(a, b)  # pyright: ignore[reportReturnType]


def _two_level(a: Tensor, b: Tensor) -> Tensor:
    """Run the recurrence from a zero state; no gradient is recorded."""
    batch, length, *rest = b.shape
    size = max(1, round(math.sqrt(length)))
    chunks = -(-length // size)
    padding = chunks * size - length
    if padding:
        a = torch.cat([a, a.new_ones(batch, padding, *rest)], dim=1)
        b = torch.cat([b, b.new_zeros(batch, padding, *rest)], dim=1)
    a = a.reshape(batch, chunks, size, *rest)
    state = b.reshape(batch, chunks, size, *rest).clone()
    decay = a.clone()
    for j in range(1, size):
        state[:, :, j].addcmul_(a[:, :, j], state[:, :, j - 1])
        decay[:, :, j].mul_(decay[:, :, j - 1])
    carry = torch.zeros_like(state[:, :, 0])
    for i in range(1, chunks):
        torch.addcmul(state[:, i - 1, -1], decay[:, i - 1, -1], carry[:, i - 1], out=carry[:, i])
    state.addcmul_(decay, carry.unsqueeze(2))
    return state.reshape(batch, chunks * size, *rest)[:, :length]


class _Scan(torch.autograd.Function):
    """The recurrence from a zero state with its adjoint, G_l = g_l + conj(a_{l+1}) G_{l+1}."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor) -> Tensor:
        h = _two_level(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor]:
        (grad,) = grad_outputs
        a, h = ctx.saved_tensors
        decay = torch.cat([torch.zeros_like(a[:, :1]), a[:, 1:].conj().flip(1)], dim=1)
        adjoint = _Scan.apply(decay, grad.flip(1)).flip(1)  # pyright: ignore[reportAttributeAccessIssue]
        if not ctx.needs_input_grad[0]:
            return None, adjoint
        before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], dim=1)
        return adjoint * before.conj(), adjoint
