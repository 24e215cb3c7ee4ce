"""The advection equation in the plane."""

from typing import ClassVar

from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.equations.spectral import LinearEquation, coefficient, half_mean_square, mean
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start


class Advection2d(LinearEquation):
    """u_t + a u_x + b u_y = 0 on a torus: u(x, y, t) = u_0(x - a t, y - b t).

    Starts are Gaussian, with covariance 7^6 (-Laplacian + 49)^-4.

    Source: Trefethen (2000), Spectral methods in Matlab, Chapter 3, for shifts by Fourier series.
    """

    name = "advection_2d"
    summary = "advection on a torus"
    source = "closed form"
    channels = ("u",)
    parameters: ClassVar = {"speed_x": 0.4, "speed_y": 0.3}
    span, interval = 2.0, 0.05
    dims = 2
    points, lengths = (64, 64), (1.0, 1.0)
    invariants: ClassVar = {"mass": mean, "energy": half_mean_square}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a smooth field."""
        return Start(gaussian_field(generator, points, lengths, scale=7.0**3, shift=7.0, decay=4.0)[None])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return -i (a k_x + b k_y)."""
        a, b = (coefficient(name, parameters, like, dims=2) for name in ("speed_x", "speed_y"))
        return -a * grid.derivative_symbol(0, like) - b * grid.derivative_symbol(1, like)
