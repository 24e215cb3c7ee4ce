"""The phi-functions, of which the weights of exponential integrators are made."""

from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor

RADIUS = 1.0
"""Where |z| is smaller, the Taylor series is used."""
TERMS = 18
"""Terms of the series: what is left out at |z| = 1 is below 1e-17 of the sum."""


def phi_functions(z: Tensor, highest: int) -> tuple[Tensor, ...]:
    """Evaluate phi_0 to phi_highest at z, each to a few roundings.

        phi_0(z) = exp(z),     phi_{k+1}(z) = (phi_k(z) - 1 / k!) / z,     phi_k(0) = 1 / k!

    From |z| = 1 on, the recurrence itself loses no digits. Nearer to zero it cancels; there the Taylor series of the
    highest is summed and the recurrence run downwards, phi_k = z phi_{k+1} + 1 / k!, which adds and never divides.
    (Kassam and Trefethen average the cancelling formula over a circle about z instead. That costs 32 exponentials and
    loses digits where the circle passes near zero: tests/core/test_exponential.py measures both.)

    Args:
        z: any shape, real or complex. A real z gives real values; a complex one complex values, also where L has the
            symmetry that makes the final state real: their real part alone would be wrong for dispersive equations.
        highest: largest index wanted, at least 0.

    Returns:
        ``highest + 1`` tensors in the shape and dtype of z, differentiable in z everywhere.

    Example:
        >>> [round(value.item(), 4) for value in phi_functions(torch.tensor(0.0), 3)]
        [1.0, 1.0, 0.5, 0.1667]

    Source: Hochbruck and Ostermann (2010), Exponential integrators, Section 2.
    """
    if highest == 0:
        return (torch.exp(z),)
    near = z.detach().abs() < RADIUS
    # Each branch sees only arguments it can take, or the gradient of the branch not chosen would be 0 times infinity.
    small, large = torch.where(near, z, 0), torch.where(near, 1, z)

    series = torch.full_like(small, 1 / factorial(highest + TERMS))
    for power in reversed(range(TERMS)):
        series = series * small + 1 / factorial(highest + power)
    downwards = [series]
    for k in reversed(range(1, highest)):
        downwards.append(downwards[-1] * small + 1 / factorial(k))

    values = [torch.exp(z)]
    upwards = torch.exp(large)
    for k in range(highest):
        upwards = (upwards - 1 / factorial(k)) / large
        values.append(torch.where(near, downwards[highest - 1 - k], upwards))
    return tuple(values)


@dataclass(frozen=True)
class PhiSum:
    """A linear combination of phi-functions, sum_i w_i phi_{k_i}(c_i z), as tables of coefficients write it.

    Attributes:
        terms: (w_i, k_i, c_i).

    Example:
        >>> weight = phi(1) - 2 * phi(1, 1 / 2)
        >>> weight.terms
        ((1.0, 1, 1.0), (-2.0, 1, 0.5))
    """

    terms: tuple[tuple[float, int, float], ...]

    def __add__(self, other: "PhiSum") -> "PhiSum":
        """Return the sum."""
        return PhiSum(self.terms + other.terms)

    def __sub__(self, other: "PhiSum") -> "PhiSum":
        """Return the difference."""
        return self + (-1.0) * other

    def __rmul__(self, factor: float) -> "PhiSum":
        """Return the multiple."""
        return PhiSum(tuple((factor * w, k, c) for w, k, c in self.terms))

    def evaluate(self, values: dict[float, tuple[Tensor, ...]]) -> Tensor:
        """Return the sum, given the values phi_0, phi_1, ... at every scaled argument, by its scale c."""
        (w, k, c), *rest = self.terms
        total = w * values[c][k]
        for w, k, c in rest:
            total = torch.add(total, values[c][k], alpha=w)
        return total


def phi(k: int, scale: float = 1.0) -> PhiSum:
    """Return phi_k(scale z), to be combined with others."""
    return PhiSum(((1.0, k, float(scale)),))
