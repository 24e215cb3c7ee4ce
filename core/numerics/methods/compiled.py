"""Steps compiled by torch.compile."""

import inspect
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.gradients.compiled_adjoint import Block, take
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Step
from integrand.core.numerics.methods.tableau import Tableau

BLOCK = 10
"""Fixed steps compiled as one: more make the compiler slow, fewer the program."""

SHAPES = 64
"""Fields, methods and shapes that a process may compile steps for."""


class CompiledRungeKutta(ExplicitRungeKutta):
    """An explicit Runge-Kutta method whose step is compiled, kernels fused, for whatever field it is given.

    A field that the compiler cannot take is solved as if nothing had been compiled, after one notice. Compiling takes
    from seconds to a minute, once a process for each field, method, shape and type.
    """

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step; see ``Stepper``."""
        count = self.stages - (first is not None) + self.shares_last
        taken = self._take(field, t.unsqueeze(0), h.unsqueeze(0), y, first)
        if taken is not None:
            field.evaluations += count
            (end,), own, estimates = taken
            slopes = own if first is None else (first, *own)
            last = slopes[self.stages] if self.shares_last else None
            error, damping = (*estimates, None, None)[:2]
            return Step(end, error, slopes, last, first=slopes[0], damping=damping)
        known = _try(_step, field.field, self.tableau, self.estimate, field.field, field.args, t, h, y, first)
        if known is None:
            return super().step(field, t, h, y, first)
        field.evaluations += count
        return known

    def steps(self, field: BoundField, t_S: Tensor, h_S: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Take S fixed steps one after the other; returns the state after each.

        Args:
            field: the right-hand side, with its arguments bound.
            t_S: starts of the steps, (S,) or (S, B).
            h_S: lengths of the steps, likewise.
            y: state at the first start.
        """
        field.evaluations += self.stages * len(t_S)
        taken = self._take(field, t_S, h_S, y, None)
        if taken is not None:
            return taken[0]
        known = _try(_steps, field.field, self.tableau, self.estimate, field.field, field.args, t_S, h_S, y)
        if known is not None:
            return known
        return _steps(self.tableau, self.estimate, field.field, field.args, t_S, h_S, y)

    def _take(self, field: BoundField, t_S: Tensor, h_S: Tensor, y: Tensor, first: Tensor | None) -> Any:
        """Take steps with a derivative of our own, or return None where the field or the compiler does not allow it."""
        if field.field in _refused or h_S.requires_grad:
            return None
        tape = open_tape(field, y, t_S)
        as_map = getattr(tape, "as_map", None)
        if tape is None or as_map is None:
            return None
        block, known, parameters = Block(self.tableau, self.estimate, t_S, h_S), as_map(), tape.parameters
        return _refusing(field.field, lambda: take(_compile_map, block, field, known, y, first, parameters))


def _step(
    tableau: Tableau,
    estimate: bool,
    field: Field,
    args: Any,
    t: Tensor,
    h: Tensor,
    y: Tensor,
    first: Tensor | None,
) -> Step:
    return ExplicitRungeKutta(tableau, estimate=estimate).step(BoundField(field, args, y.shape[0]), t, h, y, first)


def _steps(
    tableau: Tableau, estimate: bool, field: Field, args: Any, t_S: Tensor, h_S: Tensor, y: Tensor
) -> tuple[Tensor, ...]:
    stepper, bound, states = ExplicitRungeKutta(tableau, estimate=estimate), BoundField(field, args, y.shape[0]), []
    for t, h in zip(t_S.unbind(0), h_S.unbind(0), strict=True):
        y = stepper.step(bound, t, h, y, None).y
        states.append(y)
    return tuple(states)


def _compile_anew(work: Any, **options: Any) -> Any:
    # One function serves all fields and shapes, which are more than the compiler expects of one.
    if "recompile_limit" in inspect.signature(torch.compile).parameters:
        options["recompile_limit"] = SHAPES
    return torch.compile(work, dynamic=False, **options)


@cache
def _compile(work: Any) -> Any:
    return _compile_anew(work)


@cache
def _compile_map(work: Any) -> Any:
    # The kernels of a small field take less time than to call them from Python.
    return _compile_anew(work, options={"cpp_wrapper": True})


_refused: WeakSet[Any] = WeakSet()


def _try(work: Any, field: Field, *rest: Any) -> Any:
    """Return what the compiled work gives, or None where this field cannot be compiled."""
    return None if field in _refused else _refusing(field, lambda: _compile(work)(*rest))


def _refusing(field: Field, work: Callable[[], Any]) -> Any:
    """Return what the work gives, or None, after a notice, where the compiler refuses the field."""
    try:
        return work()
    except Exception as error:
        if type(error).__module__.split(".")[0:2] not in (["torch", "_dynamo"], ["torch", "_inductor"]):
            raise
        _refused.add(field)
        first_line = str(error).strip().splitlines()[0]
        warnings.warn(
            f"compile=True: {type(field).__name__} could not be compiled and runs as it is ({first_line})", stacklevel=2
        )
        return None
