"""Separable systems: positions driven by momenta alone, momenta by positions alone."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError


class Separable(nn.Module):
    """The field dq/dt = v(t, p), dp/dt = F(t, q) with the state y = [q, p] along its last dimension.

    A Hamiltonian T(t, p) + V(t, q) gives v = dT/dp and F = -dV/dq; others need no Hamiltonian at all. Every method
    solves it; the symplectic ones (``COMPOSITIONS``) use that the two halves depend on each other alone.

    Args:
        velocity: v, called ``velocity(t, p)``, or ``velocity(t, p, args)`` when the solver is given ``args``.
        force: F, called likewise with q.

    Shapes:
        ``field(t, y)``: t scalar or (B,), y (B, ..., 2 D); returns the shape of y.

    Raises:
        InputError: the last dimension of the state is odd.

    Example:
        >>> pendulum = Separable(velocity=lambda t, p: p, force=lambda t, q: -torch.sin(q))
        >>> pendulum(torch.tensor(0.0), torch.tensor([[0.0, 2.0]])).tolist()
        [[2.0, -0.0]]

    Source: Hairer, Lubich and Wanner (2006), Geometric Numerical Integration, chapters I and VI.
    """

    def __init__(self, velocity: Callable[..., Tensor], force: Callable[..., Tensor]) -> None:
        super().__init__()
        self.velocity, self.force = velocity, force

    def forward(self, t: Tensor, y: Tensor, *args: object) -> Tensor:
        """Evaluate the field."""
        q, p = halves(y)
        return torch.cat([self.velocity(t, p, *args), self.force(t, q, *args)], dim=-1)


def halves(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions and the momenta of a state [q, p]."""
    if y.shape[-1] % 2:
        raise InputError(
            f"the state of a separable system has shape {tuple(y.shape)}, whose last dimension is odd: give [q, p], as "
            "many momenta as positions."
        )
    q, p = y.chunk(2, dim=-1)
    return q, p
