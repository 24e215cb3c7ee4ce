"""Turbulent flow that is driven by a shear."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.datasets.synthetic.equations.navier_stokes import NavierStokes
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.simulator import Generator, Start

WAVE = 4


class KolmogorovFlow(NavierStokes):
    """w_t + u . grad w = nu Laplacian(w) - a w + f on a torus of 2 pi, driven by the force sin(4 y) along x.

    The curl of that force is f = -4 cos(4 y); a is the friction with the ground, which keeps energy from gathering in
    the longest waves. Starts are Gaussian with most energy about wave 4. The viscosity is twenty times that of the
    source, which solves on 2,048 points a side.

    Source: Kochkov et al. (2021), Machine learning-accelerated computational fluid dynamics, Materials and methods.
    """

    name = "kolmogorov_flow"
    summary = "turbulent flow on a torus, driven by a shear: its vorticity"
    source = "Kochkov et al. (2021)"
    parameters: ClassVar = {"viscosity": 2e-2, "drag": 0.1}
    span, interval, step_size = 20.0, 0.1, 0.01
    points, lengths = (64, 64), (2 * math.pi, 2 * math.pi)

    def force(self, points: tuple[int, ...], lengths: tuple[float, ...]) -> Tensor | None:
        """Return the curl of the force, (X, Y); it has four waves whatever the length of the box."""
        y = torch.arange(points[1], dtype=torch.float64) / points[1]
        wave = 2 * math.pi * WAVE / lengths[1]
        return -wave * (2 * math.pi * WAVE * y).cos().expand(points).contiguous()

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian vorticity of covariance 250^2 (-Laplacian + 64)^(-5/2), the same function on every grid."""
        vorticity = gaussian_field(generator, points, lengths, scale=250.0, shift=8.0, decay=2.5)
        force = self.force(points, lengths)
        return Start((vorticity - vorticity.mean())[None], None if force is None else force[None])
