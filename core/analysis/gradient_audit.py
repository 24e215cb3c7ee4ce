"""Whether the gradients a model is trained with are those of its loss."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.analysis.finding import Finding, Verdict
from integrand.core.analysis.in_float64 import in_float64
from integrand.core.analysis.solved_finely import solved_finely
from integrand.core.errors import InputError
from integrand.core.numerics.solved_by import solved_by
from integrand.core.numerics.stepping.walk import SolveError

MODES = ("direct", "checkpoint", "adjoint", "reversible")
STEP = 1e-4
"""Length of a finite difference in the space of parameters, relative to theirs: its error is of the order of the
square, and it divides the error of the reference, 1e-9, by no less."""
CUT = 0.05
"""Disagreement with finite differences above which a gradient is not that of the loss; they are right to 1e-4."""


class _Slope(NamedTuple):
    """A loss and its gradient (P,) by all that is learned, in double precision."""

    loss: float
    gradient: Tensor


def gradient_audit(
    module: nn.Module,
    loss_of: Callable[[nn.Module], Tensor],
    *,
    directions: int = 4,
    sound: float = 0.01,
    flawed: float = 0.1,
    seed: int = 0,
) -> Finding:
    """Compare the gradient a model is trained with, and those of every other mode, with a reference.

    Three references, all in double precision: the derivative of the steps as the model takes them (direct mode); the
    derivative of the equation, solved to 1e-9; and central differences of that loss along random directions, which know
    nothing of automatic differentiation. The distance of a gradient g from a reference r is |g - r| / |r|.

    The verdict is on the mode in use against the derivative of its own steps: that is what lowers the loss that is
    seen. ``"adjoint"`` differs from it by the errors of two solves, the more the looser the tolerance and the more the
    solution contracts, for it is then solved backwards against its nature. Below 1 % an error is far less than what one
    batch tells of the gradient; from 10 % on it may spoil the last part of a training.

    Args:
        module: the model as it is trained, with ``gradient=`` of its own choice; not changed.
        loss_of: gives the loss of a module, this one or its copy in double precision, to which it must cast its inputs;
            the same when asked again.
        directions: number of random directions.
        sound: distance below which the gradient is good.
        flawed: distance above which it is not.
        seed: of the directions, and of the noise of stochastic equations that draw it afresh.

    Returns:
        A ``Finding`` with a row for each mode, that in use first; NaN where a mode is not available to the solve.

    Raises:
        InputError: nothing is learned, or the loss is not one number with a gradient.

    Example:
        >>> from integrand.core.fields import MLP
        >>> from integrand.core.models import NeuralODE
        >>> _ = torch.manual_seed(0)
        >>> model, x = NeuralODE(MLP(2, (8,)), method="rk4", step_size=0.25), torch.randn(16, 2)
        >>> def loss_of(module):
        ...     return module(x.to(next(module.parameters())), [0.0, 1.0]).states[:, -1].square().mean()
        >>> gradient_audit(model, loss_of).verdict
        'sound'

    Source: Gholami, Keutzer and Biros (2019), ANODE: unconditionally accurate memory-efficient gradients for neural
    ODEs; Onken and Ruthotto (2020), Discretize-optimize vs. optimize-discretize for time-series regression and
    continuous normalizing flows.
    """
    double = in_float64(module)
    with solved_by(seed=seed) as record:
        used = _slope(module, loss_of)
    modes = list(dict.fromkeys(call.gradient for call in record.calls))
    if not modes:
        return Finding(
            instrument="gradient audit",
            verdict="told",
            statement="This loss solves no differential equation, so its gradient is that of automatic "
            "differentiation alone.",
        )
    own = _by_mode(double, loss_of, "direct", seed)
    if own is None:
        own = _slope(double, loss_of)
    equation = _of_equation(double, loss_of, seed)
    rows = [_row(f"{', '.join(modes)} (in use)", used, own, equation)]
    others = [mode for mode in MODES if [mode] != modes]
    rows += [_row(mode, _by_mode(module, loss_of, mode, seed), own, equation) for mode in others]
    numbers = {name: float(rows[0][name]) for name in ("error", "cosine", "error of the equation")}
    with solved_by(seed=seed):
        differs = math.nan if equation is None else _against_differences(double, loss_of, equation, directions, seed)
    numbers["error of finite differences"] = differs
    numbers["norm"] = float(own.gradient.norm())
    return _finding(numbers, rows, modes[0], sound, flawed)


def _slope(module: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> _Slope:
    learned = [each for each in module.parameters() if each.requires_grad]
    if not learned:
        raise InputError("no parameter requires a gradient, so there is none to audit: unfreeze what is learned.")
    with torch.enable_grad():
        loss = loss_of(module)
        if loss.numel() != 1 or not loss.requires_grad:
            raise InputError(
                f"the loss has shape {tuple(loss.shape)} and requires_grad={loss.requires_grad}: return one number "
                "that is differentiable."
            )
        found = torch.autograd.grad(loss.sum(), learned, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(learned, found, strict=True)]
    return _Slope(float(loss.detach()), torch.cat([each.detach().double().flatten() for each in flat]))


def _by_mode(module: nn.Module, loss_of: Callable[[nn.Module], Tensor], mode: str, seed: int) -> _Slope | None:
    """Return the gradient by a mode; None where the solve does not have it."""
    try:
        with solved_by(kinds=("ordinary", "controlled", "stochastic"), gradient=mode), solved_by(seed=seed):
            return _slope(module, loss_of)
    except (InputError, SolveError):
        return None


def _of_equation(module: nn.Module, loss_of: Callable[[nn.Module], Tensor], seed: int) -> _Slope | None:
    with solved_by(seed=seed), solved_finely():
        try:
            return _slope(module, loss_of)
        except (InputError, SolveError):  # too stiff, or of a kind that takes its own methods alone
            return None


def _against_differences(
    module: nn.Module, loss_of: Callable[[nn.Module], Tensor], slope: _Slope, directions: int, seed: int
) -> float:
    """Return the distance of a gradient's slopes along random directions from central differences of the loss."""
    learned = [each for each in module.parameters() if each.requires_grad]
    start = [each.detach().clone() for each in learned]
    size = STEP * max(1.0, float(torch.cat([each.flatten() for each in start]).norm()))
    generator = torch.Generator().manual_seed(seed)
    told, seen = [], []
    with torch.no_grad(), solved_finely():
        for _ in range(directions):
            way = torch.randn(len(slope.gradient), dtype=torch.float64, generator=generator).to(slope.gradient)
            way /= way.norm()
            parts = way.split([each.numel() for each in learned])
            losses = []
            for sign in (1, -1):
                for parameter, at, part in zip(learned, start, parts, strict=True):
                    parameter.copy_(at + sign * size * part.view_as(at))
                losses.append(float(loss_of(module)))
            told.append(float(slope.gradient @ way))
            seen.append((losses[0] - losses[1]) / (2 * size))
        for parameter, at in zip(learned, start, strict=True):
            parameter.copy_(at)
    return math.dist(told, seen) / max(math.hypot(*seen), 1e-300)


