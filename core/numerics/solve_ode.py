"""One call that solves initial value problems."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics import torchdiffeq_engine
from integrand.core.numerics.discrete_adjoint import solve_taped
from integrand.core.numerics.explicit import ExplicitRungeKutta
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.fixed_step import count_substeps, walk_fixed
from integrand.core.numerics.methods import TABLEAUS
from integrand.core.numerics.output_times import check_times
from integrand.core.numerics.own_steps import walk_own
from integrand.core.numerics.shared_steps import RowClock, SharedClock, walk_shared
from integrand.core.numerics.solution import Solution, SolverStats, Status
from integrand.core.numerics.step_control import ErrorNorm, StepControl
from integrand.core.numerics.tape import open_tape
from integrand.core.numerics.torchdiffeq_engine import solve_torchdiffeq
from integrand.core.numerics.walk import SolveError, StepTaken, Walk

__all__ = ["METHODS", "SolveError", "solve_ode"]

METHODS: dict[str, tuple[str, ...]] = {
    "native": tuple(TABLEAUS),
    "torchdiffeq": (*torchdiffeq_engine.ADAPTIVE, *torchdiffeq_engine.FIXED),
}
"""Methods by engine. The first engine that has a method is its default."""

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
    event: Callable[..., Tensor] | None = None,
    max_steps: int | None = None,
    on_failure: OnFailure = "raise",
    engine: Literal["native", "torchdiffeq"] | None = None,
    compile: bool = False,
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
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        step_size: longest step, in the units of ``times``; an adaptive method takes equal steps when it is given.
        stepping: how an adaptive method chooses its steps: ``"shared"``, one step size for the batch; with times (B, T)
            one share of every sample's own interval. ``"per_sample"``, each sample its own, until it arrives.
        control: how steps grow and shrink, their limits, and the times at which the field jumps.
        gradient: ``"direct"`` differentiates the steps taken; ``"adjoint"`` solves the adjoint equation backwards in
            O(1) memory (torchdiffeq engine, field an ``nn.Module``). ``"checkpoint"`` and ``"reversible"`` are not
            available in these engines.
        event: not available in these engines.
        max_steps: most steps an adaptive solve may try, 100,000 when None.
        on_failure: what becomes of samples whose solve cannot go on or whose state is not finite: ``"raise"`` a
            ``SolveError``; ``"nan"`` for the outputs not reached; ``"last"``, the last state reached. ``status`` tells
            which they are. With fixed steps on an accelerator states are returned as they are, for to look at them
            would make the host wait.
        engine: ``"native"`` or ``"torchdiffeq"``; when None, the first that has the method.
        compile: not available in these engines.

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
    _refuse_unavailable(chosen, stepping, gradient, event, on_failure, compile)
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")
    if min(rtol, atol) < 0 or max(rtol, atol) == 0:
        raise InputError(f"rtol={rtol!r} and atol={atol!r} must not be negative, and not both zero.")
    bound = BoundField(field, args, y0.shape[0])
    if times.shape[-1] == 1:
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=0, accepted=0, rejected=0)
        return Solution(times, y0.unsqueeze(1), none, _slope=bound)
    if chosen == "torchdiffeq":
        if method in torchdiffeq_engine.ADAPTIVE and step_size is not None:
            raise InputError(
                f"step_size={step_size!r} with the adaptive method {method!r} is not available in engine {chosen!r}: "
                f"leave it out, or take a method with fixed steps ({', '.join(TABLEAUS)})."
            )
        return _by_torchdiffeq(bound, y0, times, method, rtol, atol, step_size, gradient, max_steps, on_failure)
    control = control or StepControl()
    if step_size is not None or not TABLEAUS[method].adaptive:
        return _fixed(bound, y0, times, method, step_size, on_failure)
    norm = ErrorNorm(rtol, atol, each=stepping == "per_sample")
    limit = MAX_STEPS if max_steps is None else max_steps
    if stepping == "per_sample":
        return _own(bound, y0, times, method, norm, control, limit, on_failure)
    return _shared(bound, y0, times, method, norm, control, limit, on_failure)


def _fixed(
    bound: BoundField, y0: Tensor, times: Tensor, method: str, step_size: float | None, on_failure: str
) -> Solution:
    tableau = TABLEAUS[method]
    substeps = 1 if step_size is None else count_substeps(times, step_size)
    count = (times.shape[-1] - 1) * substeps

    def run(field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
        states, steps = walk_fixed(field, start, times, ExplicitRungeKutta(tableau, estimate=False), substeps)
        return torch.stack(states, dim=1), steps

    tape = open_tape(bound, y0, times)
    states = run(bound, y0)[0] if tape is None else solve_taped(run, bound, tape, tableau, y0)[0]
    if on_failure == "raise" and y0.device.type == "cpu":
        _refuse_nonfinite(states, times, method)
    evaluations = count * tableau.stages
    stats = SolverStats.shared(y0.shape[0], y0.device, evaluations=evaluations, accepted=count, rejected=0)
    return Solution(times, states, stats, _slope=bound)


def _shared(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    method: str,
    norm: ErrorNorm,
    control: StepControl,
    max_steps: int,
    on_failure: str,
) -> Solution:
    tableau = TABLEAUS[method]
    clock = SharedClock(times, lands=not tableau.dense) if times.dim() == 1 else RowClock(times)
    walked: list[Walk] = []

    def run(field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
        stepper = ExplicitRungeKutta(tableau, estimate=True)
        walk = walk_shared(field, start, clock, stepper, norm, control, max_steps=max_steps)
        if walk.status is not Status.OK and on_failure == "raise":
            raise SolveError(_explain(method, walk.reason, norm))
        walked.append(walk)
        return walk.stack(times.shape[-1], on_failure), walk.steps

    tape = open_tape(bound, y0, times)
    if tape is None:
        states, called = run(bound, y0)[0], bound
    else:
        states, called = solve_taped(run, bound, tape, tableau, y0)
    walk = walked[0]
    stats = SolverStats.shared(
        y0.shape[0], y0.device, evaluations=called.evaluations, accepted=len(walk.steps), rejected=walk.rejected
    )
    status = torch.full((y0.shape[0],), int(walk.status), device=y0.device)
    return Solution(times, states, stats, status, _slope=bound)


def _own(
    bound: BoundField,
    y0: Tensor,
    times: Tensor,
    method: str,
    norm: ErrorNorm,
    control: StepControl,
    max_steps: int,
    on_failure: str,
) -> Solution:
    rows = times.expand(y0.shape[0], times.shape[-1])
    stepper = ExplicitRungeKutta(TABLEAUS[method], estimate=True)
    walk = walk_own(bound, y0, rows, stepper, norm, control, max_steps=max_steps)
    if on_failure == "raise" and bool((walk.status != int(Status.OK)).any()):
        row = int((walk.status != int(Status.OK)).nonzero()[0])
        name = Status(int(walk.status[row])).name.lower().replace("_", " ")
        reason = f"at time {float(walk.stopped_at[row]):g}, sample {row} could not go on: {name}"
        raise SolveError(_explain(method, reason, norm))
    states = walk.stack(times.shape[-1], on_failure)
    return Solution(times, states, walk.stats, walk.status, _slope=bound)


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
    finite_BT = torch.isfinite(states.detach()).flatten(2).all(2) if states.dim() > 2 else torch.isfinite(states)
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


def _refuse_unavailable(
    engine: str, stepping: str, gradient: str, event: object, on_failure: str, compile: bool
) -> None:
    """Say plainly what the signature has and this engine has not."""
    native = engine == "native"
    available = {
        "stepping": (stepping, ("shared", "per_sample") if native else ("shared",), ("shared", "per_sample")),
        "gradient": (
            gradient,
            ("direct",) if native else ("direct", "adjoint"),
            ("direct", "checkpoint", "adjoint", "reversible"),
        ),
        "on_failure": (on_failure, ("raise", "nan", "last") if native else ("raise", "nan"), ("raise", "nan", "last")),
        "event": ("given" if event is not None else "None", ("None",), ("None", "given")),
        "compile": (str(compile), ("False",), ("False", "True")),
    }
    for name, (value, here, known) in available.items():
        if value not in known:
            raise unknown(name, value, known)
        if value not in here:
            raise InputError(f"{name}={value!r} is not available in engine {engine!r}: take {' or '.join(here)}.")
