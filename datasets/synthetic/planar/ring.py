"""Eight normal distributions on a ring, as the first papers on continuous flows draw them."""

from integrand.datasets.synthetic.planar.gaussian_mixture import GaussianMixture


class Ring(GaussianMixture):
    """Eight normal distributions on a ring: radius 4 / 1.414, standard deviation 0.5 / 1.414 unless told otherwise.

    Its entropy is 2.832 nats.

    Args:
        radius: distance of the centres from the origin.
        deviation: standard deviation of each along both axes.

    Raises:
        InputError: one of them is not positive.

    Example:
        >>> ring = Ring()
        >>> ring.sample(3).shape, round(ring.entropy(), 3)
        ((3, 2), 2.832)

    Source: Grathwohl, Chen, Bettencourt, Sutskever and Duvenaud (2019), FFJORD: free-form continuous dynamics for
    scalable reversible generative models, Section 4.1, and the code published with it (``8gaussians``), which divides
    by 1.414 and not by the root of 2.
    """

    name = "ring"
    summary = "eight narrow normal distributions on a ring: 2-D density, exact"

    def __init__(self, radius: float = 4 / 1.414, deviation: float = 0.5 / 1.414) -> None:
        super().__init__(radius, deviation)
