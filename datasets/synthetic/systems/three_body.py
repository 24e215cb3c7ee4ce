"""Three bodies near the equilateral solution."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.simulator import Generator
from integrand.datasets.synthetic.systems.n_body import NBody, planar, unit_masses


class ThreeBody(NBody):
    """Three unit masses in the plane, near Lagrange's equilateral solution, as Greydanus et al. drew them.

    They lie on an equilateral triangle whose corners have the distance r from its centre, uniform in (0.9, 1.2), and
    whose first corner has the direction of a point uniform in a square. On the circle their speed would be
    3^(-1/4) / sqrt(r); each component of each velocity is multiplied by a number of its own, uniform in (0.8, 1.2). The
    triangle is unstable, and some bodies meet closely: each sample is solved with steps of its own.

    Source: Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks, Appendix B, and the generator published
    with it (20 points on [0, 5] a trajectory).
    """

    name = "three_body"
    summary = "three bodies in the plane, near the equilateral solution: positions and momenta"
    source = "Greydanus, Dzamba and Yosinski (2019), Appendix B"
    bodies = 3
    channels = planar(3)
    parameters: ClassVar = unit_masses(3)
    span, interval, step_size = 5.0, 0.1, 0.1
    tolerance = 1e-11
    solver = "dopri8, steps of each sample's own"
    time_scale = 2 * math.pi * 3**0.25

    def place(self, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw the triangle and the deviations from its circle."""
        radius = generator.uniform(0.9, 1.2)
        x, y = generator.uniform(-1, 1, 2)
        turns = math.atan2(y, x) + 2 * math.pi / 3 * torch.arange(3, dtype=torch.float64)
        out = torch.stack([turns.cos(), turns.sin()], dim=-1)
        along = torch.stack([-turns.sin(), turns.cos()], dim=-1)
        deviation = torch.from_numpy(generator.uniform(0.8, 1.2, (3, 2)))
        return radius * out, deviation * along / (3**0.25 * math.sqrt(radius))
