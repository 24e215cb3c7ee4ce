"""What a network may be asked for in place of the clean data, and the exact way from one to another.

With x = alpha x_0 + sigma eps known, every target is a linear function a x + b x_0 of the clean data x_0, so that a
parameterisation is a pair of coefficients, and a change of it one division.
"""

from typing import Literal, NamedTuple, get_args

from torch import Tensor

from integrand.core.diffusion.process import Process, lift
from integrand.core.errors import InputError, unknown

Parameterization = Literal["x0", "eps", "v", "score", "velocity"]
PARAMETERIZATIONS: tuple[str, ...] = get_args(Parameterization)


class Coefficients(NamedTuple):
    """Of the target a x + b x_0, each of the shape of the times."""

    a: Tensor
    b: Tensor


def coefficients(process: Process, kind: str, t: Tensor) -> Coefficients:
    """Return the coefficients of a target at times of any shape.

    ========  ==============================  ====================
    kind      target                          what it is
    ========  ==============================  ====================
    x0        x_0                             the clean data
    eps       (x - alpha x_0) / sigma         the noise
    v         alpha eps - sigma x_0           their rotation
    score     -eps / sigma                    grad log p_t(x | x_0)
    velocity  alpha' x_0 + sigma' eps         the flow's field
    ========  ==============================  ====================

    Raises:
        InputError: an unknown kind.

    Source: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, for eps; Salimans and Ho (2022),
    Progressive distillation for fast sampling of diffusion models, Section 4, for v; Lipman et al. (2023), Flow
    matching for generative modeling, Eq. 15, for the velocity.
    """
    alpha, sigma = process.alpha(t), process.sigma(t)
    if kind == "x0":
        return Coefficients(alpha.new_zeros(alpha.shape), alpha.new_ones(alpha.shape))
    if kind == "eps":
        return Coefficients(1 / sigma, -alpha / sigma)
    if kind == "v":
        return Coefficients(alpha / sigma, -(alpha.square() + sigma.square()) / sigma)
    if kind == "score":
        return Coefficients(-1 / sigma.square(), alpha / sigma.square())
    if kind == "velocity":
        rate = process.sigma_slope(t) / sigma
        return Coefficients(rate, process.alpha_slope(t) - rate * alpha)
    raise unknown("parameterisation", kind, PARAMETERIZATIONS)


def convert(process: Process, value: Tensor, x: Tensor, t: Tensor, *, source: str, target: str) -> Tensor:
    """Return what a prediction says of another target.

    Args:
        process: the path.
        value: the prediction of ``source``, (B, ...).
        x: where it was made, (B, ...).
        t: when, a scalar or (B,), above 0.
        source, target: names in ``PARAMETERIZATIONS``.

    Raises:
        InputError: an unknown name; shapes that differ.

    Example:
        >>> import torch
        >>> from integrand.core.diffusion.processes import LinearFlow
        >>> x0, eps, t = torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.5)
        >>> x = LinearFlow().mix(x0, eps, t)
        >>> convert(LinearFlow(), x0, x, t, source="x0", target="velocity")
        tensor([[-1.]])
    """
    if value.shape != x.shape:
        raise InputError(f"a prediction must have the shape of x, {tuple(x.shape)}, got {tuple(value.shape)}.")
    a, b = coefficients(process, source, t)
    if source == target:
        return value
    c, d = coefficients(process, target, t)
    # From a x + b x0 to c x + d x0 without dividing twice: c x + d (value - a x) / b.
    ratio = d / b
    return lift(c - ratio * a, x) * x + lift(ratio, x) * value
