"""Which of torchdiffeq's calls our engine answers, and how."""

from collections.abc import Callable
from typing import Any

import torch
import torchdiffeq
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.stepping.dense_output import DenseOutput
from integrand.core.numerics.stepping.walk import StepTaken
from integrand.core.numerics.torchdiffeq_drop_in.adaptive import CALLBACKS, adaptive_steps, clock_dtype
from integrand.core.numerics.torchdiffeq_drop_in.event_search import (
    FirstToVanish,
    find_event,
    one_time,
    steps_of_choice,
    steps_of_one_length,
)
from integrand.core.numerics.torchdiffeq_drop_in.grid import GRID_METHODS, GridMethod, GridWalk, even_grid
from integrand.core.numerics.torchdiffeq_drop_in.state import CalledField, Layout, State, parts

OWN_METHODS = ("tsit5",)
"""Methods that torchdiffeq has not."""
DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
GRID_OPTIONS = frozenset({"step_size", "grid_constructor", "interp", "perturb", "norm"})

Walker = Callable[[BoundField, Tensor], tuple[list[Tensor], list[StepTaken]]]
"""Solves with the field and from the state it is given; returns the states at the output times and the steps taken."""


def solve(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    *,
    rtol: Any,
    atol: Any,
    method: str | None,
    options: dict[str, Any] | None,
    event_fn: Callable[..., Tensor] | None = None,
) -> Any:
    """Return what ``odeint`` is asked for, from our engine where it keeps to the letter of the call, else torchdiffeq.

    Raises:
        AssertionError: an adaptive solve cannot go on, or a grid does not keep the ends of ``t``.
        RuntimeError: fixed steps met no event.
        InputError: a method of ours is asked for what torchdiffeq alone has.
    """
    name, chosen = "dopri5" if method is None else method, {} if options is None else options
    if isinstance(chosen, dict) and isinstance(name, str) and has_our_types(y0, t):
        if event_fn is None:
            answer = _states(func, y0, t, rtol, atol, name, chosen)
        else:
            answer = _event(func, y0, t, rtol, atol, name, chosen, event_fn)
        if answer is not None:
            return answer
    if method in OWN_METHODS:
        raise InputError(
            f"method={method!r} is not torchdiffeq's, which alone has callbacks on adaptive steps and some options and "
            "states: take 'dopri5' with these."
        )
    return torchdiffeq.odeint(func, y0, t, rtol=rtol, atol=atol, method=method, options=options, event_fn=event_fn)


def solve_dense(
    func: Callable[..., Any], y0: Any, t0: Any, t1: Any, *, rtol: Any, atol: Any, options: dict[str, Any]
) -> Callable[[Tensor], Tensor] | None:
    """Return the solution between two times as a function of one, or None where our engine cannot keep to the letter.

    Raises:
        AssertionError: the solve cannot go on, or the function is called outside the times.
    """
    if not all(isinstance(time, Tensor) and time.numel() == 1 for time in (t0, t1)) or not isinstance(y0, Tensor):
        return None
    t = torch.stack([t0.detach().reshape(()), t1.detach().reshape(()).to(t0)])
    if not isinstance(options, dict) or not has_our_types(y0, t) or t[0] > t[1]:
        return None  # backwards, torchdiffeq's function is one of time negated
    how = adaptive_steps(func, y0, t, rtol=rtol, atol=atol, method="dopri5", options=options)
    if how is None:
        return None
    layout = Layout.of(y0)
    start, times = layout.pack(y0), t.to(clock_dtype(t, y0))
    walk = how.walk(BoundField(CalledField(func, layout), None, len(start)), start, times, keep=True)
    path = one_time(DenseOutput(walk.steps, how.stepper()), len(start))

    def dense(time: Tensor) -> State:
        time = torch.as_tensor(time, dtype=times.dtype, device=times.device)
        if time.dim():
            raise InputError(f"a time of shape {tuple(time.shape)} is not one time: give a scalar tensor.")
        if not (times[0] <= time) & (time <= times[1]):
            raise AssertionError(f"invalid interpolation: the time {time:g} is not from {times[0]:g} to {times[1]:g}")
        return layout.unpack(path(time))

    return dense  # pyright: ignore[reportReturnType]


def has_our_types(y0: Any, t: Any) -> bool:
    """Whether our engine takes such states and times; what nobody takes, torchdiffeq has an error for."""
    state = parts(y0)
    if not state or not all(isinstance(tensor, Tensor) and tensor.numel() for tensor in (*state, t)):
        return False
    kind = (state[0].dtype, state[0].device)
    if any((part.dtype, part.device) != kind for part in state) or kind[0] not in DTYPES:
        return False
    if t.dtype not in DTYPES[:2] or t.device != kind[1] or t.dim() != 1 or len(t) < 2:
        return False
    if is_transformed():
        return False  # our walks read the lengths of steps as numbers, and a derivative by time would be lost
    steps = t.detach().diff()
    return bool(((steps > 0).all() | (steps < 0).all()) & torch.isfinite(steps).all())


