"""One call that solves initial value problems."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.engines import torchdiffeq_engine
from integrand.core.numerics.engines.torchdiffeq_engine import solve_torchdiffeq
from integrand.core.numerics.exponential.semilinear import SEMILINEAR, solve_semilinear
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.gradients.checkpointed import solve_checkpointed
from integrand.core.numerics.gradients.continuous_adjoint import solve_adjoint
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.reversible import solve_reversible
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.registry import ADAPTIVE, METHODS, TABLEAUS, make_stepper
from integrand.core.numerics.output_times import check_times
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.stepping.dense_output import DenseOutput
from integrand.core.numerics.stepping.event import Event, as_events
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.core.numerics.stepping.own_steps import walk_own
from integrand.core.numerics.stepping.schedule import EqualSteps, Schedule, SharedSteps
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stepping.walk import SolveError, StepTaken, Walk

__all__ = ["METHODS", "SolveError", "solve_ode"]

MAX_STEPS = 100_000
"""Most steps that an adaptive solve tries unless told otherwise."""

Gradient = Literal["direct", "checkpoint", "adjoint", "reversible"]
Stepping = Literal["shared", "per_sample"]
OnFailure = Literal["raise", "nan", "last"]


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
    if y0.dim() < 1 or not (y0.is_floating_point() or y0.is_complex()):
        raise InputError(f"y0 must be floating point with a batch dimension, got {y0.dtype} {tuple(y0.shape)}.")
    times = check_times(times, y0)
    chosen = _choose_engine(method, engine)
    _check_options(method, chosen, stepping, gradient, event, on_failure, compile, step_size, rtol, atol)
    bound = BoundField(field, args, y0.shape[0])
    if times.shape[-1] == 1:
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=0, accepted=0, rejected=0)
        return Solution(times, y0.unsqueeze(1), none, _slope=bound)
    if chosen == "torchdiffeq":
        return _by_torchdiffeq(bound, y0, times, method, rtol, atol, step_size, gradient, max_steps, on_failure)
    if method in SEMILINEAR:
        return solve_semilinear(field, y0, times, args=args, method=method, step_size=step_size)  # pyright: ignore[reportArgumentType]
    limit, control = MAX_STEPS if max_steps is None else max_steps, control or StepControl()
    events = as_events(event)
    own = stepping == "per_sample" or bool(events)
    norm = ErrorNorm(rtol, atol, each=own)
    fixed = step_size is not None or method not in ADAPTIVE
    if dense and (fixed or times.dim() == 2 or own or gradient != "direct"):
        raise InputError(
            "dense=True is for adaptive methods with shared steps, times (T,) and gradient='direct': leave it out, and "
            "ask for the output times that you need."
        )
    if own:
        return _own(bound, y0, times, method, norm, control, limit, on_failure, events)
    if fixed:
        schedule: Schedule = EqualSteps(1 if step_size is None else count_substeps(times, step_size))
    else:
        schedule = SharedSteps(norm, control, limit)
    return _Shared(bound, y0, times, method, schedule, norm, gradient, on_failure, compile, dense).solve()


class _Shared:
    """A solve in which the batch shares its steps."""

    def __init__(
        self,
        bound: BoundField,
        y0: Tensor,
        times: Tensor,
        method: str,
        schedule: Schedule,
        norm: ErrorNorm,
        gradient: str,
        on_failure: str,
        compile: bool,
        dense: bool,
    ) -> None:
        self.bound, self.y0, self.times = bound, y0, times
        self.method, self.schedule, self.norm = method, schedule, norm
        self.gradient, self.on_failure, self.compile = gradient, on_failure, compile
        self.walk: Walk | None = None
        self.dense: Literal[False] | DenseOutput | None = None if dense else False

    def solve(self) -> Solution:
        states, called = self._by_steps() if self.gradient == "direct" else self._by_other_gradient()
        walk, batch, device = self.walk, self.y0.shape[0], self.y0.device
        if isinstance(self.schedule, SharedSteps):
            assert walk is not None
            if walk.status is not Status.OK and self.on_failure == "raise":
                raise SolveError(_explain(self.method, walk.reason, self.norm))
            count = {"accepted": len(walk.steps), "rejected": walk.rejected}
            outcome = torch.full((batch,), int(walk.status), device=device)
        else:
            if self.on_failure == "raise" and device.type == "cpu":
                _refuse_nonfinite(states, self.times, self.method)
            count = {"accepted": (self.times.shape[-1] - 1) * self.schedule.substeps, "rejected": 0}
            outcome = None
        stats = SolverStats.shared(batch, device, evaluations=called, **count)
        return Solution(self.times, states, stats, outcome, _slope=self.bound, _dense=self.dense or None)

    def _by_steps(self) -> tuple[Tensor, int]:
        """Solve so that autograd, or the field's own tape, differentiates the steps; returns states and evaluations."""
        tape = None
        if self.method in TABLEAUS and not self.compile and self.dense is False:
            tape = open_tape(self.bound, self.y0, self.times)
        if tape is None:
            return self._run(self.bound, self.y0)[0], self.bound.evaluations
        states, taped = solve_taped(self._run, self.bound, tape, TABLEAUS[self.method], self.y0)
        return states, taped.evaluations

    def _run(self, field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
        adaptive = isinstance(self.schedule, SharedSteps)
        stepper = make_stepper(
            self.method, adaptive=adaptive, rtol=self.norm.rtol, atol=self.norm.atol, compile=self.compile
        )
        if self.dense is not False and isinstance(self.schedule, SharedSteps):
            walk = self.schedule.walk(field, start, self.times, stepper, keep=True)
            self.dense = DenseOutput(walk.steps, stepper) if walk.steps else None
        else:
            walk = self.schedule.walk(field, start, self.times, stepper)
        if self.walk is None:
            self.walk = walk
        return walk.stack(self.times.shape[-1], self.on_failure), walk.steps

    def _by_other_gradient(self) -> tuple[Tensor, int]:
        bound, y0, times, tableau = self.bound, self.y0, self.times, TABLEAUS[self.method]
        if self.gradient == "reversible":
            if not isinstance(self.schedule, EqualSteps):
                raise InputError(
                    "gradient='reversible' takes fixed steps: give step_size, or a method without an error estimate."
                )
            return solve_reversible(bound, y0, times, tableau, self.schedule.substeps), bound.evaluations
        solve = solve_checkpointed if self.gradient == "checkpoint" else solve_adjoint
        solved = solve(bound, y0, times, tableau, self.schedule, on_failure=self.on_failure)
        self.walk = solved.walk
        return solved.states, bound.evaluations


def _own(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    method: str,
    norm: ErrorNorm,
    control: StepControl,
    max_steps: int,
    on_failure: str,
    events: tuple[Event, ...],
) -> Solution:
    rows = times.expand(y0.shape[0], times.shape[-1])
    stepper = make_stepper(method, adaptive=True, rtol=norm.rtol, atol=norm.atol)
    lands = method not in TABLEAUS  # as the schedule of shared steps does, and why
    walk = walk_own(bound, y0, rows, stepper, norm, control, max_steps=max_steps, events=events, lands=lands)
    failed = (walk.status != int(Status.OK)) & (walk.status != int(Status.EVENT))
    if on_failure == "raise" and bool(failed.any()):
        row = int(failed.nonzero()[0])
        status = Status(int(walk.status[row]))
        unsolved = status is Status.UNSOLVED
        why = "its implicit equation was not solved" if unsolved else status.name.lower().replace("_", " ")
        reason = f"at time {float(walk.stopped_at[row]):g}, sample {row} could not go on: {why}"
        raise SolveError(_explain(method, reason, norm))
    states = walk.stack(times.shape[-1], on_failure)
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


def _explain(method: str, reason: str, norm: ErrorNorm) -> str:
    return (
        f"{method} could not go on: {reason}. The state or the field grows without bound or is stiff: loosen "
        f"rtol={norm.rtol:g} and atol={norm.atol:g}, take an implicit method, bound the field, or lower the learning "
        "rate if this came up in training."
    )


def _refuse_nonfinite(states: Tensor, times: Tensor, method: str) -> None:
    """Name the first state that is not finite."""
    if bool(torch.isfinite(states.detach().sum())):  # one pass over the states; a sum of finite ones may overflow
        return
    finite_BT = torch.isfinite(states.detach()).reshape(*states.shape[:2], -1).all(-1)
    if bool(finite_BT.all()):
        return
    output = int((~finite_BT).any(0).nonzero()[0])
    row = int((~finite_BT[:, output]).nonzero()[0])
    at = float(times.detach().expand(states.shape[0], -1)[row, output])
    raise SolveError(
        f"{method} could not go on: sample {row} is infinite or not a number at time {at:g}, output {output}. Take "
        "shorter steps, bound the field, or lower the learning rate if this came up in training."
    )


def _by_torchdiffeq(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    method: str,
    rtol: float,
    atol: float,
    step_size: float | None,
    gradient: str,
    max_steps: int | None,
    on_failure: str,
) -> Solution:
    try:
        return solve_torchdiffeq(
            bound,
            y0,
            times,
            method=method,
            rtol=rtol,
            atol=atol,
            step_size=step_size,
            gradient=gradient,
            max_steps=max_steps,
        )
    except SolveError:
        if on_failure == "raise":
            raise
        lost = y0.new_full((y0.shape[0], times.shape[-1], *y0.shape[1:]), float("nan"))
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=bound.evaluations, accepted=0, rejected=0)
        return Solution(times, lost, none, _slope=bound)


