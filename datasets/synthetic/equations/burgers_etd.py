"""The viscous Burgers equation, solved step by step."""

import math
from typing import ClassVar

from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.convective import ConvectiveEquation
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.equations.spectral import coefficient, mean
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start


class BurgersETD(ConvectiveEquation):
    """u_t + (u^2 / 2)_x = nu u_xx on a circle, by ETDRK4; a subclass adds a force by its method ``forcing``.

    A shock over which u falls by d is about 4 nu / d wide: at most two spacings of the grid, or its waves are cut.
    Starts are Gaussian, with covariance 625 (-d^2/dx^2 + 25)^-2.

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Section 5.1.
    """

    name = "burgers_etd"
    summary = "viscous Burgers equation on a circle, by steps"
    source = "Li et al. (2021), Section 5.1"
    parameters: ClassVar = {"viscosity": 0.1}
    span, interval, step_size = 1.0, 0.05, 0.0025
    points, lengths = (256,), (2 * math.pi,)
    invariants: ClassVar = {"mass": mean}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian field."""
        return Start(gaussian_field(generator, points, lengths, scale=25.0, shift=5.0, decay=2.0)[None])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return -nu k^2."""
        return coefficient("viscosity", parameters, like, positive=True) * grid.laplacian_symbol(like)
