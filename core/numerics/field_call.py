"""How a solver calls a field: arguments bound, shapes checked, evaluations counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import Module

from integrand.core.errors import InputError
from integrand.core.numerics.modes import is_autocast

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
        """Evaluate the field, count it, and check what it gives."""
        self.evaluations += 1
        if self.args is None:
            slope = self.field(t, y)
        else:
            args = self.args if y.shape[0] == self.batch else repeat(self.args, y.shape[0] // self.batch)
            slope = self.field(t, y, args)
        return check_slope(slope, y)

    def write(self, t: Tensor, y: Tensor, out: Tensor) -> None:
        """Evaluate the field into ``out``, while no gradient is recorded."""
        out.copy_(self(t, y))

    def peek(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field where its value decides something, but is no part of the solution.

        Under the caller's mode, for a field that is a gradient may need autograd to be on.
        """
        return BoundField.__call__(self, t, y).detach()

    def mark(self) -> int:
        """Return a place to come back to when a step is refused; what is recorded is a subclass's affair."""
        return 0

    def rewind(self, mark: int) -> None:
        """Forget the evaluations since ``mark``."""

    def at(self, rows: Tensor) -> "BoundField":
        """Return the field with the arguments of these samples alone; its calls are not counted here."""
        return BoundField(self.field, select(self.args, rows), rows.shape[0])


def check_slope(slope: Tensor, y: Tensor) -> Tensor:
    """Return what a field gave for ``y``, if it can be its slope.

    Under autocast a field may give lower precision than the state has, which is undone here.
    """
    if not isinstance(slope, Tensor):
        raise InputError(f"the field returned a {type(slope).__name__}: return dy/dt as a tensor shaped like y.")
    if slope.shape != y.shape:
        raise InputError(
            f"the field returned shape {tuple(slope.shape)} for a state of shape {tuple(y.shape)}: return dy/dt, "
            "shaped like y."
        )
    if slope.device != y.device:
        raise InputError(f"the field returned a tensor on {slope.device}, the state is on {y.device}: move the field.")
    if slope.dtype != y.dtype:
        if not is_autocast(y.device):
            raise InputError(
                f"the field returned {slope.dtype} for a state of {y.dtype}: convert the field or y0 to one type."
            )
        slope = slope.to(y.dtype)
    return slope


@contextmanager
def naming_precisions(y: Tensor, *fields: Any) -> Iterator[None]:
    """Say what to do where torch refuses to mix the precision of states with that of a module's parameters.

    A field may convert what it is given, so only what fails is looked into.

    Raises:
        InputError: a call within failed, and a field has no parameter of the type of y.
    """
    try:
        yield
    except RuntimeError as error:
        for field in fields:
            kept = {p.dtype for p in field.parameters() if p.is_floating_point()} if isinstance(field, Module) else ()
            if kept and y.dtype not in kept and "dtype" in str(error):
                raise InputError(
                    f"y is {y.dtype}, the parameters of {type(field).__name__} are "
                    f"{' and '.join(sorted(map(str, kept)))}: bring them to one type, by y.float() or by .double() on "
                    "the module."
                ) from error
        raise


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


def apply(args: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the same nested structure with every tensor changed."""
    if args is None:
        return None
    if isinstance(args, Tensor):
        return change(args)
    if isinstance(args, dict):
        return {key: apply(value, change) for key, value in args.items()}
    copies = [apply(value, change) for value in args]
    return type(args)(*copies) if hasattr(args, "_fields") else type(args)(copies)


def repeat(args: Any, times: int) -> Any:
    """Repeat every tensor ``times`` times for each sample, keeping a sample's copies together."""
    return apply(args, lambda leaf: leaf.repeat_interleave(times, dim=0))


def select(args: Any, rows: Tensor) -> Any:
    """Keep the samples ``rows`` of every tensor."""
    return apply(args, lambda leaf: leaf[rows])
