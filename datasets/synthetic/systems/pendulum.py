"""The mathematical pendulum."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class Pendulum(System):
    """A mass m on a rod of length l in gravity g, with the angle q from the hanging position and p = m l^2 dq/dt,

        dq/dt = p / (m l^2),    dp/dt = -m g l sin q,    H = p^2 / (2 m l^2) + m g l (1 - cos q).

    Starts lie evenly on energies between a near rest and below the separatrix, 2 m g l, with the default parameters.

    Source: Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks, Section 3 (energies as there).
    """

    name = "pendulum"
    summary = "mathematical pendulum: angle and momentum"
    source = "Greydanus, Dzamba and Yosinski (2019)"
    channels = ("angle", "momentum")
    parameters: ClassVar = {"mass": 1.0, "length": 1.0, "gravity": 1.0}
    span, interval, step_size = 20.0, 0.1, 0.05
    solver = "dopri8 with fixed steps"
    canonical = True
    angles = (0,)
    time_scale = 2 * math.pi

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        mass, length, gravity = (parameters[name].to(y) for name in self.parameters)
        q, p = y.unbind(-1)
        return torch.stack([p / (mass * length**2), -mass * gravity * length * q.sin()], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw an energy in (0.1, 1.5) and a place on its orbit."""
        energy = generator.uniform(0.1, 1.5)
        q = generator.uniform(-1, 1) * math.acos(1 - energy)
        p = math.sqrt(max(0.0, 2 * (energy - 1 + math.cos(q))))
        return state(q, p if generator.random() < 0.5 else -p)

    @staticmethod
    def _energy(values: Tensor, parameters: Parameters) -> Tensor:
        mass, length, gravity = (parameters[name].to(values)[:, None] for name in ("mass", "length", "gravity"))
        q, p = values.unbind(-1)
        return p**2 / (2 * mass * length**2) + mass * gravity * length * (1 - q.cos())

    invariants: ClassVar = {"energy": _energy}
