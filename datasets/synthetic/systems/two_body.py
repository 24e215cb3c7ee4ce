"""Two bodies on nearly circular orbits."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator
from integrand.datasets.synthetic.systems.n_body import NBody, planar, unit_masses


class TwoBody(NBody):
    """Two unit masses in the plane about their common centre, as Greydanus et al. drew them.

    The first lies at (x, y), both uniform in (0.5, 1.5), the second opposite; on circles of radius r = |(x, y)| they
    would have the speed 1 / (2 sqrt(r)), which is multiplied by 1 + 0.05 z with z standard normal: the period of the
    circle is 4 pi r^(3/2).

    Source: Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks, Section 4, and the generator published
    with it (50 points on [0, 20] a trajectory; ours keep one every 0.4).
    """

    name = "two_body"
    summary = "two bodies in the plane, nearly circular orbits: positions and momenta"
    source = "Greydanus, Dzamba and Yosinski (2019), Section 4"
    bodies = 2
    channels = planar(2)
    parameters: ClassVar = unit_masses(2)
    span, interval, step_size = 20.0, 0.4, 0.1
    time_scale = 4 * math.pi

    def place(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw the place of the first body and the deviation from its circle."""
        x, y = generator.uniform(0.5, 1.5, 2)
        speed = (1 + 0.05 * generator.standard_normal()) / (2 * math.hypot(x, y) ** 1.5)
        q, p = torch.tensor([x, y]), speed * torch.tensor([-y, x])
        return torch.stack([q, -q]), torch.stack([p, -p])
