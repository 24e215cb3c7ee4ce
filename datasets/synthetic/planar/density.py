"""A probability density in the plane: how it is drawn from, and its value where that is known.

Dimension letters: N samples, K random numbers a sample.
"""

import zlib
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from integrand.core.errors import InputError

Array = np.ndarray
Box = tuple[tuple[float, float], tuple[float, float]]
SMALLEST = 2.0**-54  # half of the gap between the numbers of [0, 1) that are drawn
AT_ONCE = 4096  # points of a quadrature whose densities are formed together


class Draws(NamedTuple):
    """Samples (N, 2) float64 and the number of the part of the density each is from, (N,) int64."""

    values: Array
    labels: Array


class Density(ABC):
    """What a density in the plane offers; a subclass is one density.

    Sample i is a function of K uniform random numbers, those of (seed, name, i): it is the same however many samples
    are asked for, and draws of two densities with one seed are independent of each other.

    Attributes:
        name: what the catalogue calls it.
        summary: one line for lists.
        classes: names of the parts it is made of, by which samples are labelled; empty where there is one alone.
        numbers: K.
        exact: whether ``log_density`` is known.
    """

    name: str
    summary: str
    classes: tuple[str, ...] = ()
    numbers: int
    exact: bool = True

    @abstractmethod
    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) float64 in nats, at x (N, 2); -inf where the density is 0.

        Raises:
            InputError: it is not known.
        """
        raise InputError(f"the density of {self.name} is not known in closed form: compare samples of it instead.")

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, outside of which lies less than 1e-12 of the probability."""
        raise InputError(f"the density of {self.name} is not known in closed form: compare samples of it instead.")

    @property
    def finest(self) -> float:
        """The length below which the density changes little: the least standard deviation that it is smoothed with."""
        raise InputError(f"the density of {self.name} is not known in closed form: compare samples of it instead.")

    def draw(self, n: int, seed: int = 0) -> Draws:
        """Draw n labelled samples.

        Raises:
            InputError: less than one sample, or a negative seed.
        """
        return self.transform(self.numbers_of(n, seed))

    def numbers_of(self, n: int, seed: int) -> Array:
        """Return the uniform numbers (n, K) in (0, 1) that n samples are made of; ``draw`` tells what it raises."""
        if n < 1:
            raise InputError(f"samples={n!r} is out of range: ask for at least 1.")
        if seed < 0:
            raise InputError(f"seed={seed!r} is out of range: it must not be negative.")
        generator = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(self.name.encode())]))
        return np.maximum(generator.random((n, self.numbers)), SMALLEST)

    def sample(self, n: int, seed: int = 0) -> Array:
        """Draw n samples, (n, 2) float64; see ``draw`` for their labels."""
        return self.draw(n, seed).values

    def entropy(self) -> float:
        """Return the differential entropy -E log p in nats, which no model's negative log-likelihood can be below.

        By the trapezoidal rule over ``box``, in steps of half of ``finest``: for a density that normal noise smooths
        and that vanishes at the edges, its error falls faster than any power of the step.
        """
        points, area = self.grid()
        logs = np.concatenate([self.log_density(points[i : i + AT_ONCE]) for i in range(0, len(points), AT_ONCE)])
        density = np.exp(logs)
        return -float(xlogy(density, density).sum()) * area

    def grid(self, step: float | None = None) -> tuple[Array, float]:
        """Return the points (Q, 2) of a square grid over ``box`` and the area that each stands for.

        Args:
            step: distance of neighbours; half of ``finest`` where None.
        """
        step = self.finest / 2 if step is None else step
        x, y = (np.arange(low, high + step, step) for low, high in self.box)
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2), step**2


def choose(u_N: Array, parts: int) -> Array:
    """Return the number of one of ``parts`` equally likely parts, (N,) int64, from uniform numbers."""
    return np.minimum((u_N * parts).astype(np.int64), parts - 1)


def positive(name: str, what: str, value: float) -> float:
    """Return ``value``, or raise ``InputError`` where it is not positive and finite."""
    if not 0 < value < np.inf:
        raise InputError(f"{name}: {what}={value!r} is out of range: it must be positive.")
    return float(value)
