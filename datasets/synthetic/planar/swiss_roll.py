"""A spiral of one and a half turns with normal noise, the cross section of a Swiss roll."""

import numpy as np

from integrand.datasets.synthetic.planar.density import Array, positive
from integrand.datasets.synthetic.planar.noisy_curves import NoisyCurves


class SwissRoll(NoisyCurves):
    """The spiral a (cos a, sin a) / 5, a uniform in (3 pi / 2, 9 pi / 2), with normal noise.

    The density is a quadrature along the spiral, exact to rounding.

    Args:
        noise: standard deviation of the noise along both axes; a fifth of the paper's, which divides after adding it.

    Raises:
        InputError: it is not positive.

    Example:
        >>> SwissRoll().sample(3).shape
        (3, 2)

    Source: Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD: free-form continuous dynamics for
    scalable reversible generative models, Section 4.1, and the code published with it (``swissroll``), after
    scikit-learn's ``make_swiss_roll``.
    """

    name = "swiss_roll"
    summary = "a spiral with normal noise: 2-D density, exact"
    parts = 1

    def __init__(self, noise: float = 0.2) -> None:
        self.deviation = positive(self.name, "noise", noise)

    def curve(self, part: int, v: Array) -> Array:
        """Return the points (..., 2) of the spiral at parameters from 0 to 1."""
        a = 1.5 * np.pi * (1 + 2 * v)
        return (a / 5)[..., None] * np.stack([np.cos(a), np.sin(a)], axis=-1)
