"""Two half circles smeared along the diagonal: where the task of eight Gaussians to moons ends."""

import math

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.synthetic.planar.density import Array, Box, Density, Draws, choose, positive

SCALE, SHIFT, WIDEST = 3.0, -1.0, 1 / 3


class SmearedMoons(Density):
    """The density of 3 (c + b (1, 1)) - 1, c on one of two half circles and b uniform in (0, ``width``).

    The half circles are those of ``Moons``, (cos a, sin a) and (1 - cos a, 1/2 - sin a). The published code adds one
    random number to both coordinates, where its name promises noise that is normal: the published results rest on this
    density. It is exact. With z = (x + 1) / 3 of a point x and, for the upper arc,

        s = (z_1 - z_2) / sqrt(2) = cos f,    a = f - pi/4,

    a point has the angles f and 2 pi - f, of which those count that lie in [pi/4, 5 pi/4] and leave
    b = z_1 - cos a in (0, width). Each adds 1 / (2 pi width |cos a + sin a|), over 3^2 for the scale. The lower arc is
    the upper one, turned by a half circle about (1/2, 1/4). The density has no bound: an arc folds back where its
    tangent is the diagonal, and there grows as the inverse root of the distance.

    Args:
        width: greatest shift along both axes, before the scale; at most 1/3, so that the arcs do not meet.

    Raises:
        InputError: it is not positive, or so large that the arcs meet.

    Example:
        >>> SmearedMoons().sample(3).shape, round(SmearedMoons().entropy(), 3)
        ((3, 2), 2.048)

    Source: Tong, Fatras, Malkin, Huguet, Zhang, Rector-Brooks, Wolf and Bengio (2024), Improving and generalizing
    flow-based generative models with minibatch optimal transport, TMLR, and the code published with it (torchcfm,
    ``sample_moons``), by way of torchdyn's ``generate_moons``; the same in Cheng and Schwing (2025), The curse of
    conditions (C2OT). Their angles lie on a grid and their arcs are equal in number, as ``as_published``
    has them; else all is drawn.
    """

    name = "smeared_moons"
    summary = "two half circles smeared along the diagonal, the end of eight Gaussians to moons: 2-D density, exact"
    classes = ("upper", "lower")
    numbers = 3

    def __init__(self, width: float = 0.2) -> None:
        self.width = positive(self.name, "width", width)
        if self.width > WIDEST:
            raise InputError(f"{self.name}: width={width!r} is out of range: above 1/3 the arcs may meet.")

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        labels, a = choose(u_NK[:, 0], 2), math.pi * u_NK[:, 1]
        upper = np.stack([np.cos(a), np.sin(a)], axis=1)
        arc = np.where(labels[:, None] == 0, upper, np.array([1.0, 0.5]) - upper)
        return Draws(SCALE * (arc + self.width * u_NK[:, 2:]) + SHIFT, labels)

    def as_published(self, n: int, seed: int = 0) -> Draws:
        """Return n samples of the published recipe: angles on a grid, half of them on each arc, the shifts drawn.

        They are not independent, and lie far closer to the density than independent ones: between two sets of 2,000 the
        squared Wasserstein distance is about 0.006, between independent ones about 0.05, for the share of an arc then
        varies. Distances that are published are to a set like this one.

        Raises:
            InputError: less than two samples, or a negative seed.

        Example:
            >>> SmearedMoons().as_published(5).labels.tolist()
            [0, 0, 1, 1, 1]
        """
        if n < 2:
            raise InputError(f"samples={n!r} is out of range: ask for at least 2, one of each arc.")
        u_NK = self.numbers_of(n, seed)
        upper = n // 2
        u_NK[:, 0] = np.where(np.arange(n) < upper, 0.0, 0.5)
        u_NK[:, 1] = np.concatenate([np.linspace(0, 1, upper), np.linspace(0, 1, n - upper)])
        return self.transform(u_NK)

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) in nats, at x (N, 2); -inf off the smeared arcs."""
        z = (np.asarray(x, np.float64) - SHIFT) / SCALE
        # The lower arc is (1, 1/2) less the upper, and its shift b is that of the upper arc with the sign turned.
        both = self._arc(z) + self._arc(np.array([1.0, 0.5]) + self.width - z)
        with np.errstate(divide="ignore"):
            return np.log(both / (2 * math.pi * self.width * SCALE**2))

    def _arc(self, z: Array) -> Array:
        """Return the sum of 1 / |cos a + sin a| over the points of the upper arc that z (N, 2) can be shifted from."""
        s = (z[:, 0] - z[:, 1]) / math.sqrt(2)
        total = np.zeros(len(z))
        first = np.arccos(np.clip(s, -1, 1))
        for f in (first, 2 * math.pi - first):
            shift = z[:, 0] - np.cos(f - math.pi / 4)
            here = (np.abs(s) < 1) & (f >= math.pi / 4) & (f <= 5 * math.pi / 4) & (shift > 0) & (shift < self.width)
            slope = math.sqrt(2) * np.abs(np.sin(f))  # |cos a + sin a|
            total += np.divide(1.0, slope, out=np.zeros(len(z)), where=here & (slope > 0))
        return total

    def entropy(self) -> float:
        """Return the differential entropy in nats, in closed form.

        It is log(2 pi w) + E log |cos a + sin a| + 2 log 3 - P log 2: the mean is -log(2) / 2, and P is the probability
        of where an arc is folded on itself, in which the density is twice that of either sheet.
        """
        edge = math.asin(self.width / math.sqrt(2))
        folded = 2 / math.pi * (edge - math.sqrt(2) * (1 - math.cos(edge)) / self.width)
        return math.log(2 * math.pi * self.width * SCALE**2) - (0.5 + folded) * math.log(2)

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, that hold the arcs."""
        low, high = np.array([-1.0, -0.5]), np.array([2.0, 1.0]) + self.width
        low, high = SCALE * low + SHIFT, SCALE * high + SHIFT
        return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    @property
    def finest(self) -> float:
        """A twentieth of the width: the density jumps and has poles, so that a quadrature errs by about that share."""
        return SCALE * self.width / 20
