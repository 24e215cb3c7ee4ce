"""One call that solves controlled differential equations."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.controlled_field import Control, ControlledField, StagedField
from integrand.core.numerics.engines import torchdiffeq_engine
from integrand.core.numerics.field_call import BoundField, Field
from integrand.core.numerics.gradients.discrete_adjoint import solve_taped
from integrand.core.numerics.gradients.tape import open_tape
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.registry import ADAPTIVE, TABLEAUS, declared_order
from integrand.core.numerics.methods.tableau import Tableau
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.solve_ode import METHODS, Gradient, solve_ode
from integrand.core.numerics.solve_options import choose_engine
from integrand.core.numerics.solved_by import Resolution, as_asked, is_replaced, replaced
from integrand.core.numerics.stepping.fixed_step import count_substeps, walk_fixed
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.core.numerics.stepping.walk import StepTaken
from integrand.core.paths.knots import locate, merge_knots


def solve_cde(
    field: Field,
    path: Control,
    z0: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    method: str = "rk4",
    step_size: float | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    gradient: Gradient = "direct",
) -> Solution:
    """Solve dz = f(t, z) dX(t), z(t_0) = z0, and return z at every time asked for.

    Methods with fixed steps walk from knot to knot of the path, landing on the output times, one step for each interval
    unless ``step_size`` says otherwise. The derivatives dX/dt of all stages of all steps are evaluated in one call
    before the first step, each on its own step's side of a knot; a stage then costs one call of the field and one
    contraction. Adaptive methods hand f(t, z) dX/dt to ``solve_ode``, and land on the knots where the path has kinks.

    Gradients reach z0, the field's parameters, ``args`` and the path's values; the times are held fixed.

    Args:
        field: f, called ``field(t, z)``, or ``field(t, z, args)`` when ``args`` are given, with t a scalar or (B,) and
            z (B, H); returns (B, H, C).
        path: the control X.
        z0: initial states, (B, H), real floating point.
        times: output times, the first being t_0; (T,) shared, or (B, T) with each sample's own. They never turn back,
            and stay on the path; where they repeat, the state waits.
        args: a tensor or nested tuple, list or dict of tensors, each (B, ...), handed to the field.
        method: a native method of ``solve_ode``.
        step_size: longest step, in the units of the path's times; an adaptive method takes equal steps when it is
            given.
        rtol: relative tolerance of adaptive methods.
        atol: absolute tolerance of adaptive methods.
        gradient: ``"direct"`` differentiates the steps taken; adaptive methods hand others to ``solve_ode``.

    Returns:
        A ``Solution`` with states (B, T, H). Along a path with kinks it does not interpolate: ask for the times.

    Raises:
        InputError: an argument is out of its range, or the times leave the path.
        SolveError: an adaptive method could not reach the last time.

    Example:
        >>> from integrand.core.paths import LinearPath
        >>> knots = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
        >>> path = LinearPath(torch.tensor([[[0.0], [2.0], [1.0]]], dtype=torch.float64), knots)
        >>> z0 = torch.exp(path.initial)
        >>> solution = solve_cde(lambda t, z: z.unsqueeze(-1), path, z0, [0.0, 3.0], step_size=0.01)
        >>> round(solution.states[0, -1, 0].item(), 6)  # dz = z dX has the solution exp(X)
        2.718282

    Source: Kidger et al. (2020), Neural controlled differential equations for irregular time series.
    """
    if is_replaced() and (solved := replaced(solve_cde, locals(), _resolution)) is not None:
        return solved
    times = _check(path, z0, times, gradient)
    if method in TABLEAUS and (step_size is not None or not TABLEAUS[method].adaptive):
        if gradient != "direct":
            raise InputError(f"gradient={gradient!r} is not available with fixed steps of {method!r}: take 'direct'.")
        states, stats = _solve_fixed(field, path, z0, times, args, TABLEAUS[method], step_size)
    else:
        options = {"args": args, "method": method, "rtol": rtol, "atol": atol, "gradient": gradient}
        states, stats = _solve_adaptive(field, path, z0, times, options)
    slope = None if path.kinks else BoundField(ControlledField(field, path, z0.shape[0]), args, z0.shape[0])
    return Solution(times.to(z0.dtype), states, stats, _slope=slope)


def _resolution(asked: Mapping[str, Any]) -> Resolution:
    """Tell how finely arguments ask to solve."""
    path, method = asked["path"], asked["method"]
    choose_engine(method, None)  # which refuses an unknown one
    times = _check(path, asked["z0"], asked["times"], asked["gradient"])
    fixed = method in TABLEAUS and (asked["step_size"] is not None or not TABLEAUS[method].adaptive)
    chooses = not fixed and (method in ADAPTIVE or method in torchdiffeq_engine.ADAPTIVE)
    grid = merge_knots(path.times, times).times if fixed else None
    return Resolution("controlled", chooses, *declared_order(method), grid)


def _solve_fixed(
    field: Field, path: Control, z0: Tensor, times: Tensor, args: Any, tableau: Tableau, step_size: float | None
) -> tuple[Tensor, SolverStats]:
    """Walk in fixed steps that land on knots and output times."""
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the path's units.")
    grid = merge_knots(path.times, times)
    intervals = grid.times.shape[-1] - 1
    substeps = 1 if step_size is None or intervals == 0 else count_substeps(grid.times, step_size)
    bound = BoundField(StagedField(field, _stage_slopes(path, grid.times, substeps, tableau, z0)), args, z0.shape[0])
    on_grid = grid.times.to(z0.dtype)

    def run(field: BoundField, start: Tensor) -> tuple[Tensor, list[StepTaken]]:
        states, steps = walk_fixed(field, start, on_grid, ExplicitRungeKutta(tableau, estimate=False), substeps)
        return torch.stack(states, dim=1), steps

    tape = open_tape(bound, z0, on_grid)
    states = run(bound, z0)[0] if tape is None else solve_taped(run, bound, tape, tableau, z0)[0]
    steps = intervals * substeps
    stats = SolverStats.shared(z0.shape[0], z0.device, evaluations=steps * tableau.stages, accepted=steps, rejected=0)
    return _take(states, grid.places), stats


def _stage_slopes(path: Control, grid: Tensor, substeps: int, tableau: Tableau, z0: Tensor) -> tuple[Tensor, ...]:
    """Return dX/dt, (B, 1, C), of every stage of every step, in order, by one look at the path."""
    abscissae = sorted(set(tableau.c))  # stages at the same time share their slope
    h = (grid.diff(dim=-1) / substeps).unsqueeze(-1)
    starts = (grid[..., :-1, None] + h * torch.arange(substeps, device=grid.device)).flatten(-2)
    h = h.expand(*h.shape[:-1], substeps).flatten(-2)
    # A stage on a knot belongs to the interval that its step lies in, which the step's middle tells.
    interval = locate(path.times, starts + h / 2)
    t = torch.stack([starts + c * h for c in abscissae], dim=-1).flatten(-2)
    slopes = path.derivative(t, interval=interval.repeat_interleave(len(abscissae), dim=-1))
    if slopes.shape != (len(z0), t.shape[-1], path.channels):
        raise InputError(f"the path is for a batch of {slopes.shape[0]}, z0 for {len(z0)}: give a path for each state.")
    each = slopes.to(z0.dtype).transpose(0, 1).unsqueeze(2).unbind()
    places = [abscissae.index(c) for c in tableau.c]
    return tuple(each[step + place] for step in range(0, len(each), len(abscissae)) for place in places)


def _solve_adaptive(
    field: Field, path: Control, z0: Tensor, times: Tensor, options: dict[str, Any]
) -> tuple[Tensor, SolverStats]:
    """Solve as an ordinary equation; no step straddles a kink, nor sees the slope beyond it."""
    controlled = ControlledField(field, path, z0.shape[0])
    if not path.kinks:
        with as_asked():
            solution = solve_ode(controlled, z0, times, **options)
        return solution.states, solution.stats
    if options["method"] in METHODS["torchdiffeq"] and options["method"] not in METHODS["native"]:
        raise InputError(
            f"method={options['method']!r} does not see kinks: take a native one ({', '.join(METHODS['native'])})."
        )
    grid = merge_knots(path.times, times)
    on_grid = grid.times.to(z0.dtype)
    # The clock of times of one's own counts the intervals.
    jumps = on_grid[1:-1].tolist() if on_grid.dim() == 1 else [float(i) for i in range(1, on_grid.shape[1] - 1)]
    with as_asked():
        solution = solve_ode(controlled, z0, on_grid, control=StepControl(jump_times=tuple(jumps)), **options)
    return _take(solution.states, grid.places), solution.stats


def _take(states: Tensor, places: Tensor) -> Tensor:
    """Return the states (B, G, H) at places (T,) or (B, T)."""
    if places.dim() == 1:
        return states[:, places]
    return states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


def _check(path: Control, z0: Tensor, times: Tensor | Sequence[float], gradient: str) -> Tensor:
    """Return the times in the path's type, or say what is wrong."""
    if not z0.is_floating_point() or z0.dim() != 2:
        raise InputError(f"z0 must be real floating point (B, H), got {z0.dtype} {tuple(z0.shape)}.")
    if not isinstance(times, Tensor):
        times = torch.tensor(times, dtype=path.times.dtype, device=path.times.device)
    if times.dim() not in (1, 2) or times.shape[-1] < 1 or (times.dim() == 2 and len(times) != len(z0)):
        raise InputError(f"times must be (T,) or ({len(z0)}, T) with T >= 1, got shape {tuple(times.shape)}.")
    if times.requires_grad:
        raise InputError("the solution is not differentiated by its times: detach them.")
    times = times.to(path.times)
    # The grid's length will make the host wait for the device in any case.
    steps = times.diff(dim=-1)
    if not bool(((steps >= 0).all(-1) | (steps <= 0).all(-1)).all()):
        raise InputError(f"times must not turn back, got {times.flatten().tolist()[:6]}...: sort them.")
    first, last = path.times.detach()[..., :1], path.times.detach()[..., -1:]
    rounding = 4 * torch.finfo(times.dtype).eps * torch.maximum(first.abs(), last.abs())
    if not bool(((times >= first - rounding) & (times <= last + rounding)).all()):
        raise InputError(
            f"times from {float(times.min()):g} to {float(times.max()):g} leave the path, whose samples begin at "
            f"{float(first.max()):g} and end at {float(last.min()):g}: give each sample its own times, (B, T)."
        )
    if gradient == "adjoint" and getattr(path, "coefficients", z0).requires_grad:
        raise InputError("gradient='adjoint' does not reach the path, which asks for it: take 'direct', or detach it.")
    return times