def _choose_engine(method: str, engine: str | None) -> str:
    if engine is not None and engine not in METHODS:
        raise unknown("engine", engine, METHODS)
    known = METHODS[engine] if engine else tuple(dict.fromkeys(name for names in METHODS.values() for name in names))
    if method not in known:
        raise unknown("method", method, known)
    return engine or next(name for name, methods in METHODS.items() if method in methods)


def _check_options(
    method: str,
    engine: str,
    stepping: str,
    gradient: str,
    event: object,
    on_failure: str,
    compile: bool,
    step_size: float | None,
    rtol: float,
    atol: float,
) -> None:
    """Say plainly what is out of range, and what the signature has and this engine or method has not."""
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")
    if not (min(rtol, atol) >= 0 and max(rtol, atol) > 0):
        raise InputError(f"rtol={rtol!r} and atol={atol!r} must not be negative, and not both zero.")
    native = engine == "native"
    where, explicit = (f"method {method!r}" if native else f"engine {engine!r}"), native and method in TABLEAUS
    fixed = step_size is not None or (native and method not in ADAPTIVE)
    every = ("direct", "checkpoint", "adjoint", "reversible")
    stepping_here = ("shared", "per_sample") if native and not fixed else ("shared",)
    event_here = ("None", "given") if native and not fixed else ("None",)
    available = {
        "stepping": (stepping, stepping_here, ("shared", "per_sample")),
        "gradient": (gradient, every if explicit else ("direct",) if native else ("direct", "adjoint"), every),
        "on_failure": (on_failure, ("raise", "nan", "last") if native else ("raise", "nan"), ("raise", "nan", "last")),
        "event": ("None" if event is None else "given", event_here, ("None", "given")),
        "compile": (str(compile), ("False", "True") if explicit else ("False",), ("False", "True")),
    }
    for name, (value, here, known) in available.items():
        if value not in known:
            raise unknown(name, value, known)
        if name == "event" and value not in here:
            raise InputError(
                f"an event takes the steps of an adaptive native method, which {where} does not choose: take 'dopri5' "
                "or another, and leave step_size out."
            )
        if value not in here:
            steps = " with fixed steps" if name == "stepping" and native else ""
            raise InputError(f"{name}={value!r} is not available in {where}{steps}: take {' or '.join(here)}.")
    if gradient != "direct" and (stepping == "per_sample" or event is not None):
        what = "stepping='per_sample'" if stepping == "per_sample" else "an event"
        raise InputError(f"gradient={gradient!r} is not available with {what}: take direct.")
    if method in torchdiffeq_engine.ADAPTIVE and not native and step_size is not None:
        raise InputError(
            f"step_size={step_size!r} with the adaptive method {method!r} is not available in engine {engine!r}: leave "
            f"it out, or take a method with fixed steps ({', '.join(torchdiffeq_engine.FIXED)})."
        )
