"""Two half circles that reach into each other, with normal noise."""

import numpy as np

from integrand.datasets.synthetic.planar.density import Array, positive
from integrand.datasets.synthetic.planar.noisy_curves import NoisyCurves


class Moons(NoisyCurves):
    """Two half circles of radius 1, about (0, 0) and (1, 1/2), with normal noise of standard deviation ``noise``.

    The upper is (cos a, sin a) and the lower (1 - cos a, 1/2 - sin a), with a uniform in (0, pi). With the noise of 0.1
    the entropy is 1.0076 nats. The density is a quadrature along the two arcs, exact to rounding.

    Args:
        noise: standard deviation of the noise along both axes.

    Raises:
        InputError: it is not positive.

    Example:
        >>> moons = Moons()
        >>> moons.sample(3).shape, round(moons.entropy(), 4)
        ((3, 2), 1.0076)

    Source: scikit-learn's ``make_moons``, whose angles lie on a grid and whose parts are equal in number; here all is
    drawn, so that samples are independent.
    """

    name = "moons"
    summary = "two half circles with normal noise: 2-D density, exact"
    classes = ("upper", "lower")
    parts = 2

    def __init__(self, noise: float = 0.1) -> None:
        self.deviation = positive(self.name, "noise", noise)

    def curve(self, part: int, v: Array) -> Array:
        """Return the points (..., 2) of an arc at parameters from 0 to 1."""
        x, y = np.cos(np.pi * v), np.sin(np.pi * v)
        return np.stack([x, y] if part == 0 else [1 - x, 0.5 - y], axis=-1)
