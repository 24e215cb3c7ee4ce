"""What a gradient needs to evaluate a field again: the tensors it depends on, and the precision it ran in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField, apply, leaves
from integrand.core.numerics.gradients.door import Door, enter
from integrand.core.numerics.modes import is_transformed


def field_tensors(bound: BoundField, t: Tensor, y: Tensor) -> tuple[Tensor, ...] | None:
    """Return the tensors that a field learns with: the parameters of the module it is, or is a method of.

    None where they cannot be known: the field is a function, or one evaluation of it reaches a tensor that requires a
    gradient and is neither a parameter nor an argument.

    Args:
        bound: the field.
        t, y: where to evaluate it; nothing is evaluated where no gradient is recorded.
    """
    field = bound.field
    module = field if isinstance(field, nn.Module) else getattr(field, "__self__", None)
    if not isinstance(module, nn.Module):
        return None
    tensors = tuple(p for p in module.parameters() if p.requires_grad)
    if not torch.is_grad_enabled():
        return tensors
    probe = BoundField(field, apply(bound.args, Tensor.detach), bound.batch)
    known = {id(tensor) for tensor in tensors}
    reached = _graph_leaves(probe(t.detach(), y.detach()))
    return tensors if all(id(leaf) in known for leaf in reached) else None


def required_tensors(bound: BoundField, t: Tensor, y: Tensor, gradient: str) -> tuple[Tensor, ...]:
    """Return ``field_tensors``, for a gradient that cannot be formed without them.

    Raises:
        InputError: they cannot be known.
    """
    tensors = field_tensors(bound, t, y)
    if tensors is None:
        raise InputError(
            f"gradient={gradient!r} needs the field to be a torch.nn.Module or a method of one, and all it learns with "
            "to be its parameters or args, so that they are known: wrap the function in a module, or take "
            "gradient='direct'."
        )
    return tensors


def argument_tensors(bound: BoundField) -> tuple[Tensor, ...]:
    """List the tensors of a field's arguments."""
    return tuple(leaf for _, leaf in leaves(bound.args))


def rebind(bound: BoundField, arguments: tuple[Tensor, ...]) -> BoundField:
    """Return the field with other tensors, in the same order, as its arguments; its calls are counted apart."""
    given = iter(arguments)
    return BoundField(bound.field, apply(bound.args, lambda _: next(given)), bound.batch)


def fresh(tensor: Tensor) -> Tensor:
    """Return the same values as the start of a graph of their own, if they require a gradient."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def differentiates_again(grads: Sequence[Tensor | None]) -> bool:
    """Return whether a way back must leave a graph, for second derivatives or for many gradients at once."""
    if torch.is_grad_enabled() or is_transformed():
        return True
    batched = torch._C._functorch.is_legacy_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
    return any(grad is not None and batched(grad) for grad in grads)


def solve_again(
    run: Callable[..., Sequence[Tensor]],
    inputs: tuple[Tensor, ...],
    count: int,
    wanted: tuple[bool, ...],
    grads: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Solve again under autograd, and return the gradients of the inputs that want one, with a graph of their own.

    Args:
        run: solves from the first ``count`` inputs; returns what came of it.
        inputs: all that the solve depends on; the field holds those after the first itself.
        count: how many it does not.
        wanted: of which inputs the gradient is wanted.
        grads: cotangents of what ``run`` returns, None where nothing depends on it.
    """
    door = Door()
    with torch.enable_grad():
        entered = enter(door, inputs, count)
        outputs = run(*entered[:count])
    known = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
    # A tensor that is held twice is asked for once: either place would be given its whole gradient.
    asked = {id(tensor): tensor for tensor, needs in zip(entered, wanted, strict=True) if needs}
    found = torch.autograd.grad(
        [output for output, _ in known],
        list(asked.values()),
        [grad for _, grad in known],
        create_graph=torch.is_grad_enabled(),
        allow_unused=True,
    )
    door.open = True
    left = dict(zip(asked, found, strict=True))
    return tuple(left.pop(id(tensor), None) if needs else None for tensor, needs in zip(entered, wanted, strict=True))


class Totals:
    """Gradients gathered piece by piece, one for each tensor that asks for it."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors
        self.wanted = tuple(tensor for tensor in tensors if tensor.requires_grad)
        self.sums: list[Tensor | None] = [None] * len(self.wanted)

    def pull(self, value: Tensor, by: Tensor, start: Tensor) -> Tensor:
        """Pull the gradient of ``value`` back to ``start``, and gather what reaches the tensors on the way."""
        if not value.requires_grad:
            return torch.zeros_like(start)
        by_start, *new = torch.autograd.grad(value, (start, *self.wanted), by, allow_unused=True)
        for i, one in enumerate(new):
            if one is not None:
                total = self.sums[i]
                # The first may be a view of what autograd handed out, so it is not added to in place.
                self.sums[i] = one if total is None else total + one
        return torch.zeros_like(start) if by_start is None else by_start

    def __call__(self) -> tuple[Tensor | None, ...]:
        """Return them in the order of the tensors."""
        sums = iter(self.sums)
        return tuple(next(sums) if tensor.requires_grad else None for tensor in self.tensors)


class Precision(NamedTuple):
    """Autocast as it was when the field ran first."""

    device: str
    enabled: bool
    dtype: torch.dtype

    @staticmethod
    def now(device: str) -> "Precision":
        """Note it."""
        if not torch.amp.is_autocast_available(device):
            return Precision(device, False, torch.float32)
        return Precision(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    def again(self) -> AbstractContextManager[Any]:
        """Return a context in which it is so again.

        Weights cast in it are not remembered: autocast might hand one that was cast without a graph to what the caller
        does next.
        """
        known = torch.amp.is_autocast_available(self.device)
        if not (known and (self.enabled or torch.is_autocast_enabled(self.device))):
            return nullcontext()
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled, cache_enabled=False)


def _graph_leaves(value: Tensor) -> list[Tensor]:
    """List the tensors at which the graph of a value begins."""
    found, seen, waiting = [], set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found.append(leaf)
        waiting.extend(edge for edge, _ in node.next_functions)
    return found
