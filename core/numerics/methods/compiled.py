"""Steps compiled by torch.compile."""

import warnings
from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Step
from integrand.core.numerics.methods.tableau import Tableau

BLOCK = 10
"""Fixed steps compiled as one: more make the compiler slow, fewer the program."""


class CompiledRungeKutta(ExplicitRungeKutta):
    """An explicit Runge-Kutta method whose step is compiled, kernels fused, for whatever field it is given.

    A field that the compiler cannot take is solved as if nothing had been compiled, after one notice. Compiling takes
    from seconds to a minute, once a process for each field, method, shape and type.
    """

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step; see ``Stepper``."""
        field.evaluations += self.stages - (first is not None) + self.shares_last
        known = _try(_step, self.tableau, self.estimate, field.field, field.args, t, h, y, first)
        if known is None:
            field.evaluations -= self.stages - (first is not None) + self.shares_last
            return super().step(field, t, h, y, first)
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
        known = _try(_steps, self.tableau, self.estimate, field.field, field.args, t_S, h_S, y)
        if known is not None:
            return known
        return _steps(self.tableau, self.estimate, field.field, field.args, t_S, h_S, y)


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


@cache
def _compile(work: Any) -> Any:
    return torch.compile(work, dynamic=False)


_refused: WeakSet[Any] = WeakSet()


def _try(work: Any, tableau: Tableau, estimate: bool, field: Field, *rest: Any) -> Any:
    """Return what the compiled work gives, or None where this field cannot be compiled."""
    if field in _refused:
        return None
    try:
        return _compile(work)(tableau, estimate, field, *rest)
    except Exception as error:
        if type(error).__module__.split(".")[0:2] not in (["torch", "_dynamo"], ["torch", "_inductor"]):
            raise
        _refused.add(field)
        first_line = str(error).strip().splitlines()[0]
        warnings.warn(
            f"compile=True: {type(field).__name__} could not be compiled and runs as it is ({first_line})", stacklevel=2
        )
        return None
