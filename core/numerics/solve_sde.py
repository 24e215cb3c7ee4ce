"""One call that solves stochastic differential equations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.engines import torchsde_engine
from integrand.core.numerics.engines.torchsde_engine import solve_torchsde
from integrand.core.numerics.field_call import Field, leaves
from integrand.core.numerics.output_times import check_times
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.solve_ode import MAX_STEPS, SolveError
from integrand.core.numerics.solved_by import Resolution, is_replaced, replaced
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stochastic.adaptive import CONTROL, solve_adaptive
from integrand.core.numerics.stochastic.brownian import Brownian, BrownianPath
from integrand.core.numerics.stochastic.discrete_adjoint import solve_fused
from integrand.core.numerics.stochastic.equation import Equation
from integrand.core.numerics.stochastic.failure import CURE, tell_adaptive_failure, tell_failure
from integrand.core.numerics.stochastic.fitting import SDE_METHODS, check_method, check_steps
from integrand.core.numerics.stochastic.noise_source import grid_increments, refinable_path, seeded_path
from integrand.core.numerics.stochastic.reversible import field_parameters, solve_reversible
from integrand.core.numerics.stochastic.schemes import SCHEMES, Scheme
from integrand.core.numerics.stochastic.walk import Grid, solve_direct

__all__ = ["SDE_METHODS", "SolveError", "StochasticSolution", "solve_sde"]


@dataclass(frozen=True)
class StochasticSolution(Solution):
    """A path of a stochastic differential equation at the times asked for.

    Attributes:
        path_kl: (B, T), the KL divergence from the process with the prior drift that has gathered along the path up
            to each time; None where no prior drift was given. Its mean over paths estimates the divergence.
    """

    path_kl: Tensor | None = None


def solve_sde(
    drift: Field,
    diffusion: Field,
    y0: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    noise: Literal["diagonal", "scalar", "commutative", "additive", "general"] = "diagonal",
    calculus: Literal["ito", "stratonovich"] = "ito",
    method: str = "euler",
    step_size: float | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    control: StepControl | None = None,
    max_steps: int | None = None,
    seeds: Tensor | Sequence[int] | None = None,
    brownian: Brownian | None = None,
    generator: torch.Generator | None = None,
    prior_drift: Field | None = None,
    gradient: Literal["direct", "reversible", "adjoint"] = "direct",
    on_failure: Literal["raise", "nan", "last"] = "raise",
    engine: Literal["native", "torchsde"] = "native",
) -> StochasticSolution:
    """Solve dy = f(t, y) dt + g(t, y) dW, y(t_0) = y0, and return y at every time asked for.

    The walk goes from the first time to the last, with dW in its direction, also where times decrease. Steps are equal;
    with ``rtol`` and ``atol`` each sample chooses its own, along its one path, so that the estimated error of each is
    below ``atol + rtol |y|`` in the root mean square of the components: Heun's scheme by comparison with Euler's, the
    others by halving the step. With ``prior_drift`` p, the path KL of Girsanov's theorem is integrated alongside:

        KL(t) = int_{t_0}^t |u|^2 / 2 ds,    g u = f - p.

    Args:
        drift: f, called ``drift(t, y)``, or ``drift(t, y, args)`` when ``args`` are given; t is a scalar or (B,).
        diffusion: g, called alike. It returns (B, ...) like the state for diagonal noise, else (B, D, M), M being 1
            for scalar noise.
        y0: initial states, (B, ...), real floating point; (B, D) where the noise is not diagonal.
        times: output times, the first being t_0; (T,) shared, or (B, T) with each sample's own.
        args: a tensor or nested tuple, list or dict of tensors, each (B, ...), handed to the fields.
        noise: what is known of g. ``"diagonal"``: each component its own W, and for methods above order 1/2 its own
            g_i(t, y_i). ``"scalar"``: one W for all. ``"commutative"``: any matrix whose columns commute,
            (dg_j/dy) g_k = (dg_k/dy) g_j. ``"additive"``: any matrix without y. ``"general"``: any matrix.
        calculus: ``"ito"`` or ``"stratonovich"``, how the equation is read; for additive noise they are the same.
        method: a name in ``SDE_METHODS``.
        step_size: longest step, in the units of ``times``; every interval between output times is divided into equal
            steps. None takes one step an interval.
        rtol, atol: relative and absolute tolerance of adaptive steps, in place of ``step_size``. They are 2^-n of the
            way between two outputs, fixed in derivatives, and for what is known to converge with them: ``euler`` with
            additive noise, ``milstein``, ``milstein_free``, ``srk``, and ``heun``, also with general noise.
        control: how adaptive steps grow and shrink, with their limits.
        max_steps: most steps that an adaptive solve may try, 100,000 when None.
        seeds: (B,) whole numbers. The path of a sample is then a function of its seed and of the first and last time.
        brownian: a path of one's own, such as a ``BrownianPath`` over a longer span. Without seeds and path fresh
            increments are drawn, all in one call; for adaptive steps, fresh seeds.
        generator: where fresh increments come from; torch's own when None.
        prior_drift: p, called like the drift; the noise must have as many channels as the state or more.
        gradient: ``"direct"`` differentiates the steps taken, in one sweep where drift and diffusion are fields that
            give their own derivative, such as ``MLP``; ``"reversible"`` does so exactly without storing them
            (method ``"reversible_heun"``, fields ``nn.Module``); ``"adjoint"`` solves the adjoint equation (engine
            ``"torchsde"``, fields ``nn.Module``).
        on_failure: what a state that is not finite does, or with adaptive steps a sample that cannot go on: ``"raise"``
            a ``SolveError`` that names step and time, at the price of one wait for the device; ``"nan"``, leave it in
            the solution, with its ``status``; or with adaptive steps ``"last"``, the last state reached.
        engine: ``"native"``, or ``"torchsde"`` for that library behind the same call.

    Returns:
        A ``StochasticSolution`` with states (B, T, ...).

    Raises:
        InputError: an argument is out of its range, or the method does not fit the equation.
        SolveError: a state is not finite, or a sample could not reach the last time.

    Example:
        >>> solved = solve_sde(lambda t, y: -y, lambda t, y: 0.1 * torch.ones_like(y), torch.ones(4, 2),
        ...                    torch.linspace(0, 1, 3), step_size=0.01, seeds=torch.arange(4))
        >>> solved.states.shape
        torch.Size([4, 3, 2])
        >>> own = solve_sde(lambda t, y: -y, lambda t, y: 0.1 * y, torch.tensor([[1.0], [9.0]]), [0.0, 1.0],
        ...                 method="milstein", rtol=1e-3, atol=1e-5, seeds=[0, 1])
        >>> own.states.shape, own.status.tolist()
        (torch.Size([2, 2, 1]), [0, 0])

    Source: Gaines and Lyons (1997), Variable step size control in the numerical solution of stochastic differential
    equations; Foster and Jelincic (2024), On the convergence of adaptive approximations for stochastic differential
    equations.
    """
    if not isinstance(y0, Tensor):
        raise InputError(f"y0 must be a tensor (B, ...), got a {type(y0).__name__}: call torch.as_tensor on it.")
    if not y0.is_floating_point() or y0.dim() < 1:
        raise InputError(f"y0 must be real floating point with a batch dimension, got {y0.dtype} {tuple(y0.shape)}.")
    if is_replaced() and (solved := replaced(solve_sde, locals(), _resolution)) is not None:
        return solved
    times = check_times(times, y0)
    adaptive = check_steps(step_size, rtol, atol, control, max_steps)
    check_method(engine, method, noise, calculus, gradient, on_failure, adaptive)
    if sum(given is not None for given in (seeds, brownian, generator)) > 1:
        raise InputError("seeds, brownian and generator are three sources of the same noise: give one of them.")
    learned: list[Tensor] = []
    if gradient != "direct":
        if times.requires_grad:
            raise InputError(f"gradient={gradient!r} gives none to times: detach them, or take gradient='direct'.")
        fields = [field for field in (drift, diffusion, prior_drift) if field is not None]
        learned = field_parameters(gradient, *fields) + [leaf for _, leaf in leaves(args) if leaf.requires_grad]

    sde = Equation(drift, diffusion, prior_drift, args, noise, calculus, y0.shape[0])
    shape = sde.noise_shape(times[..., 0], y0)
    if seeds is not None:
        brownian = seeded_path(seeds, shape, times, y0)
    if engine == "native" and SCHEMES[method].separate:
        sde.check_separate(times[..., 0], y0, method)
    if adaptive:
        own = refinable_path(y0, times, shape, brownian, generator)
        norm = ErrorNorm(rtol or 0.0, atol or 0.0, each=True)
        limit = MAX_STEPS if max_steps is None else max_steps
        return _adaptive(sde, SCHEMES[method], y0, times, own, norm, control or CONTROL, limit, on_failure)
    grid = Grid.divide(times, 1 if step_size is None or times.shape[-1] == 1 else count_substeps(times, step_size))
    if engine == "torchsde":
        path = solve_torchsde(sde, method, y0, grid, shape, brownian, generator, gradient, learned)
        if on_failure == "raise" and not bool(torch.isfinite(path.states).all()):
            raise SolveError(f"{method} of torchsde came to a state that is not finite: {CURE}.")
    else:
        scheme = SCHEMES[method]
        increments = grid_increments(scheme, y0, grid, shape, brownian, generator)
        if gradient == "reversible":
            path = solve_reversible(sde, y0, grid, increments, learned)
        else:
            fused = solve_fused(sde, scheme, y0, grid, increments)
            path = solve_direct(sde, scheme, y0, grid, increments) if fused is None else fused
        if on_failure == "raise" and not bool(torch.isfinite(path.states).all()):
            raise SolveError(tell_failure(sde, scheme, y0, grid, increments))
    steps = grid.h.shape[-1]
    stats = SolverStats.shared(y0.shape[0], y0.device, evaluations=sde.evaluations, accepted=steps, rejected=0)
    return StochasticSolution(times, path.states, stats, path_kl=path.kl)


def _resolution(asked: Mapping[str, Any]) -> Resolution:
    """Tell how finely arguments ask to solve."""
    schemes: Mapping[str, Any] = SCHEMES if asked["engine"] == "native" else torchsde_engine.METHODS
    if asked["method"] not in schemes:
        raise unknown("method", asked["method"], schemes)
    order = schemes[asked["method"]].strong.get(asked["noise"], math.nan)
    adaptive = asked["rtol"] is not None or asked["atol"] is not None
    return Resolution("stochastic", adaptive, order, order + 0.5, check_times(asked["times"], asked["y0"]))


def _adaptive(
    sde: Equation,
    scheme: Scheme,
    y0: Tensor,
    times: Tensor,
    path: BrownianPath,
    norm: ErrorNorm,
    control: StepControl,
    max_steps: int,
    on_failure: str,
) -> StochasticSolution:
    fill = on_failure == "last"
    solved = solve_adaptive(sde, scheme, y0, times, path, norm, control, max_steps=max_steps, fill=fill)
    reason = tell_adaptive_failure(scheme, norm, solved) if on_failure == "raise" else None
    if reason is not None:
        raise SolveError(reason)
    return StochasticSolution(times, solved.states, solved.stats, solved.status, path_kl=solved.kl)
