"""How far an input may be moved before a class can change, proved from a Lipschitz bound."""

import math

import torch
from torch import Tensor

from integrand.core.errors import InputError


def certified_radius(logits: Tensor, lipschitz: float) -> Tensor:
    """Return the distance within which no input changes the class that is told.

    With L an upper bound of the Lipschitz constant of x -> logits in the Euclidean norms, and the margin by which the
    first class leads the second,

        radius = (logit_1 - logit_2) / (sqrt(2) L),

    for a difference of two logits is sqrt(2) L-Lipschitz. A bound may come from the architecture: ``LipschitzMLP`` with
    constant K, solved over a time T and read out by a matrix of spectral norm R, has L = R exp(K T); a flow that
    contracts with rate c has L = R exp(-c T) (``flow_lipschitz``).

    Args:
        logits: (N, K), K > 1.
        lipschitz: L, per unit of the input.

    Returns:
        Radii in units of the input, (N,), in the Euclidean norm.

    Raises:
        InputError: fewer than two classes, or a bound that is not positive.

    Example:
        >>> certified_radius(torch.tensor([[3.0, 1.0], [0.0, 0.5]]), 2.0**0.5)
        tensor([1.0000, 0.2500])

    Source: Tsuzuku, Sato and Sugiyama (2018), Lipschitz-margin training: scalable certification of perturbation
    invariance for deep neural networks.
    """
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise InputError(f"logits must be (N, K) with two classes or more, got {tuple(logits.shape)}.")
    if not (lipschitz > 0 and math.isfinite(lipschitz)):
        raise InputError(f"lipschitz={lipschitz!r} must be positive and finite: give an upper bound.")
    first, second = torch.topk(logits, 2, dim=1).values.unbind(1)
    return (first - second) / (math.sqrt(2) * lipschitz)


def flow_lipschitz(rate: float, duration: float) -> float:
    """Return a bound on how far solutions may part: |y(T) - z(T)| <= exp(rate T) |y(0) - z(0)|.

    Args:
        rate: an upper bound of the logarithmic norm of the field's Jacobian, such as its Lipschitz constant; negative
            for a field that contracts.
        duration: T, not negative.

    Example:
        >>> round(flow_lipschitz(-1.0, 2.0), 4)
        0.1353

    Source: Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I, Section I.10.
    """
    if not duration >= 0:
        raise InputError(f"duration={duration!r} must not be negative: give the length of the time solved over.")
    return math.exp(rate * duration)