def _row(mode: str, slope: _Slope | None, own: _Slope, equation: _Slope | None) -> dict[str, float | str]:
    none = math.nan
    if slope is None:
        return {"gradient": mode, "loss": none, "error": none, "cosine": none, "error of the equation": none}
    cosine = slope.gradient @ own.gradient / (slope.gradient.norm() * own.gradient.norm()).clamp(min=1e-300)
    return {
        "gradient": mode,
        "loss": slope.loss,
        "error": _distance(slope.gradient, own.gradient),
        "cosine": float(cosine),
        "error of the equation": none if equation is None else _distance(slope.gradient, equation.gradient),
    }


def _distance(gradient: Tensor, reference: Tensor) -> float:
    apart = float((gradient - reference).norm() / reference.norm().clamp(min=1e-300))
    return apart if math.isfinite(apart) else math.inf


def _finding(
    numbers: dict[str, float], rows: list[dict[str, float | str]], mode: str, sound: float, flawed: float
) -> Finding:
    error, of_equation = numbers["error"], numbers["error of the equation"]
    verdict: Verdict = "sound" if error < sound else "flawed" if error > flawed else "doubtful"
    differs = numbers["error of finite differences"]
    cut = differs > CUT
    size = f"{100 * error:.2g} % away from the derivative of the loss that is seen"
    further = "" if math.isnan(of_equation) else f", {100 * of_equation:.2g} % from that of the equation solved exactly"
    if cut:
        verdict = "flawed"
        statement = (
            "The gradient is not the derivative of the loss: when the parameters are moved a little, the loss changes "
            f"by other amounts than automatic differentiation tells ({100 * differs:.2g} % apart). Something between "
            "them is cut from the graph or not smooth."
        )
    elif verdict == "sound":
        statement = f"Training follows its loss: the gradient in use ({mode}) is {size}{further}."
    else:
        statement = (
            f"The gradient in use ({mode}) is {size}{further}, so training is led astray"
            f"{'' if verdict == 'flawed' else ' a little'}: take gradient='direct' or 'checkpoint', which are exact "
            "for the steps taken, or tighten the tolerances."
        )
    return Finding(instrument="gradient audit", verdict=verdict, statement=statement, numbers=numbers, rows=tuple(rows))
