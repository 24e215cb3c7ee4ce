"""How long the next step is: the error of a step, measured, and what follows from it."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class StepControl:
    """A PID controller for the step, with its limits.

    With r_n the error of step n relative to the tolerance, and k = p + 1 the power of the step in the error estimate,
    the next step is longer by the factor

        safety * r_n^(-(i + p + d) / k) * r_{n-1}^((p + 2 d) / k) * r_{n-2}^(-d / k),

    within ``min_factor`` and ``max_factor``. A step with r_n > 1 is refused and tried shorter. The defaults are the
    integral controller; p = 0.4, i = 0.3 makes Gustafsson's PI controller, for where steps are limited by stability.

    Attributes:
        p, i, d: the coefficients.
        safety: share of the predicted step that is taken.
        min_factor, max_factor: how much shorter or longer than its forerunner a step may be.
        min_step: shortest step, in the units of time; an adaptive solve that needs a shorter one fails.
        max_step: longest step.
        first_step: length of the first step; chosen from the field's size and change when None.
        jump_times: times at which the field jumps or kinks, and which no step may straddle.

    Source: Söderlind (2003), Digital filters in adaptive time-stepping; Gustafsson (1991), Control theoretic techniques
    for stepsize selection in explicit Runge-Kutta methods.
    """

    p: float = 0.0
    i: float = 1.0
    d: float = 0.0
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    min_step: float = 0.0
    max_step: float = math.inf
    first_step: float | None = None
    jump_times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        if not 0 < self.safety < 1:
            raise InputError(f"safety={self.safety!r} must lie between 0 and 1: 0.9 is usual.")
        if not 0 < self.min_factor < 1 < self.max_factor:
            raise InputError(
                f"min_factor={self.min_factor!r} and max_factor={self.max_factor!r} must lie on either side of 1: "
                "0.2 and 10 are usual."
            )
        if not 0 <= self.min_step <= self.max_step or self.max_step == 0:
            raise InputError(
                f"min_step={self.min_step!r} and max_step={self.max_step!r} must be positive, the first not above the "
                "second: give them in the units of times."
            )
        if self.first_step is not None and not self.first_step > 0:
            raise InputError(f"first_step={self.first_step!r} must be positive: leave it out to have it chosen.")
        if not all(math.isfinite(t) for t in self.jump_times):
            raise InputError(f"jump_times={self.jump_times!r} must be finite: drop what is not a time.")

    def factor(self, order: float, errors: tuple[Any, Any, Any]) -> Any:
        """Return how much longer the next step is, from the last three relative errors, the newest first.

        Numbers give a number; tensors (B,) a tensor. An error of zero asks for the longest step.
        """
        k = order + 1
        powers = (-(self.p + self.i + self.d) / k, (self.p + 2 * self.d) / k, -self.d / k)
        if isinstance(errors[0], Tensor):
            factor = self.safety
            for error, power in zip(errors, powers, strict=True):
                if power:
                    factor = factor * error.clamp(min=1e-30) ** power
            return torch.clamp(factor, self.min_factor, self.max_factor)  # pyright: ignore[reportArgumentType, reportCallIssue]
        factor = self.safety
        for error, power in zip(errors, powers, strict=True):
            if power:
                factor *= max(error, 1e-30) ** power
        return min(max(factor, self.min_factor), self.max_factor)


def check_step_size(step_size: float | None) -> None:
    """Refuse a length of steps that is not positive."""
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")


def check_tolerances(rtol: float, atol: float) -> None:
    """Refuse tolerances that no step can meet."""
    if not (min(rtol, atol) >= 0 and max(rtol, atol) > 0):
        raise InputError(f"rtol={rtol!r} and atol={atol!r} must not be negative, and not both zero.")


@dataclass(frozen=True)
class ErrorNorm:
    """The error of a step relative to the tolerance: the root mean square over components of

        e / (atol + rtol max(|y|, |y'|)).

    A method with a second estimate d of lower order, whose first one may vanish by chance, is measured by

        |e|^2 / sqrt(|e|^2 + 0.01 |d|^2).

    States in half precision are measured in float32.

    Attributes:
        rtol, atol: tolerances.
        each: whether samples are measured one by one, giving (B,), or together, giving a scalar.

    Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, Eq. II.4.10 and II.4.11; the second estimate: section
    II.10.
    """

    rtol: float
    atol: float
    each: bool

    def scale(self, y: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the size of error that is tolerated in each component."""
        size = wide(y.detach()).abs()
        if other is not None:
            size = torch.maximum(size, wide(other.detach()).abs())
        return size.mul_(self.rtol).add_(self.atol)

    def measure(self, error: Tensor, scale: Tensor) -> Tensor:
        """Return the root mean square of ``error / scale``; not a number where the scale is infinite."""
        # An infinite state would make any error small beside it; 0 times infinity is not a number.
        ratio = (wide(error) / scale).add_(scale, alpha=0)
        if self.each:
            ratio = ratio.reshape(ratio.shape[0], -1)
            return torch.linalg.vector_norm(ratio, dim=1) / math.sqrt(max(1, ratio.shape[1]))
        return torch.linalg.vector_norm(ratio) / math.sqrt(max(1, ratio.numel()))

    def __call__(self, error: Tensor, damping: Tensor | None, y: Tensor, end: Tensor) -> Tensor:
        """Return the relative error of the step from ``y`` to ``end``."""
        scale = self.scale(y, end)
        size = self.measure(error, scale)
        if damping is None:
            return size
        guard = torch.hypot(size, 0.1 * self.measure(damping, scale))
        return torch.where(guard > 0, size * size / guard, size)


def wide(x: Tensor) -> Tensor:
    """Return half precision as float32, and the rest as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
