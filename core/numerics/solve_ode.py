"""One call that solves initial value problems."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.engines import torchdiffeq_engine
from integrand.core.numerics.engines.torchdiffeq_engine import solve_torchdiffeq
from integrand.core.numerics.exponential.semilinear import SEMILINEAR, solve_semilinear
from integrand.core.numerics.field_call import BoundField, Field, naming_precisions
from integrand.core.numerics.methods.registry import ADAPTIVE, METHODS, TABLEAUS, declared_order, make_stepper
from integrand.core.numerics.output_times import check_times
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.solve_options import Gradient, OnFailure, SolveOptions, Stepping, choose_engine
from integrand.core.numerics.solve_shared import solve_shared
from integrand.core.numerics.solved_by import Resolution, as_asked, is_replaced, replaced
from integrand.core.numerics.stepping.event import Event, as_events
from integrand.core.numerics.stepping.own_steps import walk_own
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stepping.walk import SolveError

__all__ = ["METHODS", "SolveError", "solve_ode"]

MAX_STEPS = 100_000
"""Most steps that an adaptive solve tries unless told otherwise."""


def solve_ode(
    field: Field,
    y0: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    method: str = "dopri5",
    rtol: float = 1e-4,
    atol: float = 1e-6,
    step_size: float | None = None,
    stepping: Stepping = "shared",
    control: StepControl | None = None,
    gradient: Gradient = "direct",
    event: Event | Callable[..., Tensor] | Sequence[Event | Callable[..., Tensor]] | None = None,
    max_steps: int | None = None,
    on_failure: OnFailure = "raise",
    engine: Literal["native", "torchdiffeq"] | None = None,
    compile: bool = False,
    dense: bool = False,
) -> Solution:
    """Solve dy/dt = f(t, y), y(t_0) = y0, and return y at every time asked for.

    Args:
        field: f, called ``field(t, y)``, or ``field(t, y, args)`` when ``args`` are given; t is a scalar or (B,).
        y0: initial states, (B, ...), floating point or complex.
        times: output times, the first being t_0; (T,) shared, or (B, T) with each sample's own. Increasing or
            decreasing.
        args: a tensor or nested tuple, list or dict of tensors, each (B, ...), handed to the field.
        method: a name in ``METHODS``. Methods with a fixed step take one step from each time to the next unless
            ``step_size`` says otherwise.
        rtol: relative tolerance of adaptive methods, and of implicit equations.
        atol: absolute tolerance, likewise.
        step_size: longest step, in the units of ``times``; an adaptive method takes equal steps when it is given.
        stepping: how an adaptive method chooses its steps: ``"shared"``, one step size for the batch; with times (B, T)
            one share of every sample's own interval. ``"per_sample"``, each sample its own, until it arrives.
        control: how adaptive steps grow and shrink, their limits, and the times at which the field jumps.
        gradient: ``"direct"`` differentiates the steps taken, as one node of the graph where the field gives its own
            vector-Jacobian product. ``"checkpoint"`` does the same in O(sqrt N) memory for N steps, ``"reversible"``
            in O(1) with fixed steps of a reversible scheme. ``"adjoint"`` solves the adjoint equation backwards in O(1)
            memory; it is the derivative of the equation, and differs from that of the numbers by the solver's error.
        event: an ``Event``, a function g(t, y) as ``Event`` takes it, or a sequence of them; looked out for with each
            sample's own steps. Where and when they happened stands in the solution's ``event_times``, ``event_states``
            and ``events``; outputs after a terminal event are NaN, or its state with ``on_failure="last"``.
        max_steps: most steps an adaptive solve may try, 100,000 when None.
        on_failure: what becomes of samples whose solve cannot go on or whose state is not finite: ``"raise"`` a
            ``SolveError``; ``"nan"`` for the outputs not reached; ``"last"``, the last state reached. ``status`` tells
            which they are. With fixed steps on an accelerator states are returned as they are, for to look at them
            would make the host wait.
        engine: ``"native"`` or ``"torchdiffeq"``; when None, the first that has the method.
        compile: whether to compile the steps of an explicit method with torch.compile, which takes up to a minute at
            first and pays in long trainings. A field that cannot be compiled runs as it is, after a notice.
        dense: whether to keep every step, so that ``Solution.interpolate`` has the order of the method; for adaptive
            methods with shared steps, times (T,) and the direct gradient.

    Returns:
        A ``Solution`` with states (B, T, ...).

    Raises:
        InputError: an argument is out of its range, or asks for what the engine does not have.
        SolveError: the solver could not reach the last time.

    Example:
        >>> decay = solve_ode(lambda t, y: -y, torch.ones(1, 1, dtype=torch.float64), [0.0, 1.0], rtol=1e-8, atol=1e-8)
        >>> round(decay.states[0, -1, 0].item(), 6)
        0.367879
    """
    if not isinstance(y0, Tensor):
        raise InputError(f"y0 must be a tensor (B, ...), got a {type(y0).__name__}: call torch.as_tensor on it.")
    if y0.dim() < 1 or not (y0.is_floating_point() or y0.is_complex()):
        raise InputError(f"y0 must be floating point with a batch dimension, got {y0.dtype} {tuple(y0.shape)}.")
    if is_replaced() and (solved := replaced(solve_ode, locals(), _resolution)) is not None:
        return solved
    times = check_times(times, y0)
    options = SolveOptions(
        method=method,
        engine=choose_engine(method, engine),
        rtol=rtol,
        atol=atol,
        step_size=step_size,
        stepping=stepping,
        control=control or StepControl(),
        gradient=gradient,
        events=as_events(event),
        max_steps=max_steps,
        on_failure=on_failure,
        compile=compile,
        dense=dense,
    )
    bound = BoundField(field, args, y0.shape[0])
    if times.shape[-1] == 1:
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=0, accepted=0, rejected=0)
        return Solution(times, y0.unsqueeze(1), none, _slope=bound)
    with naming_precisions(y0, field):
        if options.engine == "torchdiffeq":
            return _by_torchdiffeq(bound, y0, times, options)
        if method in SEMILINEAR:
            with as_asked():
                return solve_semilinear(field, y0, times, args=args, method=method, step_size=step_size)  # pyright: ignore[reportArgumentType]
        solve = _solve_own if options.own else solve_shared
        return solve(bound, y0, times, options, max_steps=MAX_STEPS if max_steps is None else max_steps)


def _resolution(asked: Mapping[str, Any]) -> Resolution:
    """Tell how finely arguments ask to solve."""
    method, native = asked["method"], choose_engine(asked["method"], asked["engine"]) == "native"
    chooses = method in (ADAPTIVE if native else torchdiffeq_engine.ADAPTIVE)
    order, power = declared_order(method)
    return Resolution(
        "semilinear" if method in SEMILINEAR else "ordinary",
        chooses and asked["step_size"] is None,
        order,
        power,
        check_times(asked["times"], asked["y0"]),
    )


def _solve_own(bound: BoundField, y0: Tensor, times: Tensor, options: SolveOptions, *, max_steps: int) -> Solution:
    """Solve with steps of each sample's own."""
    method, norm = options.method, options.norm
    rows = times.expand(y0.shape[0], times.shape[-1])
    stepper = make_stepper(method, adaptive=True, rtol=norm.rtol, atol=norm.atol)
    lands = method not in TABLEAUS  # as the schedule of shared steps does, and why
    walk = walk_own(
        bound, y0, rows, stepper, norm, options.control, max_steps=max_steps, events=options.events, lands=lands
    )
    failed = (walk.status != int(Status.OK)) & (walk.status != int(Status.EVENT))
    if options.on_failure == "raise" and bool(failed.any()):
        row = int(failed.nonzero()[0])
        status = Status(int(walk.status[row]))
        unsolved = status is Status.UNSOLVED
        why = "its implicit equation was not solved" if unsolved else status.name.lower().replace("_", " ")
        reason = f"at time {float(walk.stopped_at[row]):g}, sample {row} could not go on: {why}"
        raise SolveError(options.explain(reason))
    states = walk.stack(times.shape[-1], options.on_failure)
    return Solution(
        times,
        states,
        walk.stats,
        walk.status,
        event_times=walk.event_times,
        event_states=walk.event_states,
        events=walk.log,
        _slope=bound,
    )


def _by_torchdiffeq(bound: BoundField, y0: Tensor, times: Tensor, options: SolveOptions) -> Solution:
    """Solve by that library."""
    try:
        return solve_torchdiffeq(
            bound,
            y0,
            times,
            method=options.method,
            rtol=options.rtol,
            atol=options.atol,
            step_size=options.step_size,
            gradient=options.gradient,
            max_steps=options.max_steps,
        )
    except SolveError:
        if options.on_failure == "raise":
            raise
        lost = y0.new_full((y0.shape[0], times.shape[-1], *y0.shape[1:]), float("nan"))
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=bound.evaluations, accepted=0, rejected=0)
        return Solution(times, lost, none, _slope=bound)
