"""How a solver calls a field: arguments bound, batch dimensions checked, evaluations counted."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from integrand.core.errors import InputError

Field = Callable[..., Tensor]
"""``field(t, y)`` or ``field(t, y, args)``, with t a scalar or (B,), y (B, ...), and every tensor in args (B, ...)."""


class BoundField:
    """A field with its arguments, as the solvers call it: ``bound(t, y)``.

    Calls with n times the batch (all output times of all samples at once) repeat each sample's arguments n times.

    Attributes:
        evaluations: calls so far.
    """

    def __init__(self, field: Field, args: Any, batch: int) -> None:
        for path, leaf in leaves(args):
            if leaf.dim() == 0 or leaf.shape[0] != batch:
                raise InputError(
                    f"args{path} has shape {tuple(leaf.shape)}, but its first dimension must be the batch, {batch}: "
                    "expand it, or let the field hold what all samples share."
                )
        self.field, self.args, self.batch = field, args, batch
        self.evaluations = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field, and count it."""
        self.evaluations += 1
        if self.args is None:
            return self.field(t, y)
        times = y.shape[0] // self.batch
        args = self.args if times == 1 else repeat(self.args, times)
        return self.field(t, y, args)


def leaves(args: Any, path: str = "") -> list[tuple[str, Tensor]]:
    """List the tensors of a nested tuple, list or dict, each with its place."""
    if args is None:
        return []
    if isinstance(args, Tensor):
        return [(path, args)]
    if isinstance(args, dict):
        return [found for key, value in args.items() for found in leaves(value, f"{path}[{key!r}]")]
    if isinstance(args, (tuple, list)):
        return [found for i, value in enumerate(args) for found in leaves(value, f"{path}[{i}]")]
    raise InputError(f"args{path} is a {type(args).__name__}: give tensors, or tuples, lists and dicts of them.")


def repeat(args: Any, times: int) -> Any:
    """Repeat every tensor ``times`` times for each sample, keeping a sample's copies together."""
    if args is None:
        return None
    if isinstance(args, Tensor):
        return args.repeat_interleave(times, dim=0)
    if isinstance(args, dict):
        return {key: repeat(value, times) for key, value in args.items()}
    copies = [repeat(value, times) for value in args]
    return type(args)(*copies) if hasattr(args, "_fields") else type(args)(copies)
