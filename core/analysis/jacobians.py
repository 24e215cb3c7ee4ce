"""Functions of states in double precision, and their Jacobians at many states at once.

Dimension letters: N states, D of a state, E of a value.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.in_float64 import in_float64
from integrand.core.errors import InputError


class Pointwise(NamedTuple):
    """A function of each state for itself, and the states it is looked at.

    Attributes:
        function: (M, D) -> (M, E) for any M.
        states: (N, D), in the precision in which the function is evaluated.
        source: what the function evaluates, the copy of a module in that precision.
    """

    function: Callable[[Tensor], Tensor]
    states: Tensor
    source: Callable[..., Tensor]


def is_timed(function: Callable[..., Tensor]) -> bool:
    """Return whether a function must be called ``f(t, y)``, as fields are, and not ``f(y)``."""
    try:
        given = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):  # builtins tell nothing
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in given.parameters.values()) > 1


@contextmanager
def recording() -> Iterator[None]:
    """Let autograd work whatever the mode, inference included."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def in_double(
    function: Callable[..., Tensor], states: Tensor, *, t: float | Tensor = 0.0, timed: bool = True
) -> Pointwise:
    """Return a function of states alone, in float64 where it can be evaluated so, else as it was given.

    A module is copied, so that its own weights stay what they are. What cannot be had in double is a function that
    holds tensors of its own in another precision, or a device that knows no doubles.

    Args:
        function: called ``f(t, y)`` or ``f(y)``, with samples that are independent.
        states: (N, D).
        t: the time, one for all or (N,), which then has to fit the states with which the result is called.
        timed: whether it is called with the time.

    Raises:
        InputError: states that are not (N, D) real numbers, or none; values that are not (N, E).
    """
    if states.dim() != 2 or not states.numel() or not states.is_floating_point():
        raise InputError(f"states must be (N, D) real numbers, N and D at least 1, got {tuple(states.shape)}.")
    if isinstance(t, Tensor) and t.dim() and t.shape != states.shape[:1]:
        raise InputError(f"times must be one for all or one for each of {len(states)} states, got {tuple(t.shape)}.")
    with torch.inference_mode(False), torch.no_grad():
        given = states.detach().clone()
        try:
            double = given.double()
            source = in_float64(function) if isinstance(function, nn.Module) else function
            made = _bound(source, double, t, timed)
            made.function(double)
        except (RuntimeError, TypeError, InputError):
            made = _bound(function, given, t, timed)
        value = made.function(made.states)
    if not isinstance(value, Tensor) or value.dim() != 2 or len(value) != len(states):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"the function gave {shape} for {len(states)} states: it must give (N, E), one for each.")
    return made


def _bound(source: Callable[..., Tensor], states: Tensor, t: float | Tensor, timed: bool) -> Pointwise:
    if not timed:
        return Pointwise(source, states, source)
    time = torch.as_tensor(t, dtype=states.dtype, device=states.device).detach()
    return Pointwise(lambda y: source(time, y), states, source)


def jacobians(function: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Return the Jacobian of a function of each state for itself at each state, (N, E, D).

        J_n = df(y)/dy at y = y_n

    As a value depends on its own state alone, one reverse pass through the sum over states gives one row of every
    Jacobian. Unlike transforms of functions, this asks of the function no more than that it can be differentiated.

    Example:
        >>> jacobians(lambda y: y**2, torch.tensor([[1.0, 2.0]])).tolist()
        [[[2.0, 0.0], [0.0, 4.0]]]

    Source: Griewank and Walther (2008), Evaluating derivatives, Chapter 3.
    """
    with recording():
        y = states.detach().clone().requires_grad_()
        value = function(y)
        if not value.requires_grad:
            return value.new_zeros(*value.shape, y.shape[1])
        rows = []
        for column in value.unbind(1):
            row = None
            if column.requires_grad:
                (row,) = torch.autograd.grad(column.sum(), y, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(y) if row is None else row)
        return torch.stack(rows, 1).detach()
