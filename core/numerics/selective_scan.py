"""The selective scan: a diagonal linear recurrence whose coefficients the sequence itself chooses, read out as it runs.

Dimension letters: B batch, L sequence length, T elements of a block of it, E channels, N states of a channel.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.scan import WIDER, diagonal_scan

CACHED = 2**20
"""Bytes that the states of a block may take on a processor with caches."""
HELD = 2**28
"""Bytes that they may take elsewhere, where few large operations count."""


class SelectiveScanOutput(NamedTuple):
    """Outputs (B, L, E) and the state after the last element, (B, E, N)."""

    y: Tensor
    state: Tensor


def selective_scan(
    x: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    initial: Tensor | None = None,
    *,
    discretization: Literal["euler", "zoh"] = "euler",
) -> SelectiveScanOutput:
    """Solve h_l = exp(delta_l A) h_{l-1} + w_l B_l x_l and read y_l = C_l h_l, for every channel and every l at once.

    The input of h' = A h + B x enters by one Euler step, w = delta, or is held over the step and the equation solved
    exactly (zero-order hold), w = (exp(delta A) - 1) / A.

    The states, N times as many numbers as the outputs, never exist all at the same time: the sequence is taken in
    blocks whose states fit the cache, each is read out at once, and of the states only those at the starts of blocks
    are kept. The gradient forms a block's decays and states again and runs the adjoint recurrence through it,
    with G_l = C_l dy_l + Q_{l+1} the gradient by h_l:

        Q_l = exp(delta_l A) G_l,      dL/d(delta_l A) = Q_l h_{l-1}   by way of the decay.

    So memory is that of inputs and outputs, and a state is met in the cache alone. The gradient is differentiable in
    its turn; that one keeps all states, and so do the transforms of torch.func.

    Half-precision numbers are computed on in single precision, and returned in half.

    Args:
        x: inputs, (B, L, E).
        delta: step that each element takes in each channel, (B, L, E).
        a: rates A, (E, N), negative where the equation is stable; ``"zoh"`` divides by them.
        b: where an input enters the states, (B, L, N).
        c: how the states are read, (B, L, N).
        initial: state before the first element, (B, E, N); zero when None.
        discretization: ``"euler"`` or ``"zoh"``.

    Raises:
        InputError: shapes that do not fit, numbers that are not real floating-point, an unknown discretization.

    Example:
        >>> one = torch.ones(1, 3, 1)
        >>> selective_scan(one, one, torch.tensor([[-0.6931472]]), one, one).y.flatten()
        tensor([1.0000, 1.5000, 1.7500])

    Source: Gu and Dao (2023), Mamba: linear-time sequence modeling with selective state spaces, Eq. 4 and Algorithm 2,
    Section 3.3.2 on recomputation; the Euler step is what its reference implementation takes.
    """
    if discretization not in ("euler", "zoh"):
        raise unknown("discretization", discretization, ("euler", "zoh"))
    dtype = _common_type(x, delta, a, b, c, initial)
    if initial is None:
        initial = x.new_zeros(x.shape[0], *a.shape)
    if x.numel() == 0:
        return SelectiveScanOutput(x.to(dtype), initial.to(dtype))
    wide = WIDER.get(dtype, dtype)
    # Channels last: then what all states of a channel share is read in the order of the memory.
    terms = x, delta, a.T.contiguous(), b, c, initial.transpose(1, 2).contiguous()
    with torch.autocast(x.device.type, enabled=False):
        solve: Any = _at_once if is_transformed() else _scan
        y, state, *_ = solve(*(term.to(wide) for term in terms), discretization == "zoh")
    return SelectiveScanOutput(y.to(dtype), state.transpose(1, 2).to(dtype))


def _common_type(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor | None) -> torch.dtype:
    """Check the terms and return the type to which they promote."""
    if x.dim() != 3 or a.dim() != 2 or a.shape[0] != x.shape[2]:
        raise InputError(
            f"selective_scan takes x (B, L, E) and a (E, N), got {tuple(x.shape)} and {tuple(a.shape)}: "
            "a has a row for each channel of x."
        )
    of_states = (*x.shape[:2], a.shape[1])
    dtype = torch.promote_types(x.dtype, a.dtype)
    for name, term, letters, shape in (
        ("delta", delta, "(B, L, E)", x.shape),
        ("b", b, "(B, L, N)", of_states),
        ("c", c, "(B, L, N)", of_states),
        ("initial", initial, "(B, E, N)", (x.shape[0], *a.shape)),
    ):
        if term is not None:
            if term.shape != shape:
                raise InputError(f"{name} must have shape {letters} = {tuple(shape)}, got {tuple(term.shape)}.")
            dtype = torch.promote_types(dtype, term.dtype)
    if not dtype.is_floating_point:
        raise InputError(f"selective_scan takes real floating-point numbers, got {dtype}: call .float() on whole ones.")
    return dtype


# As an operator of torch the loop over blocks is one node for torch.compile, which would unroll it.
@torch.library.custom_op("integrand::selective_scan", mutates_args=())
def _scan(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor, zoh: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Take x, delta (B, L, E), a (N, E), b, c (B, L, N) and initial (B, N, E).

    Returns:
        Outputs (B, L, E), the last state (B, N, E) and the state before each block (blocks, B, N, E).
    """
    y, state, starts = torch.empty_like(x), initial, []
    for block in _blocks(x, a):
        starts.append(state)
        inputs = x[:, block], delta[:, block], a, b[:, block]
        states = diagonal_scan(_decays(delta[:, block], a), _drive(*inputs, zoh), state)
        y[:, block] = _over_states(c[:, block], states)
        state = states[:, -1].clone()
    return y, state, torch.stack(starts)


