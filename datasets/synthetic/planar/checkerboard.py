"""The dark squares of a board of four by four."""

import math

import numpy as np

from integrand.datasets.synthetic.planar.density import Array, Box, Density, Draws, choose, positive


class Checkerboard(Density):
    """The uniform density on eight squares of a board of four by four, the ones with even i + j.

    The square (i, j), i and j from -2 to 1, is [i, i + 1) x [j, j + 1), times ``side``. The entropy is the logarithm of
    the area, log(8 side^2): 3.676 nats.

    Args:
        side: of a square.

    Raises:
        InputError: it is not positive.

    Example:
        >>> board = Checkerboard()
        >>> board.sample(3).shape, round(board.entropy(), 3)
        ((3, 2), 3.676)

    Source: Lipman, Havasi, Holderrieth, Shaul, Le, Karrer, Chen, Lopez-Paz, Ben-Hamu and Gat (2024), Flow matching
    guide and code, arXiv:2412.06264, whose example divides squares of side 1 by 0.45; FFJORD's have side 2.
    """

    name = "checkerboard"
    summary = "uniform on the dark squares of a board: 2-D density, exact"
    numbers = 3

    def __init__(self, side: float = 1 / 0.45) -> None:
        self.side = positive(self.name, "side", side)

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        square = choose(u_NK[:, 0], 8)
        i, j = square // 2 - 2, square % 2 * 2 - 2
        corner = np.stack([i, j + i % 2], axis=1)
        return Draws(self.side * (corner + u_NK[:, 1:]), np.zeros(len(u_NK), np.int64))

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) in nats, at x (N, 2); -inf outside of the dark squares."""
        square = np.floor(np.asarray(x, np.float64) / self.side)
        inside = ((square >= -2) & (square < 2)).all(1) & (square.sum(1) % 2 == 0)
        return np.where(inside, -self.entropy(), -np.inf)

    def entropy(self) -> float:
        """Return the differential entropy in nats, the logarithm of the area."""
        return math.log(8 * self.side**2)

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, that hold the board."""
        return (-2 * self.side, 2 * self.side), (-2 * self.side, 2 * self.side)

    @property
    def finest(self) -> float:
        """A twentieth of a square's side: the density jumps, so that a quadrature errs by about that share."""
        return self.side / 20
