"""Turbulent flow that is left to itself."""

import math
from typing import ClassVar

from torch import Tensor

from integrand.datasets.synthetic.equations.navier_stokes import NavierStokes
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.simulator import Generator, Start


class DecayingTurbulence(NavierStokes):
    """w_t + u . grad w = nu Laplacian(w) on a torus of 2 pi, without a force: vortices merge while energy decays.

    Energy and enstrophy obey dE/dt = -2 nu Z and dZ/dt = -2 nu P, and are constant where nu is zero. Starts are
    Gaussian with most energy about wave 4 and a root mean square vorticity of about 2.5.

    Source: McWilliams (1984), The emergence of isolated coherent vortices in turbulent flow.
    """

    name = "decaying_turbulence"
    summary = "turbulent flow on a torus that decays: its vorticity"
    source = "after McWilliams (1984)"
    constant_names = ()
    parameters: ClassVar = {"viscosity": 5e-3}
    span, interval, step_size = 10.0, 0.1, 0.01
    points, lengths = (128, 128), (2 * math.pi, 2 * math.pi)

    def force(self, points: tuple[int, ...], lengths: tuple[float, ...]) -> Tensor | None:
        """Return None: there is none."""
        return None

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian vorticity of covariance 250^2 (-Laplacian + 64)^(-5/2), the same function on every grid."""
        vorticity = gaussian_field(generator, points, lengths, scale=250.0, shift=8.0, decay=2.5)
        return Start((vorticity - vorticity.mean())[None])
