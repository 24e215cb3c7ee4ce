"""Bodies that attract one another by Newton's law.

Dimension letters: N samples, T times, B bodies, X axes of space.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System


def gravity(positions: Tensor, strengths: Tensor) -> Tensor:
    """Return the accelerations of bodies that attract one another, (N, B, X): sum_j s_j (q_j - q_i) / |q_j - q_i|^3.

    Args:
        positions: q, (N, B, X).
        strengths: s = G m, (N, B) or (B,).

    Example:
        >>> gravity(torch.tensor([[[0.0, 0.0], [2.0, 0.0]]]), torch.tensor([1.0, 4.0])).tolist()
        [[[1.0, 0.0], [-0.25, 0.0]]]
    """
    apart = positions[:, None] - positions[:, :, None]
    itself = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
    square = apart.square().sum(-1).masked_fill(itself, torch.inf)  # a body does not attract itself
    return ((strengths[..., None, :] * square**-1.5)[..., None] * apart).sum(2)


class NBody(System):
    """Bodies in the plane, H = sum_i |p_i|^2 / (2 m_i) - G sum_{i<j} m_i m_j / |q_i - q_j|.

    The state is x_1, y_1, x_2, ..., then the momenta in the same order. Energy, momentum and angular momentum stay.
    """

    bodies: ClassVar[int]
    solver = "dopri8 with fixed steps"
    canonical = True

    @abstractmethod
    def place(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw positions and momenta of one sample, (B, 2) each."""

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw as ``place`` does."""
        return Start(torch.stack(self.place(generator)).flatten())

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        q, p = (half.unflatten(-1, (self.bodies, 2)) for half in y.chunk(2, dim=-1))
        masses, constant = _masses(parameters).to(y), parameters["gravity"].to(y)[:, None]
        force = masses[..., None] * gravity(q, constant * masses)
        return torch.cat([(p / masses[..., None]).flatten(1), force.flatten(1)], dim=-1)

    @staticmethod
    def _energy(values: Tensor, parameters: Parameters) -> Tensor:
        masses = _masses(parameters).to(values)[:, None]
        q, p = (half.unflatten(-1, (-1, 2)) for half in values.chunk(2, dim=-1))
        first, second = torch.triu_indices(q.shape[2], q.shape[2], 1, device=values.device)
        distance = (q[:, :, first] - q[:, :, second]).norm(dim=-1)
        potential = parameters["gravity"].to(values)[:, None] * (
            masses[..., first] * masses[..., second] / distance
        ).sum(-1)
        return (p.square().sum(-1) / (2 * masses)).sum(-1) - potential

    @staticmethod
    def _momentum_x(values: Tensor, parameters: Parameters) -> Tensor:
        return values.chunk(2, dim=-1)[1][..., 0::2].sum(-1)

    @staticmethod
    def _momentum_y(values: Tensor, parameters: Parameters) -> Tensor:
        return values.chunk(2, dim=-1)[1][..., 1::2].sum(-1)

    @staticmethod
    def _angular_momentum(values: Tensor, parameters: Parameters) -> Tensor:
        q, p = values.chunk(2, dim=-1)
        return (q[..., 0::2] * p[..., 1::2] - q[..., 1::2] * p[..., 0::2]).sum(-1)

    invariants: ClassVar = {
        "energy": _energy,
        "momentum_x": _momentum_x,
        "momentum_y": _momentum_y,
        "angular_momentum": _angular_momentum,
    }


def planar(bodies: int) -> tuple[str, ...]:
    """Return the names of the channels."""
    return tuple(f"{what}{axis}_{i + 1}" for what in ("", "p") for i in range(bodies) for axis in ("x", "y"))


def unit_masses(bodies: int) -> dict[str, float]:
    """Return the parameters, all of them 1."""
    return {**{f"mass_{i + 1}": 1.0 for i in range(bodies)}, "gravity": 1.0}


def _masses(parameters: Parameters) -> Tensor:
    """Return (N, B)."""
    return torch.stack([each for name, each in parameters.items() if name.startswith("mass_")], dim=-1)
