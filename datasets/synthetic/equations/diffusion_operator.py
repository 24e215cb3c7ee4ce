"""-div(a grad u) on a rectangle with zeros on its walls, and its inverse.

Dimension letters: N samples, X Y grid.
"""

import math

import torch
from torch import Tensor

from integrand.core.errors import InputError

ITERATIONS = 2000


class DiffusionOperator:
    """A u = -div(a grad u), u = 0 on the walls, in the five-point flux form on points that include the walls.

        (A u)_ij = sum over the four neighbours k of a_k (u_ij - u_k) / h_k^2

    where a_k is the harmonic mean of the coefficients at both ends: the flux through a layer of two media is then exact
    in one dimension.

    Args:
        coefficient: a, (N, X, Y), positive, in the type in which is computed.
        spacing: distance of neighbours along each axis.
        label: of the simulator, for errors.

    Raises:
        InputError: the coefficient is not positive somewhere.

    Example:
        >>> operator = DiffusionOperator(torch.ones(1, 3, 3), (0.5, 0.5))
        >>> operator.solve(torch.ones(1, 3, 3))[0, 1].tolist()
        [0.0, 0.0625, 0.0]

    Source: Patankar (1980), Numerical Heat Transfer and Fluid Flow, Section 4.2-3, for the harmonic mean.
    """

    def __init__(self, coefficient: Tensor, spacing: tuple[float, float], *, label: str = "diffusion") -> None:
        lowest = coefficient.flatten(1).amin(1)
        if not bool((lowest > 0).all()):
            sample = int((~(lowest > 0)).nonzero()[0])
            raise InputError(
                f"{label}: the coefficient of sample {sample} falls to {float(lowest[sample]):g}: it must be positive."
            )
        self.label, self.spacing = label, spacing
        self.faces = [
            2 / (1 / _without(coefficient, axis, last=True) + 1 / _without(coefficient, axis, last=False)) / h**2
            for axis, h in zip((-2, -1), spacing, strict=True)
        ]

    def __call__(self, u: Tensor) -> Tensor:
        """Apply to u (N, X, Y), whatever stands on its walls; there the result is zero."""
        across = [face * u.diff(dim=axis) for axis, face in zip((-2, -1), self.faces, strict=True)]
        inner = -across[0].diff(dim=-2)[..., 1:-1] - across[1].diff(dim=-1)[..., 1:-1, :]
        return torch.nn.functional.pad(inner, (1, 1, 1, 1))

    def solve(self, source: Tensor) -> Tensor:
        """Return u with A u = source inside, (N, X, Y), to the rounding of its type.

        Conjugate gradients, preconditioned by the operator of constant coefficient, which sines diagonalise: the number
        of iterations follows the contrast of the coefficient alone, about 25 for 4, however fine the grid. Each sample
        stops by itself, when its residual is 64 roundings of the source.

        Source: Concus, Golub and O'Leary (1976), A generalized conjugate gradient method for the numerical solution of
        elliptic partial differential equations.
        """
        inside = (..., slice(1, -1), slice(1, -1))
        invert = _FastPoisson(source[inside], self.spacing)
        u = torch.zeros_like(source)
        residual = torch.nn.functional.pad(source[inside], (1, 1, 1, 1))
        goal = 64 * torch.finfo(source.dtype).eps * residual.flatten(1).norm(dim=1)
        direction, product = torch.zeros_like(u), torch.ones_like(goal)
        for _ in range(ITERATIONS):
            active = residual.flatten(1).norm(dim=1) > goal
            if not bool(active.any()):
                return u
            better = torch.nn.functional.pad(invert(residual[inside]), (1, 1, 1, 1))
            before, product = product, (residual * better).sum((-2, -1))
            direction = better + _each(product / before) * direction
            applied = self(direction)
            share = torch.where(active, product / (direction * applied).sum((-2, -1)), 0)
            u, residual = u + _each(share) * direction, residual - _each(share) * applied
        raise InputError(
            f"{self.label}: not solved in {ITERATIONS} iterations: the contrast of a coefficient is too large."
        )


class _FastPoisson:
    """The inverse of the five-point -Laplacian on inner points, by sines along both axes."""

    def __init__(self, inner: Tensor, spacing: tuple[float, float]) -> None:
        self.sines, values = [], []
        for n, h in zip(inner.shape[-2:], spacing, strict=True):
            index = torch.arange(1, n + 1, dtype=inner.dtype, device=inner.device)
            self.sines.append((math.pi / (n + 1) * torch.outer(index, index)).sin() * math.sqrt(2 / (n + 1)))
            values.append((2 / h * (math.pi / (2 * (n + 1)) * index).sin()) ** 2)
        self.inverse = 1 / (values[0][:, None] + values[1])

    def __call__(self, f: Tensor) -> Tensor:
        x, y = self.sines  # symmetric, and their own inverses
        return x @ ((x @ f @ y) * self.inverse) @ y


def _without(field: Tensor, axis: int, *, last: bool) -> Tensor:
    """Return the field without its last, or first, points along an axis; of the other axis all."""
    n = field.shape[axis]
    return field.narrow(axis, 0 if last else 1, n - 1)


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None]
