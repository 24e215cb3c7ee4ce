"""Four circles about one centre, with normal noise.

Dimension letters: N samples, K circles.
"""

import math

import numpy as np
from scipy.special import i0e, logsumexp, ndtri

from integrand.datasets.synthetic.planar.density import Array, Box, Density, Draws, choose, positive
from integrand.datasets.synthetic.planar.gaussian_mixture import REACH

RADII_K = np.array([0.75, 1.5, 2.25, 3.0])


class Rings(Density):
    """Circles of radius R = 3/4, 3/2, 9/4 and 3, each as likely, with normal noise s: with r = |x|,

        p(x) = 1/4 sum_R exp(-(r - R)^2 / (2 s^2)) e^(-r R / s^2) I_0(r R / s^2) / (2 pi s^2).

    Args:
        noise: s, the standard deviation of the noise along both axes.

    Raises:
        InputError: it is not positive.

    Example:
        >>> Rings().sample(3).shape
        (3, 2)

    Source: Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD: free-form continuous dynamics for
    scalable reversible generative models, and the code published with it (``rings``), whose radii and noise these are.
    The density of one circle is the integral of a normal one over its angle, Abramowitz and Stegun (1964), Eq. 9.6.16.
    """

    name = "rings"
    summary = "four circles with normal noise: 2-D density, exact"
    classes = tuple(f"radius {radius:g}" for radius in RADII_K)
    numbers = 4

    def __init__(self, noise: float = 0.08) -> None:
        self.deviation = positive(self.name, "noise", noise)

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        labels, angle = choose(u_NK[:, 0], len(RADII_K)), 2 * math.pi * u_NK[:, 1]
        circle = RADII_K[labels][:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return Draws(circle + self.deviation * ndtri(u_NK[:, 2:]), labels)

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) in nats, at x (N, 2)."""
        r_N1 = np.linalg.norm(np.asarray(x, np.float64), axis=1)[:, None]
        variance = self.deviation**2
        logs_NK = np.log(i0e(r_N1 * RADII_K / variance)) - (r_N1 - RADII_K) ** 2 / (2 * variance)
        total_N: Array = np.asarray(logsumexp(logs_NK, axis=1))
        return total_N - math.log(2 * math.pi * variance * len(RADII_K))

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, outside of which lies less than 1e-12 of the probability."""
        reach = float(RADII_K[-1]) + REACH * self.deviation
        return (-reach, reach), (-reach, reach)

    @property
    def finest(self) -> float:
        """The standard deviation s."""
        return self.deviation
