"""The diagonal linear recurrence, in parallel along the sequence."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.modes import is_batched, is_transformed

CHUNK = 16
"""Elements that a chunk runs through one after another, on a processor with caches."""
CACHED = 2**21
"""Bytes that are worked on at a time there, so that what one pass wrote the next still finds in the cache."""
GRAIN = 2**15
"""Numbers that torch gives each of its threads at least."""
WORTH = 4
"""Chunks that it takes to make up for the second pass."""
FAN = 8
"""Elements of a chunk on an accelerator, where the ends of chunks are cut into chunks again, and their ends."""
WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}


def diagonal_scan(a: Tensor, b: Tensor, initial: Tensor | None = None, *, reverse: bool = False) -> Tensor:
    """Solve h_l = a_l h_{l-1} + b_l for every l at once, or h_l = a_l h_{l+1} + b_l from the end.

    The sequence is cut into chunks. All chunks run the recurrence together from zero, carrying the running product of
    their decays; the chunk ends are then chained, and each chunk adds its decayed carry. So a few large operations
    touch each element a constant number of times (log L times in a doubling scan), and on the host no product of more
    decays than a chunk has is ever formed. On an accelerator, where operations count that follow one another, the ends
    are chained in the same way: there are about 20 log_8 L. Decays that are constant in time have one table of powers
    in place of the products. The gradient is the same recurrence run the other way, so it costs the same again, and is
    differentiable in its turn. Under torch.func, in forward mode and where many gradients are asked for at once, which
    know nothing written in place, a doubling scan answers.

    Half-precision numbers are computed on in single precision, since rounding ends a long memory, and returned in half.

    Args:
        a: decays, real or complex, anything that broadcasts to ``b``: (B, L, ...), or constant in time, such as (N,)
            or (B, 1, N) for ``b`` of shape (B, L, N).
        b: inputs, (B, L, ...).
        initial: state before the first element (after the last one if ``reverse``), (B, ...); zero when None.
        reverse: run from the last element to the first.

    Returns:
        States h, in the shape of ``b`` and the type to which all inputs promote.

    Raises:
        InputError: shapes that do not fit, or whole numbers.

    Example:
        >>> diagonal_scan(torch.tensor(0.5), torch.ones(1, 3, 1)).flatten().tolist()
        [1.0, 1.5, 1.75]
        >>> diagonal_scan(torch.tensor(0.5), torch.ones(1, 3, 1), reverse=True).flatten().tolist()
        [1.75, 1.5, 1.0]

    Source: Blelloch (1990), Prefix sums and their applications; in blocks after Brent (1974), The parallel evaluation
    of general arithmetic expressions.
    """
    terms = recurrence_terms(a, b, initial)
    if terms.b.numel() == 0:
        return terms.b.to(terms.dtype)
    if is_transformed():
        return _doubling(terms, reverse).to(terms.dtype)
    states: Any = _Scan.apply(terms.a, terms.b, terms.initial, reverse)
    return states.to(terms.dtype)


class Terms(NamedTuple):
    """What a recurrence is made of, in one floating type of single precision or wider.

    Attributes:
        a: decays with as many dimensions as ``b``, of size 1 where they are shared.
        b: inputs, (B, L, ...).
        initial: state before the first element, (B, ...).
        dtype: type of the result.
    """

    a: Tensor
    b: Tensor
    initial: Tensor
    dtype: torch.dtype


def recurrence_terms(a: Tensor, b: Tensor, initial: Tensor | None) -> Terms:
    """Check the terms of h_l = a_l h_{l-1} + b_l and bring them to one type.

    Raises:
        InputError: shapes that do not fit, or whole numbers.
    """
    if b.dim() < 2:
        raise InputError(f"b must have shape (batch, length, ...), got {tuple(b.shape)}: unsqueeze what is missing.")
    if a.dim() > b.dim() or any(n not in (1, m) for n, m in zip(reversed(a.shape), reversed(b.shape), strict=False)):
        raise InputError(f"a of shape {tuple(a.shape)} does not broadcast to b of shape {tuple(b.shape)}.")
    one = b.shape[:1] + b.shape[2:]
    if initial is not None and initial.shape != one:
        raise InputError(f"initial must have the shape of one element, {tuple(one)}, got {tuple(initial.shape)}.")
    dtype = torch.promote_types(a.dtype, b.dtype)
    if initial is not None and initial.is_complex() and not dtype.is_complex:  # torch.compile knows no to_complex
        dtype = dtype.to_complex()
    if not (dtype.is_floating_point or dtype.is_complex):
        raise InputError(f"a and b must be floating or complex numbers, got {a.dtype} and {b.dtype}: call .float().")
    wide = WIDER.get(dtype, dtype)
    a = a.reshape((1,) * (b.dim() - a.dim()) + a.shape)
    initial = b.new_zeros(one) if initial is None else initial
    return Terms(a.to(wide), b.to(wide), initial.to(wide), dtype)


class _Scan(torch.autograd.Function):
    """The recurrence with its adjoint, G_l = g_l + conj(a_{l+1}) G_{l+1}, and dL/da_l = G_l conj(h_{l-1})."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, initial: Tensor, reverse: bool) -> Tensor:
        states = torch.empty(b.shape, dtype=b.dtype, device=b.device)
        _solve(a, b, initial, states, reverse)
        ctx.save_for_backward(a, states, initial)
        ctx.reverse = reverse
        return states

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        (grad,), (a, states, initial), reverse = grad_outputs, ctx.saved_tensors, ctx.reverse
        of_a, _, of_initial, _ = ctx.needs_input_grad
        a = a.conj_physical()
        first = -1 if reverse else 0
        many = is_batched(grad)
        if many or torch.is_grad_enabled():  # operations that take many gradients at once, or have some themselves
            # The element that roll brings round meets a state of zero.
            turned, rest = a.roll(1 if reverse else -1, 1), torch.zeros_like(initial)
            if many:
                adjoint: Any = _doubling(Terms(turned, grad, rest, grad.dtype), not reverse)
            else:
                adjoint = _Scan.apply(turned, grad, rest, not reverse)
            ends = [states[:, 1:], initial.unsqueeze(1)] if reverse else [initial.unsqueeze(1), states[:, :-1]]
            grad_a = (adjoint * torch.cat(ends, 1).conj()).sum_to_size(a.shape) if of_a else None
        else:
            adjoint = torch.empty_like(states)
            _solve_adjoint(a, grad, adjoint, reverse)
            grad_a = _decay_gradient(a, adjoint, states, initial, reverse) if of_a else None
        return grad_a, adjoint, a[:, first] * adjoint[:, first] if of_initial else None, None


