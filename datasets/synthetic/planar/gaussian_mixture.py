"""Normal distributions about the corners of a regular octagon, each as likely.

Dimension letters: N samples, K parts.
"""

import math

import numpy as np
from scipy.special import logsumexp, ndtri

from integrand.datasets.synthetic.planar.density import Array, Box, Density, Draws, choose, positive

PARTS = 8
REACH = 8.0  # standard deviations, beyond which lies 1.3e-15 of a normal distribution


class GaussianMixture(Density):
    """The density p(x) = 1/8 sum_k N(x; r (cos k pi/4, sin k pi/4), s^2 I), k from 0 to 7.

    Args:
        radius: r.
        deviation: s.
    """

    numbers = 3
    classes = tuple(f"{45 * k} degrees" for k in range(PARTS))

    def __init__(self, radius: float, deviation: float) -> None:
        self.radius = positive(self.name, "radius", radius)
        self.deviation = positive(self.name, "deviation", deviation)
        angles_K = np.arange(PARTS) * (2 * math.pi / PARTS)
        self.centres_K2 = self.radius * np.stack([np.cos(angles_K), np.sin(angles_K)], axis=1)

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        labels = choose(u_NK[:, 0], PARTS)
        return Draws(self.centres_K2[labels] + self.deviation * ndtri(u_NK[:, 1:]), labels)

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) in nats, at x (N, 2)."""
        squares_NK = ((np.asarray(x, np.float64)[:, None] - self.centres_K2) ** 2).sum(-1)
        total_N: Array = np.asarray(logsumexp(-squares_NK / (2 * self.deviation**2), axis=1))
        return total_N - math.log(2 * math.pi * self.deviation**2 * PARTS)

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, outside of which lies less than 1e-12 of the probability."""
        reach = self.radius + REACH * self.deviation
        return (-reach, reach), (-reach, reach)

    @property
    def finest(self) -> float:
        """The standard deviation s."""
        return self.deviation
