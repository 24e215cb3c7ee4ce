"""Five bent arms of a wheel."""

import math

import numpy as np
from scipy.special import ndtri

from integrand.datasets.synthetic.planar.density import Array, Density, Draws, choose, positive

ARMS = 5


class Pinwheel(Density):
    """Five arms, each a normal distribution of mean (1, 0) that is turned, the farther out the farther.

    The point (a, b) with a ~ N(1, 0.3^2) and b ~ N(0, 0.1^2) is turned about the origin by the angle
    2 pi k / 5 + rate exp(a), clockwise the more the larger a is, and doubled. Its density asks for the a of a given
    point, which is the root of an equation, or several: it has no closed form.

    Args:
        rate: of the turn.

    Raises:
        InputError: it is not positive.

    Example:
        >>> Pinwheel().sample(3).shape
        (3, 2)

    Source: Johnson, Duvenaud, Wiltschko, Datta and Adams (2016), Composing graphical models with neural networks for
    structured representations and fast inference, NeurIPS, Figure 5; the numbers are those of FFJORD's code
    (``pinwheel``).
    """

    name = "pinwheel"
    summary = "five bent arms of a wheel: 2-D samples"
    classes = tuple(f"arm {k}" for k in range(ARMS))
    numbers = 3
    exact = False

    def __init__(self, rate: float = 0.25) -> None:
        self.rate = positive(self.name, "rate", rate)

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        labels, noise = choose(u_NK[:, 0], ARMS), ndtri(u_NK[:, 1:])
        a, b = 1 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
        angle = 2 * math.pi / ARMS * labels + self.rate * np.exp(a)
        x, y = a * np.cos(angle) + b * np.sin(angle), -a * np.sin(angle) + b * np.cos(angle)
        return Draws(2 * np.stack([x, y], axis=1), labels)
