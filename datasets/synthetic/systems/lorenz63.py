"""The Lorenz system of 1963."""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class Lorenz63(System):
    """Convection reduced to three waves,

        dx/dt = sigma (y - x),    dy/dt = x (rho - z) - y,    dz/dt = x y - beta z.

    With the default parameters its exponents are 0.906, 0 and -14.572; their sum is -(sigma + 1 + beta). Starts are
    drawn about the attractor; ten units of time, dropped, bring them onto it.

    Source: Lorenz (1963), Deterministic nonperiodic flow; exponents from Sprott (2003), Chaos and time-series analysis.
    """

    name = "lorenz63"
    summary = "Lorenz system of 1963, three variables, chaotic"
    source = "Lorenz (1963)"
    channels = ("x", "y", "z")
    parameters: ClassVar = {"sigma": 10.0, "rho": 28.0, "beta": 8 / 3}
    span, interval, step_size = 15.0, 0.05, 0.01
    solver = "dopri8 with fixed steps"
    transient = 10.0
    lyapunov = 0.906

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        sigma, rho, beta = (parameters[name].to(y) for name in self.parameters)
        x, y_, z = y.unbind(-1)
        return torch.stack([sigma * (y_ - x), x * (rho - z) - y_, x * y_ - beta * z], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw with about the attractor's mean and spread."""
        x, y, z = generator.standard_normal(3)
        return state(8 * x, 9 * y, 24 + 8 * z)