def _states(
    func: Callable[..., Any], y0: State, t: Tensor, rtol: Any, atol: Any, method: str, options: dict[str, Any]
) -> State | None:
    """Return the states at the output times."""
    field = CalledField(func, Layout.of(y0))
    if method in GRID_METHODS:
        walker = _grid_walk(func, field, y0, t, method, options)
        return None if walker is None else _solve(field, y0, t, walker.method.tableau, walker)
    how = adaptive_steps(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)
    if how is None:
        return None

    def walker_of_choice(field: BoundField, start: Tensor) -> tuple[list[Tensor], list[StepTaken]]:
        walk = how.walk(field, start, t)
        return walk.states, walk.steps

    return _solve(field, y0, t, how.tableau, walker_of_choice)


def _event(
    func: Callable[..., Any],
    y0: State,
    t: Tensor,
    rtol: Any,
    atol: Any,
    method: str,
    options: dict[str, Any],
    event_fn: Callable[..., Tensor],
) -> tuple[Tensor, State] | None:
    """Return the time of the event, and the states at the start and then."""
    number = isinstance(atol, (int, float)) or (isinstance(atol, Tensor) and not atol.dim())
    if len(t) != 2 or not number:  # torchdiffeq locates events to a tolerance that is one number
        return None
    layout = Layout.of(y0)
    start, sign = layout.pack(y0), 1.0 if bool(t[1] > t[0]) else -1.0
    t0, field = t[0].to(clock_dtype(t, start)), BoundField(CalledField(func, layout), None, len(start))
    if method in GRID_METHODS:
        grid, step_size = _grid_method(func, method, options), options.get("step_size", 0)
        if grid is None or not _is_step(step_size):
            return None
        steps = steps_of_one_length(field, t0, start, sign * step_size, grid)
    else:
        how = adaptive_steps(func, y0, t, rtol=rtol, atol=atol, method=method, options=options)
        if how is None or how.control.jump_times:
            return None
        steps = steps_of_choice(field, t0, start, sign, how)
    g = FirstToVanish(event_fn, layout, t[0], y0)
    with torch.no_grad():
        before = g(t0, start)
    if before > 0:
        time, state = find_event(g, before, steps)
    elif before == 0 and method not in GRID_METHODS:
        time, state = t0, start
    else:  # torchdiffeq's fixed steps go on from a zero at the start until something else changes its sign
        return None
    return time.to(t), layout.unpack_all(torch.stack([start, state]))


def _is_step(step_size: Any) -> bool:
    return isinstance(step_size, (int, float)) and step_size > 0


def _grid_method(func: Callable[..., Any], method: str, options: dict[str, Any]) -> GridMethod | None:
    """Return how fixed steps are taken, or None where torchdiffeq's options are not in order."""
    interp = options.get("interp", "linear")
    if not options.keys() <= GRID_OPTIONS or interp not in ("linear", "cubic"):
        return None
    if any(hasattr(func, name) for name in CALLBACKS[1:]):
        return None
    return GridMethod(
        tableau=GRID_METHODS[method], cubic=interp == "cubic", perturb=bool(options.get("perturb", False))
    )


def _grid_walk(
    func: Callable[..., Any], field: CalledField, y0: State, t: Tensor, method: str, options: dict[str, Any]
) -> GridWalk | None:
    """Return the walk that torchdiffeq's options for fixed steps ask for, or None where they are not in order."""
    how = _grid_method(func, method, options)
    step_size, construct = options.get("step_size"), options.get("grid_constructor")
    if how is None:
        return None
    grid = t
    if step_size is not None:
        if construct is not None or not _is_step(step_size):
            return None
        grid = even_grid(t, step_size)
    elif construct is not None:
        grid = construct(field, y0 if isinstance(y0, Tensor) else field.layout.pack(y0).view(-1), t)
        if not (grid[0] == t[0] and grid[-1] == t[-1]):
            raise AssertionError(f"grid_constructor must keep the first and the last time, {t[0]:g} and {t[-1]:g}")
    told = getattr(func, CALLBACKS[0], None)
    return GridWalk(
        grid=grid,
        times=t,
        method=how,
        on_step=None if told is None else lambda t0, y, dt: told(t0, field.layout.unpack(y), dt),
    )


def _solve(field: CalledField, y0: State, t: Tensor, tableau: Tableau, walker: Walker) -> State:
    """Solve, and attach the derivative of fields that have a tape as one node; autograd sees to the others'."""
    start = field.layout.pack(y0)
    bound = BoundField(field, None, start.shape[0])
    tape = open_tape(bound, start, t)
    if tape is None:
        return field.layout.unpack_all(torch.stack(walker(bound, start)[0]))

    def run(taped: BoundField, y: Tensor) -> tuple[Tensor, list[StepTaken]]:
        states, steps = walker(taped, y)
        return torch.stack(states, dim=1), steps

    states, _ = solve_taped(run, bound, tape, tableau, start)
    return field.layout.unpack_all(states.transpose(0, 1).contiguous())
