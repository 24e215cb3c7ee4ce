"""The Lorenz system of 1996."""

from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System


class Lorenz96(System):
    """A quantity of the weather at n places on a circle of latitude, which is carried, damped and forced,

        dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F.

    A unit of time stands for five days. Starts are drawn about the attractor; five units, dropped, bring them onto it.

    Args:
        variables: places on the circle, n.

    Source: Lorenz (1996), Predictability: a problem partly solved; Lorenz and Emanuel (1998), Optimal sites for
    supplementary weather observations, who give a doubling time of 2.1 days, a rate of 1.65; 1.69 +- 0.02 here.
    """

    name = "lorenz96"
    summary = "Lorenz system of 1996, forty variables on a circle, chaotic"
    source = "Lorenz (1996)"
    parameters: ClassVar = {"forcing": 8.0}
    span, interval, step_size = 10.0, 0.05, 0.01
    solver = "dopri8 with fixed steps"
    transient = 5.0
    lyapunov = 1.68

    def __init__(self, variables: int = 40) -> None:
        """Name the channels."""
        if variables < 4:
            raise InputError(f"lorenz96: variables={variables} is out of range: at least 4.")
        self.sizes = {"variables": variables}
        self.channels = tuple(f"x_{i + 1}" for i in range(variables))

    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt."""
        carried = (y.roll(-1, -1) - y.roll(2, -1)) * y.roll(1, -1)
        return carried - y + parameters["forcing"].to(y)[:, None]

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw with about the attractor's mean and spread."""
        return Start(torch.from_numpy(2.3 + 3.6 * generator.standard_normal(len(self.channels))))
