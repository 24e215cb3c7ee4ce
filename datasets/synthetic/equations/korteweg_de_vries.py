"""The Korteweg-de Vries equation, from random starts and from solitons.

Dimension letters: N samples, T times, X grid.
"""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.convective import ConvectiveEquation
from integrand.datasets.synthetic.equations.random_fields import sines
from integrand.datasets.synthetic.equations.spectral import coefficient, half_mean_square, mean
from integrand.datasets.synthetic.simulator import Generator, Invariant, Parameters, Start


class KortewegDeVries(ConvectiveEquation):
    """u_t + (u^2 / 2)_x + delta u_xxx = 0 on a circle; completely integrable.

    Constant in time are the mean of u (mass), of u^2 / 2 (momentum) and of delta u_x^2 / 2 - u^3 / 6 (energy), and
    infinitely many more. Starts are sums of long sines.

    Source: Korteweg and de Vries (1895), On the change of form of long waves; length and starts as in Brandstetter,
    Welling and Worrall (2022), Lie point symmetry data augmentation for neural PDE solvers.
    """

    name = "korteweg_de_vries"
    summary = "Korteweg-de Vries equation on a circle, from long sines"
    source = "Brandstetter, Welling and Worrall (2022)"
    parameters: ClassVar = {"dispersion": 1.0}
    span, interval, step_size = 56.0, 0.4, 0.02
    points, lengths = (256,), (128.0,)
    invariants: ClassVar = {"mass": mean, "momentum": half_mean_square}

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw ten sines of at most three waves."""
        return Start(sines(generator, points, lengths, terms=10, highest=3)[None])

    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return i delta k^3."""
        return -coefficient("dispersion", parameters, like) * grid.derivative_symbol(0, like, 3)

    def invariants_on(self, lengths: tuple[float, ...]) -> dict[str, Invariant]:
        """Return mass, momentum and energy, per length."""

        def energy(values: Tensor, parameters: Parameters) -> Tensor:
            grid, dispersion = PeriodicGrid(tuple(values.shape[3:]), lengths), parameters["dispersion"].to(values)
            return dispersion[:, None] * half_mean_square(grid.derivative(values, 0), {}) - mean(values**3, {}) / 6

        return {**self.invariants, "energy": energy}


class Solitons(KortewegDeVries):
    """The Korteweg-de Vries equation from three solitons of unlike speeds, which overtake one another unharmed.

    A soliton of speed c is 3 c sech^2(sqrt(c / delta) / 2 (x - c t - a)). Speeds are uniform in [0.3, 1.2), with
    delta = 1; places lie evenly on the circle, but for shifts of up to a tenth of their distance.

    Source: Zabusky and Kruskal (1965), Interaction of solitons in a collisionless plasma and the recurrence of initial
    states.
    """

    name = "solitons"
    summary = "Korteweg-de Vries equation on a circle, from three solitons"
    source = "Zabusky and Kruskal (1965)"
    span, interval, step_size = 60.0, 0.5, 0.02
    points, lengths = (256,), (64.0,)
    count = 3

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw three solitons."""
        (n,), (length,) = points, lengths
        speed = generator.uniform(0.3, 1.2, self.count)
        place = length / self.count * (np.arange(self.count) + generator.uniform(-0.1, 0.1, self.count))
        x = length / n * np.arange(n)[:, None]
        away = (x - place + length / 2) % length - length / 2
        u = 3 * speed / np.cosh(np.sqrt(speed) / 2 * away) ** 2
        return Start(torch.from_numpy(u.sum(-1))[None])
