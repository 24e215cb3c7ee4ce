"""The heat equation."""

from typing import ClassVar

from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.equations.spectral import LinearEquation, coefficient, mean
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start


class Heat(LinearEquation):
    """u_t = kappa u_xx on a circle: the wave k decays as exp(-kappa k^2 t).

    Starts are Gaussian, with covariance 625 (-d^2/dx^2 + 25)^-2.

    Source: Fourier (1822), Theorie analytique de la chaleur; starts as in Li et al. (2021), Fourier neural operator for
    parametric partial differential equations, Section 5.1.
    """

    name = "heat"
    summary = "heat equation on a circle"
    source = "Fourier (1822); starts of Li et al. (2021), Section 5.1"
    channels = ("u",)
    parameters: ClassVar = {"diffusivity": 0.01}
    span, interval = 1.0, 0.05
    dims = 1
    points, lengths = (128,), (1.0,)
    invariants: ClassVar = {"mass": mean}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian field."""
        return Start(gaussian_field(generator, points, lengths, scale=25.0, shift=5.0, decay=2.0)[None])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return -kappa k^2."""
        return coefficient("diffusivity", parameters, like, positive=True, dims=grid.dims) * grid.laplacian_symbol(like)
