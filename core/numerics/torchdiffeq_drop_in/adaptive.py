"""torchdiffeq's options for adaptive steps, as our engine takes them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.registry import TABLEAUS
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.shared_steps import SharedClock, walk_shared
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stepping.walk import Walk
from integrand.core.numerics.torchdiffeq_drop_in.state import State, error_norm, parts

ADAPTIVE_METHODS = ("dopri5", "dopri8", "bosh3", "tsit5")
"""Adaptive methods that our engine has."""
CONTROL_OPTIONS = {
    "safety": "safety",
    "ifactor": "max_factor",
    "dfactor": "min_factor",
    "max_step": "max_step",
    "first_step": "first_step",
}
"""torchdiffeq's names for what ``StepControl`` has."""
ADAPTIVE_OPTIONS = frozenset({*CONTROL_OPTIONS, "norm", "step_t", "jump_t", "min_step", "max_num_steps", "dtype"})
CALLBACKS = ("callback_step", "callback_accept_step", "callback_reject_step")
MAX_STEPS = 2**31 - 1


@dataclass(frozen=True)
class AdaptiveSteps:
    """How an adaptive solve chooses its steps.

    Attributes:
        tableau: the method.
        norm: size of an error relative to the tolerance.
        control: how long the next step is.
        limit: most steps tried.
    """

    tableau: Tableau
    norm: ErrorNorm
    control: StepControl
    limit: int

    def stepper(self) -> ExplicitRungeKutta:
        """Return the method as a stepper."""
        return ExplicitRungeKutta(self.tableau, estimate=True)

    def walk(self, field: BoundField, start: Tensor, t: Tensor, *, keep: bool = False) -> Walk:
        """Walk over the times (T,), keeping the slopes of every step if asked to.

        Raises:
            AssertionError: the walk cannot go on.
        """
        times = t.to(clock_dtype(t, start))
        clock = SharedClock(times, lands=not self.tableau.dense, jumps=self.control.jump_times)
        walk = walk_shared(
            field, start, clock, self.stepper(), self.norm, self.control, max_steps=self.limit, keep=keep
        )
        if walk.status is not Status.OK:
            raise AssertionError(f"{EXCEEDED if walk.status is Status.MAX_STEPS else UNDERFLOW}: {walk.reason}")
        return walk


EXCEEDED, UNDERFLOW = "max_num_steps exceeded", "underflow in dt"
"""How torchdiffeq says that an adaptive solve cannot go on."""


def adaptive_steps(
    func: Callable[..., Any], y0: State, t: Tensor, *, rtol: Any, atol: Any, method: str, options: dict[str, Any]
) -> AdaptiveSteps | None:
    """Return the steps that torchdiffeq's options ask for, or None where ours cannot keep to them."""
    state = parts(y0)[0]
    if method not in ADAPTIVE_METHODS or not options.keys() <= ADAPTIVE_OPTIONS:
        return None
    if any(hasattr(func, name) for name in CALLBACKS) or not callable(options.get("norm", max)):
        return None
    limit = options.get("max_num_steps", MAX_STEPS)
    if not isinstance(limit, int) or (limit != MAX_STEPS and len(t) > 2):  # torchdiffeq counts from time to time
        return None
    control, norm = _control(options, t, state.dtype.to_real()), error_norm(rtol, atol, options.get("norm"), y0)
    return None if control is None or norm is None else AdaptiveSteps(TABLEAUS[method], norm, control, limit)


def clock_dtype(t: Tensor, y: Tensor) -> torch.dtype:
    """Return the precision of times in a solve: the finer of that of the given times and that of the state."""
    return torch.promote_types(t.dtype, y.dtype.to_real())


def _control(options: dict[str, Any], t: Tensor, real: torch.dtype) -> StepControl | None:
    """Return torchdiffeq's options for adaptive steps as ours, or None where they would not mean the same.

    Our walk keeps to either side of a jump in the clock's precision, which has to be the state's.
    """
    if options.get("min_step", 0) != 0 or options.get("dtype", torch.float64) is not torch.float64:
        return None
    numbers = {ours: options[theirs] for theirs, ours in CONTROL_OPTIONS.items() if options.get(theirs) is not None}
    stops = [options[name] for name in ("step_t", "jump_t") if options.get(name) is not None]
    if not all(isinstance(number, (int, float)) for number in numbers.values()):
        return None
    if not all(isinstance(stop, Tensor) and stop.dim() == 1 and not stop.requires_grad for stop in stops):
        return None
    times = [time for stop in stops for time in stop.tolist()]
    if len(set(times)) < len(times) or (times and t.dtype != real):
        return None
    try:
        return StepControl(**numbers, jump_times=tuple(times))
    except InputError:  # torchdiffeq refuses less
        return None