def _doubling(terms: Terms, reverse: bool) -> Tensor:
    """Let each element reach twice as far back in every round, out of place (Hillis and Steele, 1986)."""
    a, h = (term.flip(1) if reverse else term for term in (terms.a, terms.b))
    h = torch.cat([h[:, :1] + a[:, :1] * terms.initial.unsqueeze(1), h[:, 1:]], 1)
    reach = 1
    while reach < h.shape[1]:
        later = a if a.shape[1] == 1 else a[:, reach:]
        h = torch.cat([h[:, :reach], h[:, reach:] + later * h[:, :-reach]], 1)
        a = a * a if a.shape[1] == 1 else torch.cat([a[:, :reach], later * a[:, :-reach]], 1)
        reach *= 2
    return h.flip(1) if reverse else h


def _solve(a: Tensor, b: Tensor, state: Tensor, out: Tensor, reverse: bool) -> None:
    """Write the states into ``out``, block by block; no gradient is recorded."""
    length, done = b.shape[1], 0
    size, chunks = _chunking(b)
    first = -1 if reverse else 0
    while done < length:
        left = length - done
        several = min(chunks, left // size)
        span = several * size if several >= WORTH else min(left, max(1, chunks) * size)
        where = slice(left - span, left) if reverse else slice(done, done + span)
        decays, block = a if a.shape[1] == 1 else a[:, where], out[:, where]
        # One copy in the order of the memory is quicker than meeting the numbers first in strides.
        block.copy_(b[:, where])
        block[:, first].addcmul_(decays[:, first], state)
        if several >= WORTH:
            _accumulate_chunks(decays, block, several, reverse)
        else:
            _accumulate(decays, block, reverse)
        done += span
        state = out[:, left - span if reverse else done - 1]


def _chunking(b: Tensor) -> tuple[int, int]:
    """Return the elements of a chunk, and the chunks to take at once."""
    batch, length, *rest = b.shape
    if _is_wide(b):
        return FAN, length // FAN
    if torch.compiler.is_compiling():  # what costs there is the number of operations
        size = max(1, math.isqrt(length))
        return size, length // size
    threads = torch.get_num_threads()
    # An operation should find its numbers in the cache, and have enough of them for every thread.
    together = CACHED // (b.element_size() * CHUNK) if threads == 1 else GRAIN * threads
    return CHUNK, together // (batch * math.prod(rest))


def _is_wide(x: Tensor) -> bool:
    """Return whether an operation costs alike on few numbers and on many."""
    return x.device.type != "cpu"


def _chain(a: Tensor, x: Tensor, reverse: bool) -> None:
    """Turn inputs into states, in place, in chunks where that takes fewer operations."""
    length = x.shape[1]
    several = length // FAN if _is_wide(x) else 0
    if several < WORTH:
        _accumulate(a, x, reverse)
        return
    span, constant = several * FAN, a.shape[1] == 1
    most = slice(length - span, None) if reverse else slice(span)
    _accumulate_chunks(a if constant else a[:, most], x[:, most], several, reverse)
    rest = slice(length - span + 1) if reverse else slice(span - 1, None)  # and the state before it
    _accumulate(a if constant else a[:, rest], x[:, rest], reverse)


def _accumulate(a: Tensor, x: Tensor, reverse: bool) -> None:
    """Turn inputs into states, in place: add to each element the one before it, decayed."""
    states = _in_order(x.unbind(1), reverse)
    decays = [a[:, 0]] * len(states) if a.shape[1] == 1 else _in_order(a.unbind(1), reverse)
    for decay, (before, after) in zip(decays[1:], pairwise(states), strict=True):
        after.addcmul_(decay, before)


def _accumulate_chunks(a: Tensor, x: Tensor, several: int, reverse: bool) -> None:
    """Do the same in all chunks at once, then along their ends, then add what each chunk is left by the one before."""
    chunks = x.unflatten(1, (several, -1))
    size, last = chunks.shape[2], 0 if reverse else -1
    if a.shape[1] == 1:
        _accumulate(a.unsqueeze(1), chunks.transpose(1, 2), reverse)
        products = a.unsqueeze(2).expand(-1, -1, size, *a.shape[2:]).cumprod(2)
        products = products.flip(2) if reverse else products
    else:
        products = a.clone(memory_format=torch.contiguous_format).unflatten(1, (several, -1))
        _accumulate(products.transpose(1, 2), chunks.transpose(1, 2), reverse)
        for before, after in pairwise(_in_order(products.unbind(2), reverse)):
            after.mul_(before)
    _chain(products[:, :, last], chunks[:, :, last], reverse)
    # The ends are now as they should be, and so is the first chunk.
    inner = slice(1, None) if reverse else slice(size - 1)
    carries = _but_first(chunks[:, :, last], not reverse).unsqueeze(2)
    _but_first(chunks, reverse)[:, :, inner].addcmul_(_decays_but_first(products, reverse)[:, :, inner], carries)


def _solve_adjoint(a: Tensor, grad: Tensor, out: Tensor, reverse: bool) -> None:
    """Run G_l = g_l + a_{l+1} G_{l+1} from the last element to the first, or the other way if ``reverse``."""
    last = 0 if reverse else -1
    out[:, last] = grad[:, last]
    decays = _decays_but_first(a, reverse)
    _solve(decays, _but_first(grad, not reverse), out[:, last], _but_first(out, not reverse), not reverse)


def _decay_gradient(a: Tensor, adjoint: Tensor, states: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """Return G_l conj(h_{l-1}), summed over what ``a`` is shared by."""
    first, constant = -1 if reverse else 0, a.shape[1] == 1
    total = torch.empty_like(a)
    total[:, first] = (adjoint[:, first] * initial.conj()).sum_to_size(a[:, first].shape)
    later, earlier = _but_first(adjoint, reverse), _but_first(states, not reverse)
    rest = total if constant else _but_first(total, reverse)
    an_element = initial.numel() * initial.element_size()
    span = max(1, later.shape[1] if _is_wide(later) else CACHED // an_element)
    for start in range(0, later.shape[1], span):
        block = slice(start, start + span)
        product = later[:, block] * earlier[:, block].conj()
        if constant:
            rest += product.sum_to_size(a.shape)
        else:
            rest[:, block] = product.sum_to_size(rest[:, block].shape)
    return total


def _but_first(x: Tensor, reverse: bool) -> Tensor:
    """Return all elements but the first in the order of the recurrence; with the order turned, all but the last."""
    return x[:, :-1] if reverse else x[:, 1:]


def _decays_but_first(a: Tensor, reverse: bool) -> Tensor:
    return a if a.shape[1] == 1 else _but_first(a, reverse)


def _in_order(elements: Sequence[Tensor], reverse: bool) -> Sequence[Tensor]:
    return elements[::-1] if reverse else elements
