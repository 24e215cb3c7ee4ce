"""Events: where a function of the solution crosses zero."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.arithmetic import along
from integrand.core.numerics.field_call import BoundField

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Event:
    """A zero of g(t, y) along the solution, such as a ball that meets the ground or a spike that meets its threshold.

    An event happens where g changes its sign over a step of the solver, or where it is zero at the start and leaves
    zero. It is located on the step's dense output, for each sample, to the precision of the state's type. A g that
    touches zero and turns back has no event; one that crosses zero twice within a step may go unseen: bound the step
    by ``StepControl(max_step=...)`` where that can be.

    Time and state of an event are differentiable functions of whatever the solution and g depend on, g's own parameters
    included. With p any of these, and f the field,

        dt*/dp = -(dg/dp + dg/dy dy/dp) / (dg/dt + dg/dy f),     dy*/dp = dy/dp + f dt*/dp,

    with dy/dp taken at the time t*. These are first derivatives: second ones are not those of the event. Where g does
    not change along the solution, its event has no derivative, and zero is given.

    Attributes:
        function: g, called ``g(t, y)``, or ``g(t, y, args)`` when the solve has ``args``, with t (B,) and y (B, ...);
            returns (B,). Samples must not depend on one another. An ``nn.Module`` may learn.
        terminal: whether the sample's solve ends there. Outputs after it are NaN, or the state at the event with
            ``on_failure="last"``.
        direction: 1 for zeros that g passes upwards as the solve goes on, -1 for downwards, 0 for both. A solve that is
            restarted on an event should name the direction, lest it find the event it starts on.

    Raises:
        InputError: the direction is none of the three.

    Example:
        >>> from integrand.core.numerics.solve_ode import solve_ode
        >>> ground = Event(lambda t, y: y[:, 0], direction=-1)
        >>> def fall(t, y):
        ...     return torch.stack([y[:, 1], torch.full_like(y[:, 0], -9.81)], dim=1)
        >>> solve_ode(fall, torch.tensor([[1.0, 0.0], [2.0, 0.0]]), [0.0, 5.0], event=ground).event_times
        tensor([0.4515, 0.6386])

    Source: Chen, Amos and Nickel (2021), Learning neural event functions for ordinary differential equations.
    """

    function: Callable[..., Tensor]
    terminal: bool = True
    direction: int = 0

    def __post_init__(self) -> None:
        """Refuse other directions."""
        if not callable(self.function):
            raise InputError(f"the event's function is a {type(self.function).__name__}: give a function g(t, y).")
        if self.direction not in (-1, 0, 1):
            raise InputError(
                f"direction={self.direction!r} of an event must be 1 (upwards), -1 (downwards) or 0 (both)."
            )

    def value(self, t: Tensor, y: Tensor, args: Any) -> Tensor:
        """Return g, (B,)."""
        g = self.function(t, y) if args is None else self.function(t, y, args)
        if not isinstance(g, Tensor) or g.shape != t.shape:
            got = f"shape {tuple(g.shape)}" if isinstance(g, Tensor) else f"a {type(g).__name__}"
            raise InputError(
                f"the event's function returned {got} for {t.shape[0]} samples: return one number each, (B,)."
            )
        return g

    def crossed(self, before: Floats, after: Floats, fresh: Flags) -> Flags:
        """Tell where g passed zero in a step, from its values at either end; ``fresh`` where the solve starts there."""
        leaves = (before == 0) & fresh
        upwards = (before < 0) & (after >= 0) | leaves & (after > 0)
        downwards = (before > 0) & (after <= 0) | leaves & (after < 0)
        return upwards & (self.direction >= 0) | downwards & (self.direction <= 0)


def as_events(
    event: Event | Callable[..., Tensor] | Sequence[Event | Callable[..., Tensor]] | None,
) -> tuple[Event, ...]:
    """Return what a caller gave as events, a bare function being a terminal one.

    Example:
        >>> [one.terminal for one in as_events([lambda t, y: y[:, 0], Event(lambda t, y: t - 1, terminal=False)])]
        [True, False]
    """
    if event is None:
        return ()
    listed = event if isinstance(event, Sequence) else (event,)
    return tuple(one if isinstance(one, Event) else Event(one) for one in listed)


@dataclass(frozen=True)
class EventLog:
    """The events of every sample, in the order in which the solve met them, K at the most.

    Attributes:
        times: (B, K), infinite where a sample had fewer.
        states: (B, K, ...), NaN there.
        which: place of the event in the sequence that the caller gave, (B, K); -1 there.
    """

    times: Tensor
    states: Tensor
    which: Tensor


class Met(NamedTuple):
    """Events of one function that P samples met.

    Attributes:
        t, y: times (P,) and states (P, ...), differentiable.
    """

    t: Tensor
    y: Tensor


def find_zeros(g: Callable[[Tensor], Tensor], before: Tensor, after: Tensor) -> Tensor:
    """Find where functions of theta in [0, 1] change their sign, all at once, to the precision of their type.

    A step of the secant through the ends of the bracket, pushed towards the middle and kept so near to it that the
    bracket shrinks at least as fast as by bisection, but for one step: superlinear where g is smooth, and never more
    than two steps beyond as many as the type has digits.

    Args:
        g: the functions, (P,) to (P,).
        before, after: their values at 0 and 1, of opposite signs; an end where the value is zero is the answer.

    Returns:
        The far end of the last bracket, (P,), where g has its later sign, or is zero.

    Example:
        >>> theta = find_zeros(lambda x: x**2 - 0.25, torch.tensor([-0.25]).double(), torch.tensor([0.75]).double())
        >>> abs(theta.item() - 0.5) < 1e-15
        True

    Source: Oliveira and Takahashi (2021), An enhancement of the bisection method average performance preserving minmax
    optimality, with k1 = 0.2, k2 = 2 and n0 = 1.
    """
    precision = torch.finfo(before.dtype).eps
    low, high, g_low, g_high = torch.zeros_like(before), torch.ones_like(before), before, after
    high = torch.where(before == 0, low, high)
    steps = math.ceil(-math.log2(precision)) + 1
    for n in range(steps):
        width = high - low
        if bool((width <= precision * high).all()):
            break
        middle = low + 0.5 * width
        secant = low + width * (g_low / (g_low - g_high))
        towards = torch.sign(middle - secant)
        push = torch.maximum(0.2 * width**2, precision * high)
        pushed = secant + towards * torch.minimum(push, (middle - secant).abs())
        radius = (precision * 2.0 ** (steps - 1 - n) - 0.5 * width).clamp(min=0.0)
        theta = torch.where((pushed - middle).abs() <= radius, pushed, middle - towards * radius)
        theta = torch.where(torch.isfinite(theta), theta, middle)
        value = g(theta)
        passed = torch.sign(value) != torch.sign(before)  # zero counts as passed
        low, g_low = torch.where(passed, low, theta), torch.where(passed, g_low, value)
        high, g_high = torch.where(passed, theta, high), torch.where(passed, value, g_high)
    return high


def on_event(event: Event, t: Tensor, y: Tensor, field: BoundField) -> Met:
    """Return times and states of events with the derivatives of ``Event``, by a Newton step of length zero.

    Args:
        event: the event.
        t, y: times (P,) and states (P, ...) where it was found, as functions on paths that go through them; or one
            scalar time, and a state of any shape that is one sample.
        field: the right-hand side, bound to these samples.
    """
    g = event.value(t, y, field.args)
    if not g.requires_grad:
        return Met(t, y)
    slope = field.peek(t.detach(), y.detach())
    with torch.enable_grad():
        free_t, free_y = t.detach().requires_grad_(), y.detach().requires_grad_()
        again = event.value(free_t, free_y, field.args).sum()
        none = (None, None)
        by_t, by_y = torch.autograd.grad(again, (free_t, free_y), allow_unused=True) if again.requires_grad else none
    rate = torch.zeros_like(t.detach()) if by_t is None else by_t
    if by_y is not None:
        rate = rate + (by_y.conj() * slope).real.reshape(*rate.shape, -1).sum(-1)
    newton = -g / torch.where(rate == 0, torch.inf, rate)
    moved = newton - newton.detach()
    return Met(t + moved, y + along(moved, y) * slope)
