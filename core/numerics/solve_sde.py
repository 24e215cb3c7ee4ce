"""One call that solves stochastic differential equations."""

from collections.abc import Sequence
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
from integrand.core.numerics.solve_ode import SolveError
from integrand.core.numerics.stepping.fixed_step import count_substeps
from integrand.core.numerics.stochastic.brownian import Brownian, BrownianPath, Increments, draw_increments
from integrand.core.numerics.stochastic.discrete_adjoint import solve_fused
from integrand.core.numerics.stochastic.equation import CALCULI, NOISES, Equation
from integrand.core.numerics.stochastic.reversible import field_parameters, solve_reversible
from integrand.core.numerics.stochastic.schemes import SCHEMES, Scheme
from integrand.core.numerics.stochastic.walk import Grid, solve_direct, walk

__all__ = ["SDE_METHODS", "SolveError", "StochasticSolution", "solve_sde"]

SDE_METHODS: dict[str, tuple[str, ...]] = {"native": tuple(SCHEMES), "torchsde": tuple(torchsde_engine.METHODS)}
"""Methods by engine."""

CURE = "take shorter steps, bound the fields, or keep the other samples with on_failure='nan'"
GRADIENTS = {"native": ("direct", "reversible"), "torchsde": ("direct", "adjoint")}


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
    seeds: Tensor | Sequence[int] | None = None,
    brownian: Brownian | None = None,
    generator: torch.Generator | None = None,
    prior_drift: Field | None = None,
    gradient: Literal["direct", "reversible", "adjoint"] = "direct",
    on_failure: Literal["raise", "nan"] = "raise",
    engine: Literal["native", "torchsde"] = "native",
) -> StochasticSolution:
    """Solve dy = f(t, y) dt + g(t, y) dW, y(t_0) = y0, and return y at every time asked for.

    The walk goes from the first time to the last, with dW in its direction, also where times decrease. With
    ``prior_drift`` p, the path KL of Girsanov's theorem is integrated alongside:

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
        seeds: (B,) whole numbers. The path of a sample is then a function of its seed and of the first and last time.
        brownian: a path of one's own, such as a ``BrownianPath`` over a longer span. Without seeds and path fresh
            increments are drawn, all in one call.
        generator: where fresh increments come from; torch's own when None.
        prior_drift: p, called like the drift; the noise must have as many channels as the state or more.
        gradient: ``"direct"`` differentiates the steps taken, in one sweep where drift and diffusion are fields that
            give their own derivative, such as ``MLP``; ``"reversible"`` does so exactly without storing them
            (method ``"reversible_heun"``, fields ``nn.Module``); ``"adjoint"`` solves the adjoint equation (engine
            ``"torchsde"``, fields ``nn.Module``).
        on_failure: what a state that is not finite does: ``"raise"`` a ``SolveError`` that names step and time, at the
            price of one wait for the device; or ``"nan"``, leave it in the solution, with status NONFINITE.
        engine: ``"native"``, or ``"torchsde"`` for that library behind the same call.

    Returns:
        A ``StochasticSolution`` with states (B, T, ...).

    Raises:
        InputError: an argument is out of its range, or the method does not fit the equation.
        SolveError: a state is not finite.

    Example:
        >>> solved = solve_sde(lambda t, y: -y, lambda t, y: 0.1 * torch.ones_like(y), torch.ones(4, 2),
        ...                    torch.linspace(0, 1, 3), step_size=0.01, seeds=torch.arange(4))
        >>> solved.states.shape
        torch.Size([4, 3, 2])
    """
    if not y0.is_floating_point() or y0.dim() < 1:
        raise InputError(f"y0 must be real floating point with a batch dimension, got {y0.dtype} {tuple(y0.shape)}.")
    times = check_times(times, y0)
    _check_method(engine, method, noise, calculus, gradient, on_failure, step_size)
    if sum(given is not None for given in (seeds, brownian, generator)) > 1:
        raise InputError("seeds, brownian and generator are three sources of the same noise: give one of them.")
    learned: list[Tensor] = []
    if gradient != "direct":
        if times.requires_grad:
            raise InputError(f"gradient={gradient!r} gives none to times: detach them, or take gradient='direct'.")
        fields = [field for field in (drift, diffusion, prior_drift) if field is not None]
        learned = field_parameters(gradient, *fields) + [leaf for _, leaf in leaves(args) if leaf.requires_grad]

    sde = Equation(drift, diffusion, prior_drift, args, noise, calculus, y0.shape[0])
    grid = Grid.divide(times, 1 if step_size is None or times.shape[-1] == 1 else count_substeps(times, step_size))
    shape = sde.noise_shape(times[..., 0], y0)
    if seeds is not None:
        brownian = _seeded(seeds, shape, times, y0)
    if engine == "torchsde":
        path = solve_torchsde(sde, method, y0, grid, shape, brownian, generator, gradient, learned)
        if on_failure == "raise" and not bool(torch.isfinite(path.states).all()):
            raise SolveError(f"{method} of torchsde came to a state that is not finite: {CURE}.")
    else:
        scheme = SCHEMES[method]
        if scheme.separate:
            sde.check_separate(times[..., 0], y0, method)
        increments = _increments(scheme, y0, grid, shape, brownian, generator)
        if gradient == "reversible":
            path = solve_reversible(sde, y0, grid, increments, learned)
        else:
            fused = solve_fused(sde, scheme, y0, grid, increments)
            path = solve_direct(sde, scheme, y0, grid, increments) if fused is None else fused
        if on_failure == "raise" and not bool(torch.isfinite(path.states).all()):
            raise SolveError(_tell_failure(sde, scheme, y0, grid, increments))
    steps = grid.h.shape[-1]
    stats = SolverStats.shared(y0.shape[0], y0.device, evaluations=sde.evaluations, accepted=steps, rejected=0)
    return StochasticSolution(times, path.states, stats, path_kl=path.kl)