@_scan.register_fake
def _scan_shapes(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor, zoh: bool
) -> tuple[Tensor, Tensor, Tensor]:
    blocks = -(-x.shape[1] // _block_length(x, a))
    return torch.empty_like(x), torch.empty_like(initial), initial.new_empty(blocks, *initial.shape)


@torch.library.custom_op("integrand::selective_scan_backward", mutates_args=())
def _adjoint(
    x: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    starts: Tensor,
    zoh: bool,
    grad_y: Tensor,
    grad_state: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by x, delta, a, b, c and initial."""
    grad_x, grad_delta, grad_b, grad_c = (torch.empty_like(term) for term in (x, delta, b, c))
    grad_a, carry = torch.zeros_like(a), grad_state.clone()  # carry: Q of the element after the block
    for block, start in zip(reversed(_blocks(x, a)), reversed(starts.unbind()), strict=True):
        inputs = x[:, block], delta[:, block], a, b[:, block]
        decays = _decays(delta[:, block], a)
        states = diagonal_scan(decays, _drive(*inputs, zoh), start)
        grad_c[:, block] = _over_channels(states, grad_y[:, block])
        grads = c[:, block].unsqueeze(-1) * grad_y[:, block].unsqueeze(-2)
        adjoint = diagonal_scan(decays, decays * grads, carry, reverse=True)  # Q
        grads[:, :-1] += adjoint[:, 1:]
        grads[:, -1] += carry  # G
        carry = adjoint[:, 0].clone()
        entering = _drive_gradient(*inputs, decays, grads, zoh)
        grad_x[:, block], grad_b[:, block] = entering.x, entering.b
        adjoint[:, 0] *= start
        adjoint[:, 1:] *= states[:, :-1]  # now the gradient by delta A
        grad_delta[:, block] = entering.delta + (adjoint * a).sum(2)
        grad_a += entering.a + adjoint.mul_(delta[:, block].unsqueeze(2)).sum((0, 1))
    return grad_x, grad_delta, grad_a, grad_b, grad_c, carry


@_adjoint.register_fake
def _adjoint_shapes(
    x: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    starts: Tensor,
    zoh: bool,
    grad_y: Tensor,
    grad_state: Tensor,
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(term) for term in (x, delta, a, b, c, grad_state))


def _keep(ctx, inputs: tuple, output: tuple[Tensor, Tensor, Tensor]) -> None:
    *terms, ctx.zoh = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*terms, output[2])


def _gradient(ctx, grad_y: Tensor, grad_state: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *terms, starts = ctx.saved_tensors
    if not torch.is_grad_enabled():
        # A cotangent that was expanded, as a sum's is, would be copied again and again.
        return *_adjoint(*terms[:5], starts, ctx.zoh, grad_y.contiguous(), grad_state), None
    # A graph of the gradient is asked for: that of operations which have gradients themselves.
    x, delta, a, b, c, initial = terms
    outputs = _at_once(x, delta, a, b, c, initial, ctx.zoh)
    wanted = [term for term, needed in zip(terms, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(outputs, wanted, (grad_y, grad_state), create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)


_scan.register_autograd(_gradient, setup_context=_keep)


def _at_once(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor, zoh: bool
) -> tuple[Tensor, Tensor]:
    """Return outputs and the last state by operations that have all derivatives themselves; keeps all states."""
    states = diagonal_scan(_decays(delta, a), _drive(x, delta, a, b, zoh), initial)
    return _over_states(c, states), states[:, -1]


def _blocks(x: Tensor, a: Tensor) -> list[slice]:
    """Cut the sequence into blocks."""
    length, size = x.shape[1], _block_length(x, a)
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _block_length(x: Tensor, a: Tensor) -> int:
    an_element = x.shape[0] * a.numel() * x.element_size()
    return max(1, (CACHED if x.device.type == "cpu" else HELD) // an_element)


def _decays(delta: Tensor, a: Tensor) -> Tensor:
    """Return exp(delta A), (B, T, N, E)."""
    return (delta.unsqueeze(-2) * a).exp_()


def _drive(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, zoh: bool) -> Tensor:
    """Return w B x, what enters the states, (B, T, N, E)."""
    if zoh:
        return b.unsqueeze(-1) * x.unsqueeze(-2) * _held(delta, a)
    return b.unsqueeze(-1) * (delta * x).unsqueeze(-2)


def _held(delta: Tensor, a: Tensor) -> Tensor:
    """Return (exp(delta A) - 1) / A, what an input held over delta weighs, (B, T, N, E)."""
    return torch.expm1(delta.unsqueeze(-2) * a) / a


class _DriveGradient(NamedTuple):
    x: Tensor
    delta: Tensor
    a: Tensor | int
    b: Tensor


def _drive_gradient(
    x: Tensor, delta: Tensor, a: Tensor, b: Tensor, decays: Tensor, grads: Tensor, zoh: bool
) -> _DriveGradient:
    """Return the gradients by what ``_drive`` takes, given those by what it returns."""
    if not zoh:
        of_product = _over_states(b, grads)
        return _DriveGradient(delta * of_product, x * of_product, 0, _over_channels(grads, delta * x))
    held = _held(delta, a)
    of_held = grads * b.unsqueeze(-1) * x.unsqueeze(-2)
    weighed = grads * held
    return _DriveGradient(
        x=_over_states(b, weighed),
        delta=(of_held * decays).sum(2),
        a=(of_held * (delta.unsqueeze(-2) * decays - held)).sum((0, 1)) / a,
        b=_over_channels(weighed, x),
    )


def _over_states(weights: Tensor, states: Tensor) -> Tensor:
    """Sum w_n h_ne over n: (B, T, N) and (B, T, N, E) to (B, T, E)."""
    return (weights.unsqueeze(-2) @ states).squeeze(-2)


def _over_channels(states: Tensor, weights: Tensor) -> Tensor:
    """Sum h_ne w_e over e: (B, T, N, E) and (B, T, E) to (B, T, N)."""
    return (states @ weights.unsqueeze(-1)).squeeze(-1)
