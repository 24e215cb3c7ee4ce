"""Masses in a row, joined by springs."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System


class SpringChain(System):
    """n equal masses on a line, each joined to the next by a spring, with free ends; q are displacements from rest,

        H = sum_i p_i^2 / (2 m) + k / 2 sum_i (q_{i+1} - q_i)^2.

    Its modes are cosines along the chain, of the frequencies 2 sqrt(k / m) sin(pi j / (2 n)), j = 0, ..., n - 1. The
    total momentum of a start is zero, so that the chain stays where it is.

    Args:
        masses: how many, n.

    Source: Goldstein, Poole and Safko (2002), Classical mechanics, Chapter 6.
    """

    name = "spring_chain"
    summary = "masses joined by springs, free ends: displacements and momenta"
    source = "Goldstein, Poole and Safko (2002), Chapter 6"
    parameters: ClassVar = {"mass": 1.0, "stiffness": 1.0}
    span, interval, step_size = 20.0, 0.1, 0.1
    solver = "dopri8 with fixed steps"
    canonical = True
    time_scale = 2 * math.pi

    def __init__(self, masses: int = 5) -> None:
        """Name the channels."""
        if masses < 2:
            raise InputError(f"spring_chain: masses={masses} is out of range: at least 2.")
        self.masses, self.sizes = masses, {"masses": masses}
        self.channels = tuple(f"{what}_{i + 1}" for what in ("position", "momentum") for i in range(masses))

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        mass, stiffness = (parameters[name].to(y)[:, None] for name in self.parameters)
        q, p = y.chunk(2, dim=-1)
        tension = stiffness * q.diff(dim=-1)
        force = torch.nn.functional.pad(tension, (0, 1)) - torch.nn.functional.pad(tension, (1, 0))
        return torch.cat([p / mass, force], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw standard normal displacements and momenta, less their means."""
        drawn = torch.from_numpy(generator.standard_normal((2, self.masses)))
        return Start((drawn - drawn.mean(1, keepdim=True)).flatten())

    @staticmethod
    def _energy(values: Tensor, parameters: Parameters) -> Tensor:
        mass, stiffness = (parameters[name].to(values)[:, None] for name in ("mass", "stiffness"))
        q, p = values.chunk(2, dim=-1)
        return p.square().sum(-1) / (2 * mass) + stiffness / 2 * q.diff(dim=-1).square().sum(-1)

    @staticmethod
    def _momentum(values: Tensor, parameters: Parameters) -> Tensor:
        return values.chunk(2, dim=-1)[1].sum(-1)

    invariants: ClassVar = {"energy": _energy, "momentum": _momentum}
