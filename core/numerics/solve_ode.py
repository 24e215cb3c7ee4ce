"""One call that solves initial value problems."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics import torchdiffeq_engine
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.fixed_step import solve_fixed
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.tableau import TABLEAUS
from integrand.core.numerics.torchdiffeq_engine import SolveError, solve_torchdiffeq

__all__ = ["METHODS", "SolveError", "solve_ode"]

METHODS: dict[str, tuple[str, ...]] = {
    "native": tuple(TABLEAUS),
    "torchdiffeq": (*torchdiffeq_engine.ADAPTIVE, *torchdiffeq_engine.FIXED),
}
"""Methods by engine. The first engine that has a method is its default."""

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
        y0: initial states, (B, ...), real floating point.
        times: output times, the first being t_0; (T,) shared, or (B, T) with each sample's own. Increasing or
            decreasing.
        args: a tensor or nested tuple, list or dict of tensors, each (B, ...), handed to the field.
        method: a name in ``METHODS``. Methods with a fixed step take one step from each time to the next unless
            ``step_size`` says otherwise.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        step_size: longest step of a method with fixed steps, in the units of ``times``.
        stepping: ``"shared"``, one step size for the batch; ``"per_sample"`` is not available in these engines.
        gradient: ``"direct"`` differentiates the steps taken; ``"adjoint"`` solves the adjoint equation backwards in
            O(1) memory (torchdiffeq engine, field an ``nn.Module``). ``"checkpoint"`` and ``"reversible"`` are not
            available in these engines.
        event: not available in these engines.
        max_steps: most steps an adaptive method may take between two output times.
        on_failure: what an adaptive solve that cannot go on does: ``"raise"`` a ``SolveError``, or return ``"nan"``
            states with status NONFINITE. ``"last"`` is not available in these engines. Fixed steps cannot fail: a
            state that overflows is returned as it is, with status NONFINITE.
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
    times = _check_times(times, y0)
    chosen = _choose_engine(method, engine)
    _refuse_unavailable(chosen, stepping, gradient, event, on_failure, compile)
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")
    if min(rtol, atol) < 0 or max(rtol, atol) == 0:
        raise InputError(f"rtol={rtol!r} and atol={atol!r} must not be negative, and not both zero.")
    if method in torchdiffeq_engine.ADAPTIVE and step_size is not None:
        raise InputError(
            f"step_size={step_size!r} with the adaptive method {method!r} is not available in engine {chosen!r}: "
            f"leave it out, or take a method with fixed steps ({', '.join(TABLEAUS)})."
        )
    bound = BoundField(field, args, y0.shape[0])
    if times.shape[-1] == 1:
        none = SolverStats.shared(y0.shape[0], y0.device, evaluations=0, accepted=0, rejected=0)
        return Solution(times, y0.unsqueeze(1), none, _slope=bound)
    if chosen == "native":
        return solve_fixed(bound, y0, times, TABLEAUS[method], step_size)
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


def _check_times(times: Tensor | Sequence[float], y0: Tensor) -> Tensor:
    if not y0.is_floating_point() or y0.dim() < 1:
        raise InputError(f"y0 must be real floating point with a batch dimension, got {y0.dtype} {tuple(y0.shape)}.")
    if not isinstance(times, Tensor):
        times = torch.tensor(times, dtype=y0.dtype, device=y0.device)
    times = times.to(dtype=y0.dtype)
    if times.dim() not in (1, 2) or times.shape[-1] < 1:
        raise InputError(f"times must be (T,) or (B, T) with T >= 1, got shape {tuple(times.shape)}.")
    if times.dim() == 2 and times.shape[0] != y0.shape[0]:
        raise InputError(
            f"times has {times.shape[0]} rows for a batch of {y0.shape[0]}: give (T,) shared times or a row a sample."
        )
    if times.device.type == "cpu" and times.dim() == 1 and times.numel() > 1:
        # On an accelerator this look would make the host wait; there the caller's times are trusted.
        steps = times.detach().diff()
        if not (bool((steps > 0).all()) or bool((steps < 0).all())):
            raise InputError(
                f"times must be strictly increasing or strictly decreasing, got {times.detach().tolist()[:6]}...: "
                "sort them and drop repeats."
            )
    return times


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
    available = {
        "stepping": (stepping, ("shared",), ("shared", "per_sample")),
        "gradient": (
            gradient,
            ("direct",) if engine == "native" else ("direct", "adjoint"),
            ("direct", "checkpoint", "adjoint", "reversible"),
        ),
        "on_failure": (on_failure, ("raise", "nan"), ("raise", "nan", "last")),
        "event": ("given" if event is not None else "None", ("None",), ("None", "given")),
        "compile": (str(compile), ("False",), ("False", "True")),
    }
    for name, (value, here, known) in available.items():
        if value not in known:
            raise unknown(name, value, known)
        if value not in here:
            raise InputError(f"{name}={value!r} is not available in engine {engine!r}: take {' or '.join(here)}.")
