"""Two spirals that wind about each other, with uniform and with normal noise."""

import numpy as np

from integrand.datasets.synthetic.planar.density import Array, positive
from integrand.datasets.synthetic.planar.noisy_curves import NoisyCurves


class TwoSpirals(NoisyCurves):
    """The spirals (-a cos a, a sin a) / 3 and their reflection in the origin, with noise.

    The angle is a = 3 pi sqrt(u), u uniform in (0, 1). Before the reflection a number that is uniform in (0, 1/6) is
    added along each axis, and after it normal noise. The density is a quadrature along the spirals, exact to rounding.

    Args:
        noise: standard deviation of the normal noise along both axes.

    Raises:
        InputError: it is not positive.

    Example:
        >>> TwoSpirals().sample(3).shape
        (3, 2)

    Source: Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD: free-form continuous dynamics for
    scalable reversible generative models, Section 4.1, and the code published with it (``2spirals``).
    """

    name = "two_spirals"
    summary = "two spirals with noise: 2-D density, exact"
    classes = ("one", "other")
    parts = 2
    power = 2
    width = 1 / 6

    def __init__(self, noise: float = 0.1) -> None:
        self.deviation = positive(self.name, "noise", noise)

    def curve(self, part: int, v: Array) -> Array:
        """Return the points (..., 2) of a spiral at parameters from 0 to 1."""
        a = 3 * np.pi * v
        spiral = (a / 3)[..., None] * np.stack([-np.cos(a), np.sin(a)], axis=-1)
        # Noise that is uniform in (0, w) is, reflected, uniform in (-w, 0): the same noise about another point.
        return spiral if part == 0 else -spiral - self.width
