"""The Van der Pol oscillator."""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System, state


class VanDerPol(System):
    """An oscillator that gains energy at small amplitudes and loses it at large ones, x'' - mu (1 - x^2) x' + x = 0,

        dx/dt = v,    dv/dt = mu (1 - x^2) v - x.

    All starts but the origin tend to one limit cycle, of period 6.6632869 at mu = 1. It grows stiff with mu: from about
    mu = 10 the default step is too long.

    Source: van der Pol (1926), On relaxation-oscillations.
    """

    name = "van_der_pol"
    summary = "Van der Pol oscillator: position and velocity"
    source = "van der Pol (1926)"
    channels = ("position", "velocity")
    parameters: ClassVar = {"mu": 1.0}
    span, interval, step_size = 20.0, 0.1, 0.05
    solver = "dopri8 with fixed steps"
    time_scale = 6.6632869

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        x, v = y.unbind(-1)
        return torch.stack([v, parameters["mu"].to(y) * (1 - x**2) * v - x], dim=-1)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw position and velocity within 3, inside the cycle and outside."""
        return state(*generator.uniform(-3, 3, 2))
