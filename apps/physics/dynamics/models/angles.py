"""Angles as sine and cosine: functions of a state that are the same a turn apart.

Dimension letters: B batch, D state, A angles.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from integrand.core.fields.energy import Energy


class Turning(nn.Module):
    """The map of a state y to z = [cos(s a), sin(s a), y without angles], with s the radians in a unit of angle a.

    It changes no form of an equation: an energy E(z(y)) is as good a function of y as any, and its gradient by the
    chain rule, dE/dy, is what a Hamiltonian field takes.

    Args:
        dim: D.
        angles: the channels that are angles, and s of each.
    """

    units: Tensor
    angles: Tensor
    others: Tensor
    order: Tensor

    def __init__(self, dim: int, angles: Mapping[int, float]) -> None:
        super().__init__()
        turning, others = sorted(angles), [channel for channel in range(dim) if channel not in angles]
        self.width = dim + len(turning)
        """Width D + A of z."""
        self.register_buffer("units", torch.tensor([angles[one] for one in turning]), persistent=False)
        self.register_buffer("angles", torch.tensor(turning), persistent=False)
        self.register_buffer("others", torch.tensor(others, dtype=torch.long), persistent=False)
        self.register_buffer("order", torch.tensor([*turning, *others]).argsort(), persistent=False)
        self.in_order = [*turning, *others] == list(range(dim))

    def forward(self, y: Tensor) -> Tensor:
        """Return z, (B, D + A)."""
        turned = y.index_select(-1, self.angles) * self.units
        return torch.cat([turned.cos(), turned.sin(), y.index_select(-1, self.others)], dim=-1)

    def pull(self, z: Tensor, slope: Tensor) -> Tensor:
        """Return dE/dy (B, D), given z and dE/dz (B, D + A)."""
        n = len(self.angles)
        cos, sin, (of_cos, of_sin) = z[:, :n], z[:, n : 2 * n], slope[:, : 2 * n].chunk(2, dim=-1)
        found = torch.cat([self.units * (of_sin * cos - of_cos * sin), slope[:, 2 * n :]], dim=-1)
        return found if self.in_order else found.index_select(-1, self.order)


class TurningEnergy(nn.Module):
    """The scalar E(z(y)) with the z of ``Turning`` and an ``Energy`` E; its gradient is written out.

    Args:
        dim, angles: see ``Turning``.
        hidden, activation: see ``Energy``.

    Example:
        >>> energy = TurningEnergy(2, {0: 2.0}, (8,))
        >>> y = torch.tensor([[0.3, 1.0]])
        >>> torch.allclose(energy(y), energy(y + torch.tensor([[torch.pi, 0.0]])), atol=1e-6)
        True
    """

    def __init__(
        self, dim: int, angles: Mapping[int, float], hidden: tuple[int, ...], *, activation: str = "tanh"
    ) -> None:
        super().__init__()
        self.turning = Turning(dim, angles)
        self.energy = Energy(self.turning.width, hidden, activation=activation)

    def forward(self, y: Tensor) -> Tensor:
        """Return E, (B,)."""
        return self.energy(self.turning(y))

    def gradient(self, y: Tensor) -> Tensor:
        """Return dE/dy, (B, D)."""
        z = self.turning(y)
        return self.turning.pull(z, self.energy.gradient(z))


class TurningField(nn.Module):
    """The field f(z(y)) with the z of ``Turning``.

    Args:
        turning: the map to z.
        layers: f, a network from z (B, D + A) to (B, D).
    """

    def __init__(self, turning: Turning, layers: nn.Module) -> None:
        super().__init__()
        self.turning, self.layers = turning, layers

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """Evaluate the field."""
        return self.layers(self.turning(y))


def energy_of(
    dim: int, angles: Mapping[int, float], hidden: tuple[int, ...], activation: str
) -> Energy | TurningEnergy:
    """Return an ``Energy``, of sine and cosine where there are angles."""
    if not angles:
        return Energy(dim, hidden, activation=activation)
    return TurningEnergy(dim, angles, hidden, activation=activation)
