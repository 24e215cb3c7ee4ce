"""The advection equation."""

from typing import ClassVar

from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.random_fields import windowed_sines
from integrand.datasets.synthetic.equations.spectral import LinearEquation, coefficient, half_mean_square, mean
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start


class Advection(LinearEquation):
    """u_t + c u_x = 0 on a circle: u(x, t) = u_0(x - c t).

    The start is shifted as a Fourier series on the grid. Starts are sums of two sines, of which one in ten is made
    positive and one in ten is cut to a window: there waves beyond the grid's own are lost.

    Source: Takamoto et al. (2022), PDEBench: an extensive benchmark for scientific machine learning, Appendix D.
    """

    name = "advection"
    summary = "advection on a circle"
    source = "Takamoto et al. (2022), Appendix D"
    channels = ("u",)
    parameters: ClassVar = {"speed": 0.4}
    span, interval = 2.0, 0.05
    dims = 1
    points, lengths = (256,), (1.0,)
    invariants: ClassVar = {"mass": mean, "energy": half_mean_square}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw two sines of at most eight waves."""
        return Start(windowed_sines(generator, points, lengths, terms=2, highest=8)[None])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return -i c k."""
        return -coefficient("speed", parameters, like) * grid.derivative_symbol(0, like)
