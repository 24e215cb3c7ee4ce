"""Curves in the plane, each point of them shifted at random: a density known by quadrature along the curves.

Dimension letters: N samples, K parts, Q nodes of the quadrature.
"""

import math
from abc import abstractmethod

import numpy as np
from scipy.special import erfcx, ndtri

from integrand.datasets.synthetic.planar.density import Array, Box, Density, Draws, choose
from integrand.datasets.synthetic.planar.gaussian_mixture import REACH

AT_ONCE = 1 << 16  # distances of points and nodes that are formed together
SPACING = 0.75  # of nodes, in standard deviations


class NoisyCurves(Density):
    """The density of c_k(v) + w b + s e: a point of one of K curves, shifted by uniform and by normal noise.

    The curve k is one of K, as likely as the others, v = u^(1/m) for a uniform u in (0, 1), b uniform in the unit
    square and e standard normal. So

        p(x) = 1/K sum_k int_0^1 m v^(m - 1) q(x - c_k(v)) dv,

    where q is N(0, s^2 I) if w = 0, and else the product over both axes of (Phi(d / s) - Phi((d - w) / s)) / w. The
    integral is taken by Gauss's rule with neighbouring nodes at most 0.75 s apart, which is exact to rounding: as a
    function along the curve the integrand is a Gaussian of deviation s, or wider, and the error is about exp(-35).

    Attributes:
        parts: K.
        power: m, 1 for a point that is uniform in the curve's parameter.
        deviation: s.
        width: w.
    """

    numbers = 6
    parts: int
    power: int = 1
    deviation: float
    width: float = 0.0

    @abstractmethod
    def curve(self, part: int, v: Array) -> Array:
        """Return the points (..., 2) of a curve at parameters from 0 to 1."""

    def transform(self, u_NK: Array) -> Draws:
        """Return the samples that uniform numbers in (0, 1) stand for."""
        labels, v = choose(u_NK[:, 0], self.parts), u_NK[:, 1] ** (1 / self.power)
        places = np.stack([self.curve(part, v) for part in range(self.parts)])[labels, np.arange(len(v))]
        return Draws(places + self.width * u_NK[:, 4:6] + self.deviation * ndtri(u_NK[:, 2:4]), labels)

    def log_density(self, x: Array) -> Array:
        """Return the logarithm of the density, (N,) in nats, at x (N, 2)."""
        x = np.asarray(x, np.float64)
        nodes_Q2, logs_Q = self._quadrature()
        size = max(1, AT_ONCE // len(nodes_Q2))
        logs = [self._log_sum(x[i : i + size], nodes_Q2, logs_Q) for i in range(0, len(x), size)]
        return np.concatenate(logs) if logs else np.empty(0)

    @property
    def box(self) -> Box:
        """The two intervals, of x and of y, outside of which lies less than 1e-12 of the probability."""
        places = np.concatenate([self.curve(part, np.linspace(0, 1, 4097)) for part in range(self.parts)])
        reach = (REACH + 1) * self.deviation  # between two of these points a curve bends by less than a deviation
        low, high = places.min(0) - reach, places.max(0) + self.width + reach
        return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))

    @property
    def finest(self) -> float:
        """The standard deviation s."""
        return self.deviation

    def _quadrature(self) -> tuple[Array, Array]:
        """Return nodes (Q, 2) on all curves and the logarithms of their weights (Q,), which add up to 1."""
        ends = np.linspace(0, 1, 4097)
        speed = np.linalg.norm(np.diff(self.curve(0, ends), axis=0), axis=1) * 4096
        v = (ends[1:] + ends[:-1]) / 2
        # About v, neighbours among Q nodes of Gauss's rule are pi sqrt(v (1 - v)) / Q apart.
        widest = math.pi * float((speed * np.sqrt(v * (1 - v))).max())
        at, weight = np.polynomial.legendre.leggauss(max(32, math.ceil(widest / (SPACING * self.deviation))))
        v = (at + 1) / 2
        each = np.log(weight / 2 * self.power * v ** (self.power - 1) / self.parts)
        return np.concatenate([self.curve(part, v) for part in range(self.parts)]), np.tile(each, self.parts)

    def _log_sum(self, x: Array, nodes_Q2: Array, logs_Q: Array) -> Array:
        # Axis by axis: sums over a last axis of length 2 take far longer.
        logs_NQ = logs_Q + sum(self._log_kernel(x[:, None, axis] - nodes_Q2[:, axis]) for axis in (0, 1))
        greatest_N1 = logs_NQ.max(1, keepdims=True)
        return np.log(np.exp(logs_NQ - greatest_N1).sum(1)) + greatest_N1[:, 0]

    def _log_kernel(self, d: Array) -> Array:
        """Return log q along one axis, without loss far from the curve, where both Phi are 0 or 1 to rounding."""
        s, w = self.deviation, self.width
        if not w:
            return -(d**2) / (2 * s**2) - math.log(s * math.sqrt(2 * math.pi))
        # Phi(high) - Phi(low) is even about w / 2: on the side where both are small nothing cancels.
        high = (w / 2 - np.abs(d - w / 2)) / s
        low = high - w / s
        # Phi(a) = exp(-a^2 / 2) erfcx(-a / sqrt 2) / 2, of which the exponential of high is taken out.
        gap = erfcx(-high / math.sqrt(2)) - erfcx(-low / math.sqrt(2)) * np.exp((high - low) * (high + low) / 2)
        return np.log(gap / (2 * w)) - high**2 / 2
