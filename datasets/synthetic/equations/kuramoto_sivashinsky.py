"""The Kuramoto-Sivashinsky equation."""

import math
from typing import ClassVar

from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.convective import ConvectiveEquation
from integrand.datasets.synthetic.equations.random_fields import sines
from integrand.datasets.synthetic.equations.spectral import mean
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start


class KuramotoSivashinsky(ConvectiveEquation):
    """u_t + (u^2 / 2)_x + u_xx + u_xxxx = 0 on a circle: chaotic in space and time where it is long.

    Solutions begin on the attractor: sums of long sines, of mean zero, are solved for 100 units of time first, on the
    spacing and with the step of the defaults, so that other grids begin with the same function. The largest Lyapunov
    exponent, measured over 32 solutions for 1,600 units of time, is 0.086 +- 0.001; 0.087 with a length of 22 pi.

    Source: Kuramoto and Tsuzuki (1976), Persistent propagation of concentration waves; Sivashinsky (1977), Nonlinear
    analysis of hydrodynamic instability in laminar flames; length and starts as in Brandstetter, Welling and Worrall
    (2022), Lie point symmetry data augmentation for neural PDE solvers.
    """

    name = "kuramoto_sivashinsky"
    summary = "Kuramoto-Sivashinsky equation on a circle, chaotic"
    source = "Brandstetter, Welling and Worrall (2022)"
    parameters: ClassVar = {}
    span, interval, step_size = 28.0, 0.2, 0.025
    points, lengths = (256,), (64.0,)
    transient = 100.0
    lyapunov = 0.086
    invariants: ClassVar = {"mass": mean}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw ten sines of at most three waves, as they are before the transient."""
        return Start(sines(generator, points, lengths, terms=10, highest=3)[None])

    def settle(self, start: Start, parameters: Parameters, *, lengths: tuple[float, ...]) -> Start:
        """Solve for the transient on a grid of its own, whatever the one asked for is."""
        (n,) = points = tuple(start.states.shape[2:])
        spacing = self.lengths[0] / self.points[0]
        grid, own = PeriodicGrid(points, lengths), (max(32, 2 * round(lengths[0] / spacing / 2)),)
        before = Start(grid.resample(start.states, own))
        after = super().settle(before, parameters, lengths=lengths).states
        # Sampled, not cut to fewer waves, where the grid is coarser.
        stride = math.ceil(own[0] / n)
        return Start(PeriodicGrid(own, lengths).resample(after, (n * stride,))[..., ::stride])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return k^2 - k^4."""
        square = grid.laplacian_symbol(like)
        return -square - square**2
