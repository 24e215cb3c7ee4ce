"""A particle that noise drives from one well to another."""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator, Parameters
from integrand.datasets.synthetic.systems.stochastic_system import StochasticSystem


class DoubleWell(StochasticSystem):
    """The overdamped Langevin equation at temperature T in a potential with minima at -1 and 1 and a barrier of 1/4,

        dx = -V'(x) dt + sqrt(2 T) dW,    V(x) = (x^2 - 1)^2 / 4,

    whose stationary density is exp(-V(x) / T) but for a constant. A well is left about sqrt(2) / (2 pi) exp(-1 / (4 T))
    times in a unit of time, once in 33 units at the default temperature.

    Source: Kramers (1940), Brownian motion in a field of force and the diffusion model of chemical reactions.

    Example:
        >>> DoubleWell().simulate(3, times=[0.0, 0.5, 1.0]).values.shape
        torch.Size([3, 3, 1])
    """

    name = "double_well"
    summary = "particle in two wells, driven by noise: position"
    source = "Kramers (1940)"
    channels = ("position",)
    parameters: ClassVar = {"temperature": 0.125}
    span, interval, step_size = 20.0, 0.02, 0.02

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return the drift -V'."""
        return y - y**3

    def diffusion(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return sqrt(2 T)."""
        return (2 * parameters["temperature"].to(y)).sqrt()[:, None].expand_as(y)

    def log_density(self, states: Tensor, parameters: Parameters) -> Tensor:
        """Return -V / T."""
        return -(states[:, 0].square() - 1).square() / (4 * parameters["temperature"].to(states))

    def place(self, generator: Generator) -> Tensor:
        """Draw the position evenly within 2: both wells, the barrier and the slopes outside."""
        return torch.tensor([generator.uniform(-2, 2)], dtype=torch.float64)
