"""Which of torchdiffeq's calls our engine answers, and how."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.registry import TABLEAUS
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.solution import Status
from integrand.core.numerics.stepping.shared_steps import SharedClock, walk_shared
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stepping.walk import StepTaken
from integrand.core.numerics.torchdiffeq_drop_in.grid import GRID_METHODS, GridWalk, even_grid
from integrand.core.numerics.torchdiffeq_drop_in.state import CalledField, Layout, State, error_norm, parts

ADAPTIVE_METHODS = ("dopri5", "dopri8", "bosh3", "tsit5")
"""Adaptive methods that our engine has."""
OWN_METHODS = ("tsit5",)
"""Those that torchdiffeq has not."""

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
GRID_OPTIONS = frozenset({"step_size", "grid_constructor", "interp", "perturb", "norm"})
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

Walker = Callable[[BoundField, Tensor], tuple[list[Tensor], list[StepTaken]]]
"""Solves with the field and from the state it is given; returns the states at the output times and the steps taken."""


def solve_natively(
    func: Callable[..., Any],
    y0: Any,
    t: Any,
    *,
    rtol: Any,
    atol: Any,
    method: str,
    options: dict[str, Any],
) -> State | None:
    """Return the states that ``odeint`` is asked for, or None where our engine cannot keep to the letter of the call.

    Raises:
        AssertionError: an adaptive solve cannot go on, or a grid does not keep the ends of ``t``.
    """
    if not isinstance(options, dict) or not _has_our_types(y0, t):
        return None
    field = CalledField(func, Layout.of(y0))
    walker, tableau = None, GRID_METHODS.get(method)
    if tableau is not None:
        walker = _grid_walker(func, field, y0, t, tableau, options)
    elif method in ADAPTIVE_METHODS:
        tableau = TABLEAUS[method]
        walker = _adaptive_walker(func, y0, t, tableau, options, rtol, atol)
    return None if walker is None or tableau is None else _solve(field, y0, t, tableau, walker)


def _has_our_types(y0: Any, t: Any) -> bool:
    """Whether our engine takes such states and times; what nobody takes, torchdiffeq has an error for."""
    state = parts(y0)
    if not state or not all(isinstance(tensor, Tensor) and tensor.numel() for tensor in (*state, t)):
        return False
    kind = (state[0].dtype, state[0].device)
    if any((part.dtype, part.device) != kind for part in state) or kind[0] not in DTYPES:
        return False
    if t.dtype not in DTYPES[:2] or t.device != kind[1] or t.dim() != 1 or len(t) < 2:
        return False
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return False  # our walks read the lengths of steps as numbers, and a derivative by time would be lost
    steps = t.detach().diff()
    return bool(((steps > 0).all() | (steps < 0).all()) & torch.isfinite(steps).all())


def _grid_walker(
    func: Callable[..., Any], field: CalledField, y0: State, t: Tensor, tableau: Tableau, options: dict[str, Any]
) -> Walker | None:
    """Return the walk that torchdiffeq's options for fixed steps ask for, or None where they are not in order."""
    step_size, construct = options.get("step_size"), options.get("grid_constructor")
    interp = options.get("interp", "linear")
    if not options.keys() <= GRID_OPTIONS or interp not in ("linear", "cubic"):
        return None
    if any(hasattr(func, name) for name in CALLBACKS[1:]):
        return None
    grid = t
    if step_size is not None:
        if construct is not None or not isinstance(step_size, (int, float)) or not step_size > 0:
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
        tableau=tableau,
        cubic=interp == "cubic",
        perturb=bool(options.get("perturb", False)),
        on_step=None if told is None else lambda t0, y, dt: told(t0, field.layout.unpack(y), dt),
    )


def _adaptive_walker(
    func: Callable[..., Any], y0: State, t: Tensor, tableau: Tableau, options: dict[str, Any], rtol: Any, atol: Any
) -> Walker | None:
    """Return the walk that torchdiffeq's options for adaptive steps ask for, or None where ours cannot keep to them."""
    state = parts(y0)[0]
    if not options.keys() <= ADAPTIVE_OPTIONS or any(hasattr(func, name) for name in CALLBACKS):
        return None
    if not callable(options.get("norm", max)):
        return None
    limit = options.get("max_num_steps", MAX_STEPS)
    if not isinstance(limit, int) or (limit != MAX_STEPS and len(t) > 2):  # torchdiffeq counts from time to time
        return None
    control, norm = _control(options, t, state.dtype.to_real()), error_norm(rtol, atol, options.get("norm"), y0)
    if control is None or norm is None:
        return None
    times = t.to(torch.promote_types(t.dtype, state.dtype.to_real()))
    clock = SharedClock(times, lands=not tableau.dense, jumps=control.jump_times)

    def walk(field: BoundField, start: Tensor) -> tuple[list[Tensor], list[StepTaken]]:
        stepper = ExplicitRungeKutta(tableau, estimate=True)
        walked = walk_shared(
            field, start, clock, stepper, norm, control, max_steps=MAX_STEPS if limit is None else limit
        )
        if walked.status is not Status.OK:
            known = "max_num_steps exceeded" if walked.status is Status.MAX_STEPS else "underflow in dt"
            raise AssertionError(f"{known}: {walked.reason}")
        return walked.states, walked.steps

    return walk


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