def _check_method(
    engine: str, method: str, noise: str, calculus: str, gradient: str, on_failure: str, step_size: float | None
) -> None:
    """Refuse unknown names, and a method that does not fit the equation, naming those that do."""
    if engine not in SDE_METHODS:
        raise unknown("engine", engine, SDE_METHODS)
    for name, value, known in (
        ("method", method, SDE_METHODS[engine]),
        ("noise", noise, NOISES),
        ("calculus", calculus, CALCULI),
        ("gradient", gradient, ("direct", "reversible", "adjoint")),
        ("on_failure", on_failure, ("raise", "nan")),
    ):
        if value not in known:
            raise unknown(name, value, known)
    if step_size is not None and not step_size > 0:
        raise InputError(f"step_size must be positive, got {step_size!r}: give the longest step in the units of times.")
    fitting = [name for name in SDE_METHODS[engine] if _fits(engine, name, noise, calculus)]
    if method not in fitting:
        why = ""
        if noise == "general" and _fits(engine, method, "commutative", calculus):
            why = " (without Levy areas it holds for commutative noise alone: say noise='commutative' if yours is)"
        raise InputError(
            f"method={method!r} does not fit noise={noise!r} in {calculus!r} calculus{why}: take "
            f"{' or '.join(fitting) or 'another engine'}."
        )
    if gradient not in GRADIENTS[engine]:
        raise InputError(f"gradient={gradient!r} is not available in engine {engine!r}: take {GRADIENTS[engine]}.")
    if gradient == "reversible" and method != "reversible_heun":
        raise InputError(
            f"gradient='reversible' needs a method that can be walked back, not {method!r}: take 'reversible_heun', or "
            "gradient='direct'."
        )


def _fits(engine: str, method: str, noise: str, calculus: str) -> bool:
    declared = SCHEMES[method] if engine == "native" else torchsde_engine.METHODS[method]
    return noise in declared.strong and (noise == "additive" or calculus in declared.calculus)


def _seeded(seeds: Tensor | Sequence[int], shape: tuple[int, ...], times: Tensor, y0: Tensor) -> BrownianPath:
    """Return the paths of the seeds over the time of the solve."""
    seeds = seeds if isinstance(seeds, Tensor) else torch.tensor(seeds, dtype=torch.int64)
    if seeds.shape != y0.shape[:1]:
        raise InputError(f"seeds has shape {tuple(seeds.shape)} for a batch of {y0.shape[0]}: give one a sample.")
    first, last = times.detach()[..., 0], times.detach()[..., -1]
    return BrownianPath(
        seeds.to(y0.device), shape, torch.minimum(first, last), torch.maximum(first, last), dtype=y0.dtype
    )


def _increments(
    scheme: Scheme,
    y0: Tensor,
    grid: Grid,
    shape: tuple[int, ...],
    brownian: Brownian | None,
    generator: torch.Generator | None,
) -> Increments:
    """Return what the noise does in each step, from the path given or freshly drawn."""
    if brownian is None:
        return draw_increments(grid.times, y0.shape[0], shape, area=scheme.area, generator=generator)
    w, area = brownian.increments(grid.times, area=scheme.area)
    wanted = (grid.h.shape[-1], y0.shape[0], *shape)
    if w.shape != wanted or (scheme.area and (area is None or area.shape != wanted)):
        raise InputError(
            f"the Brownian path gave increments {tuple(w.shape)}, but {wanted[0]} steps of this equation need {wanted}."
        )
    return Increments(w.to(y0.dtype), None if area is None else area.to(y0.dtype))


def _tell_failure(sde: Equation, scheme: Scheme, y0: Tensor, grid: Grid, noise: Increments) -> str:
    """Say where the states ceased to be finite, by walking again and looking at each step."""

    def lost(x: Tensor) -> Tensor:
        return ~torch.isfinite(x).flatten(1).all(1)

    if bool(lost(y0).any()):
        return f"y0 of sample {int(lost(y0).nonzero()[0])} is not finite."
    with torch.no_grad():
        for step, walked in enumerate(walk(sde, scheme, y0, grid, noise)):
            if not bool(lost(walked.y).any()):
                continue
            sample = int(lost(walked.y).nonzero()[0])
            culprits = {"drift": walked.moved.drift, "diffusion": walked.moved.diffusion}
            what = next((f"the {name}" for name, value in culprits.items() if lost(value)[sample]), "the state")
            t = float(grid.times.expand(y0.shape[0], -1)[sample, step])
            return (
                f"{scheme.name}: in step {step + 1} of {grid.h.shape[-1]}, from t={t:g}, {what} of sample {sample} is "
                f"not finite: {CURE}."
            )
    return f"{scheme.name} came to a state that is not finite, and not so when walked again: are the fields random?"
