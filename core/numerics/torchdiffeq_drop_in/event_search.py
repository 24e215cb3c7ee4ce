"""Steps without an end, until an event ends them.

torchdiffeq's events know no last time. The whole state is one sample, and of the components c_i of the event function
the first to change its sign ends the solve: with s_i the sign of c_i at the start, that is the first zero of

    g(t, y) = min_i s_i c_i(t, y).
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.arithmetic import combine
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.stepper import Step
from integrand.core.numerics.stepping.dense_output import DenseOutput
from integrand.core.numerics.stepping.event import Event, find_zeros, on_event
from integrand.core.numerics.stepping.shared_steps import FINEST
from integrand.core.numerics.stepping.step_control import ErrorNorm
from integrand.core.numerics.stepping.walk import StepTaken
from integrand.core.numerics.torchdiffeq_drop_in.adaptive import EXCEEDED, UNDERFLOW, AdaptiveSteps
from integrand.core.numerics.torchdiffeq_drop_in.grid import GridMethod
from integrand.core.numerics.torchdiffeq_drop_in.state import CalledField, Layout, State

MOST_FIXED_STEPS = 20_000
"""Steps of a fixed length after which torchdiffeq no longer waits for an event."""

Path = Callable[[Tensor], Tensor]
"""The state as a function of a scalar time."""


class FirstToVanish:
    """The g of several event functions, called with a scalar time and a state laid out for our walks; a scalar.

    Args:
        event_fn: the c_i as one function of time and the state as its owner knows it, a tensor of any shape.
        layout: of the state.
        t0, y0: where the solve starts.
    """

    def __init__(self, event_fn: Callable[..., Tensor], layout: Layout, t0: Tensor, y0: State) -> None:
        self.event_fn, self.layout = event_fn, layout
        with torch.no_grad():
            self.signs = torch.sign(event_fn(t0, y0))

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """Return g."""
        return torch.min(self.event_fn(t, self.layout.unpack(y)) * self.signs)


class Stretch(NamedTuple):
    """One step of a solve.

    Attributes:
        t, h: its start and its length, backwards in time a negative one; scalars.
        y: the state at its end.
        path: makes the states within.
    """

    t: Tensor
    h: Tensor
    y: Tensor
    path: Callable[[], Path]


def find_event(
    g: Callable[[Tensor, Tensor], Tensor], before: Tensor, steps: Iterator[Stretch]
) -> tuple[Tensor, Tensor]:
    """Take steps until g is no longer positive; return the time of its zero, a constant, and the state then.

    Args:
        g: the event function.
        before: its value at the start, positive.
        steps: the solve.
    """
    for step in steps:
        with torch.no_grad():
            after = g(step.t + step.h, step.y)
        if after > 0:
            before = after
            continue
        path = step.path()
        with torch.no_grad():

            def along(theta: Tensor, step: Stretch = step, path: Path = path) -> Tensor:
                time = step.t + theta[0] * step.h
                return g(time, path(time)).to(theta).view(1)

            ends = (value.to(step.t).view(1) for value in (before, after))
            time = step.t + find_zeros(along, *ends)[0] * step.h
        return time, path(time)
    raise AssertionError("the steps of a solve for an event came to an end")


def steps_of_choice(field: BoundField, t0: Tensor, y: Tensor, sign: float, how: AdaptiveSteps) -> Iterator[Stretch]:
    """Take adaptive steps from (t0, y), chosen as torchdiffeq chooses them, with ``sign`` the direction of time.

    Raises:
        AssertionError: a step would be shorter than the clock can tell, or too many were tried.
    """
    stepper, control, start = how.stepper(), how.control, t0.item()
    first: Tensor | None = field(t0, y)
    order = stepper.error_order or 0
    length = control.first_step or _first_length(field, t0, y, first, sign, how.norm, order)
    at = start
    for _ in range(how.limit):
        length = min(length, control.max_step)
        if not length > FINEST * abs(at):  # nor a number, where the slope at the start is none
            raise AssertionError(f"{UNDERFLOW}: at time {at:g}, the step shrank to {length:.3g}")
        end = at + sign * length
        t, h = t0 + (at - start), t0.new_full((), end - at)
        step = stepper.step(field, t, h, y, first)
        if step.error is None:
            raise AssertionError("adaptive steps need a method with an error estimate")
        size = float(how.norm(step.error.detach(), step.damping, y, step.y))
        finite = math.isfinite(size)
        factor = control.factor(order, (size, 1.0, 1.0)) if finite else control.min_factor
        if not (finite and size <= 1):
            first = step.first
            length *= min(factor, 0.9)
            continue

        def path(
            t: Tensor = t, h: Tensor = h, y: Tensor = y, step: Step = step, at: float = at, end: float = end
        ) -> Path:
            slopes = stepper.complete(field, t, h, y, step).slopes
            taken = StepTaken(at, end, t, h, False, False, True, None, (0, 0), None, y, slopes)
            return one_time(DenseOutput([taken], stepper), len(y))

        yield Stretch(t, h, step.y, path)
        at, y, first = end, step.y, step.last
        length *= max(factor, 1.0)
    raise AssertionError(f"{EXCEEDED}: {how.limit} did not reach an event")


def steps_of_one_length(field: BoundField, t0: Tensor, y: Tensor, h: float, method: GridMethod) -> Iterator[Stretch]:
    """Take steps of length h, backwards in time a negative one, from (t0, y).

    Raises:
        RuntimeError: there was no event in as many steps as torchdiffeq takes.
    """
    length, sign = t0.new_full((), h), math.copysign(1.0, h)
    for n in range(MOST_FIXED_STEPS):
        t, end = t0 + n * h, t0 + (n + 1) * h
        slopes = method.slopes(field, t, length, end, y, sign)
        last = combine(y, length, method.tableau.b, slopes)

        def path(
            t: Tensor = t, end: Tensor = end, y: Tensor = y, last: Tensor = last, slopes: list[Tensor] = slopes
        ) -> Path:
            known = [*slopes, field(end, last)] if method.cubic else slopes

            def state(time: Tensor) -> Tensor:
                theta = ((time - t) / length).to(y.dtype.to_real())
                return method.between(theta.view(1), length, y, last, known)[0]

            return state

        yield Stretch(t, length, last, path)
        y = last
    raise RuntimeError(f"no event in {MOST_FIXED_STEPS} steps of {h:g}: take a longer step_size")


def with_event_gradients(
    func: Callable[..., Any], event_fn: Callable[..., Tensor], t0: Tensor, y0: State, time: Tensor, state: State
) -> tuple[Tensor, State]:
    """Return the time and state of an event with the derivatives of ``Event``.

    Args:
        func, event_fn, t0, y0: what was solved.
        time: of the event.
        state: the solution there, as a function of what it depends on while time stays.
    """
    layout = Layout.of(y0)
    called = CalledField(func, layout)

    def slope(t: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():  # under which a field that differentiates has a graph made for it
            return called(t, y)

    event = Event(FirstToVanish(event_fn, layout, t0, y0))
    y = layout.pack(state)
    met = on_event(event, time, y, BoundField(slope, None, len(y)))
    return met.t.to(time), layout.unpack(met.y)


def one_time(dense: DenseOutput, batch: int) -> Path:
    """Return dense output as a function of one time that all samples share."""
    return lambda time: dense(time.expand(batch, 1)).squeeze(1)


def _first_length(
    field: BoundField, t0: Tensor, y: Tensor, slope: Tensor, sign: float, norm: ErrorNorm, order: int
) -> float:
    """Choose the first step from the sizes of the state, its slope and the slope's change, as torchdiffeq does.

    The order is that of the error estimate, O(h^{order + 1}), where Hairer and others take that of the method.

    Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.4, page 169.
    """
    slope, scale = slope.detach(), norm.scale(y)
    size, change = float(norm.measure(y.detach(), scale)), float(norm.measure(slope, scale))
    if not math.isfinite(change):
        return math.nan
    probe = 0.01 * size / change if min(size, change) >= 1e-5 else 1e-6
    other = field.peek(t0 + sign * probe, y + sign * probe * slope)
    largest = max(change, float(norm.measure(other - slope, scale)) / probe)
    if not math.isfinite(largest):
        return probe
    guess = max(1e-6, 1e-3 * probe) if largest <= 1e-15 else (0.01 / largest) ** (1 / (order + 1))
    return min(100 * probe, guess)
