"""Predators and prey."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class LotkaVolterra(System):
    """Prey x and predators y,

        dx/dt = alpha x - beta x y,    dy/dt = gamma x y - delta y,

    which go round (delta / gamma, alpha / beta) on level lines of V = gamma x - delta ln x + beta y - alpha ln y. What
    is known is how each fares alone, alpha x and -delta y; what must be learned is how they meet.

    Starts are the equilibrium of the default parameters times exp(u), u uniform in (-1.5, 1.5) for each.

    Source: Lotka (1925), Elements of physical biology; Volterra (1926); names and values of the parameters as in
    Rackauckas et al. (2020), Universal differential equations for scientific machine learning, Section 3.1.
    """

    name = "lotka_volterra"
    summary = "prey and predators"
    source = "Rackauckas et al. (2020), Section 3.1"
    channels = ("prey", "predators")
    parameters: ClassVar = {"alpha": 1.3, "beta": 0.9, "gamma": 0.8, "delta": 1.8}
    span, interval, step_size = 12.0, 0.1, 0.05
    solver = "dopri8 with fixed steps"
    time_scale = 2 * math.pi / math.sqrt(1.3 * 1.8)
    known_parameters = ("alpha", "delta")

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        beta, gamma = (parameters[name].to(y) for name in ("beta", "gamma"))
        meetings = y[..., 0] * y[..., 1]
        return self.known_field(t, y, parameters) + torch.stack([-beta * meetings, gamma * meetings], dim=-1)

    def known_field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return how each fares alone."""
        alpha, delta = (parameters[name].to(y) for name in ("alpha", "delta"))
        return torch.stack([alpha * y[..., 0], -delta * y[..., 1]], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw about the equilibrium."""
        u, v = generator.uniform(-1.5, 1.5, 2)
        return state(1.8 / 0.8 * math.exp(u), 1.3 / 0.9 * math.exp(v))

    @staticmethod
    def _v(values: Tensor, parameters: Parameters) -> Tensor:
        alpha, beta, gamma, delta = (
            parameters[name].to(values)[:, None] for name in ("alpha", "beta", "gamma", "delta")
        )
        x, y = values.unbind(-1)
        return gamma * x - delta * x.log() + beta * y - alpha * y.log()

    invariants: ClassVar = {"V": _v}
