"""A monotone map of the numbers of a column to the standard normal distribution, and back without loss.

Letters: N values, K knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from integrand.core.errors import InputError

NARROWEST = 1e-4
"""Least distance of two knots' normal scores: far above the rounding of float32, of less than 1e-4 probability."""
OUTERMOST = 8
"""Values that lie beyond the last quantile in a tail, at least."""
MARGIN = 1e-3
"""Share of a cell that draws keep from its edges, so that rounding to float32 cannot carry them over."""


@dataclass(frozen=True)
class QuantileMap:
    """A piecewise linear map x -> z that makes a column's values standard normal.

    Between the knots (x_k, z_k), whose z_k are normal scores of the cumulative distribution F,

        z(x) = z_k + (x - x_k) (z_{k+1} - z_k) / (x_{k+1} - x_k),    z_k = Phi^{-1}(F(x_k)),

    and beyond them along lines as steep as the outer half of the distribution. A value that many rows share has an
    interval of z, from which ``to_normal`` draws in proportion to the normal density: so ties, and values on a lattice,
    become as normal as all others, while every number of the interval leads back to the value. scikit-learn's
    QuantileTransformer has neither: it gives ties one number and cuts the tails at 5.2.

    Attributes:
        values: (K,) x_k, never falling; equal where many values are.
        scores: (K,) z_k, rising.

    Example:
        >>> column = np.array([0.0, 0.0, 0.0, 1.5, 2.5, 7.0])
        >>> one = QuantileMap.fit(column)
        >>> one.from_normal(one.to_normal(column)).tolist()
        [0.0, 0.0, 0.0, 1.5, 2.5, 7.0]

    Source: Rüschendorf (2009), On the distributional transform, Sklar's theorem, and the empirical copula process,
    Definition 1, for the draws.
    """

    values: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def fit(cls, values: np.ndarray, *, unit: float | None = None, knots: int = 100) -> QuantileMap:
        """Return the map of a column.

        Args:
            values: (N,) finite numbers, at least two of them different.
            unit: distance of the lattice the values lie on, where they do: each is then spread over a cell so wide.
            knots: how many quantiles shape the map, beside those of values that make up more than 1 / knots of all. Few
                keep smooth relations between columns smooth, many follow the column closely. In the tails there are
                more, at 1 / (2 knots), 1 / (4 knots) and so on while at least ``OUTERMOST`` values lie beyond, so that
                in a long column a few strange values do not draw out the whole last hundredth.

        Raises:
            InputError: fewer than two different values, or fewer than two knots.
        """
        if knots < 2:
            raise InputError(f"a quantile map needs at least 2 knots, got {knots}.")
        distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
        if len(distinct) < 2 or not np.isfinite(distinct).all():
            raise InputError("a quantile map needs at least two different finite values: leave a constant column out.")
        x, p, kept = _distribution(distinct, counts, unit, knots)
        total = int(counts.sum())
        if len(x) > knots:
            grid = _grid(knots, total)
            inside = kept | np.isin(np.arange(len(x)), (0, len(x) - 1))
            # Quantiles within a value that many share would add nothing to the edges of its interval.
            steps = [(np.interp(q, p, x), q) for q in grid if not _in_flat(q, p, kept)]
            points = sorted([*zip(x[inside], p[inside], strict=True), *steps], key=lambda point: (point[1], point[0]))
            x, p = (np.array(one) for one in zip(*points, strict=True))
            x = np.maximum.accumulate(x)
        z = ndtri(np.clip(p, 0.5 / total, 1 - 0.5 / total))
        return cls(*_with_tails(x, _risen(x, z)))

    def to_normal(
        self, x: np.ndarray, *, unit: float | None = None, generator: np.random.Generator | None = None
    ) -> np.ndarray:
        """Return the normal scores of values (N,), float64.

        Args:
            x: the values; those beyond all that the map was made of lie beyond their scores.
            unit: distance of the lattice they lie on, as in ``fit``.
            generator: draws where a value has an interval of scores; its median if None.
        """
        half = 0.0 if unit is None else unit / 2
        low, high = self._score(x - half, "left"), self._score(x + half, "right")
        share = 0.5 if generator is None else MARGIN + (1 - 2 * MARGIN) * generator.random(len(x))
        # Of two equal tails the lower has the digits.
        sign = np.where(low + high > 0, -1.0, 1.0)
        start, end = ndtr(sign * low), ndtr(sign * high)
        drawn = sign * ndtri(start + share * (end - start))
        # Far out the tail has no digits left, and the cell is narrow.
        drawn = np.where(np.isfinite(drawn) & (drawn >= low) & (drawn <= high), drawn, (low + high) / 2)
        if unit is None:
            return drawn
        # On a lattice too fine for float32 a draw may be rounded into the next cell: the value's own score is not.
        lost = np.abs(self.from_normal(drawn.astype(np.float32)) - x) > 0.499 * unit
        return np.where(lost, self._score(x, "right"), drawn)

    def from_normal(self, z: np.ndarray) -> np.ndarray:
        """Return the values (N,) float64 of normal scores; those on a lattice are still to be rounded to it."""
        return _along(np.asarray(z, dtype=np.float64), np.array(self.scores), np.array(self.values), "right")

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Return dx/dz (N,) at normal scores: by how much an error of z is enlarged."""
        scores, values = np.array(self.scores), np.array(self.values)
        piece = np.clip(np.searchsorted(scores, z, side="right") - 1, 0, len(scores) - 2)
        return np.diff(values)[piece] / np.diff(scores)[piece]

    def to_dict(self) -> dict[str, Any]:
        """Return the map as plain values."""
        return {"values": list(self.values), "scores": list(self.scores)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> QuantileMap:
        """Return the map of ``to_dict``."""
        return cls(tuple(map(float, plain["values"])), tuple(map(float, plain["scores"])))

    def _score(self, x: np.ndarray, side: str) -> np.ndarray:
        """Return the least score of each value, or from the right the greatest."""
        return _along(np.asarray(x, dtype=np.float64), np.array(self.values), np.array(self.scores), side)


def _distribution(
    distinct: np.ndarray, counts: np.ndarray, unit: float | None, knots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (x, p) of the cumulative distribution, both never falling, and which belong to frequent values.

    A frequent value, of more than 1 / knots of all, has two points: the edges of its cell, which on no lattice has no
    width. Other values share the gaps between them, so that what lies there has scores of its own.
    """
    total = counts.sum()
    upper = np.cumsum(counts) / total
    lower = np.concatenate([[0.0], upper[:-1]])
    frequent = counts * knots > total
    half = 0.0 if unit is None else unit / 2
    x: list[float] = []
    p: list[float] = []
    kept: list[bool] = []
    last = len(distinct) - 1
    for i, value in enumerate(distinct):
        if frequent[i] or (unit is not None and i in (0, last)):
            edges = [(value - half, lower[i]), (value + half, upper[i])]
            if not frequent[i]:  # the ends of a lattice: one edge is the gap's middle
                edges = edges[:1] if i == 0 else edges[1:]
        elif unit is None:
            edges = [(value, (lower[i] + upper[i]) / 2)]
        else:
            edges = []
        if unit is not None and i > 0 and not frequent[i] and not frequent[i - 1]:
            edges.insert(0, ((distinct[i - 1] + value) / 2, lower[i]))
        for place, share in edges:
            if x and share == p[-1] and place - x[-1] < 1e-6 * half:  # cells that touch have one edge
                continue
            x.append(place)
            p.append(share)
            kept.append(bool(frequent[i]))
    return np.maximum.accumulate(np.array(x)), np.maximum.accumulate(np.array(p)), np.array(kept)


def _grid(knots: int, total: int) -> np.ndarray:
    """Return the quantiles that shape a map: equally far apart, and in the tails each half as far out as the last."""
    halvings = max(0, int(np.log2(max(1.0, total / (knots * OUTERMOST)))))
    tail = 1 / (knots * 2.0 ** np.arange(halvings, 0, -1))
    return np.concatenate([tail, np.linspace(0, 1, knots + 1)[1:-1], 1 - tail[::-1]])


def _in_flat(q: float, p: np.ndarray, kept: np.ndarray) -> bool:
    """Return whether a quantile falls on a frequent value."""
    after = int(np.searchsorted(p, q, side="right"))
    return bool(0 < after < len(p) and kept[after - 1] and kept[after])


def _risen(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return scores that rise by at least ``NARROWEST`` from knot to knot."""
    steps = NARROWEST * np.arange(len(z))
    return np.maximum.accumulate(z - steps) + steps


def _with_tails(x: np.ndarray, z: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Add a knot beyond each end, along the line from the end to the median."""
    middle = np.interp(0.0, z, x)
    whole = (x[-1] - x[0]) / (z[-1] - z[0])

    def steepness(end: int) -> float:
        rise, run = x[end] - middle, z[end]
        return float(rise / run) if rise * run > 0 else float(whole)

    values = (x[0] - steepness(0), *x, x[-1] + steepness(-1))
    return tuple(map(float, values)), tuple(map(float, (z[0] - 1, *z, z[-1] + 1)))


def _along(at: np.ndarray, knots: np.ndarray, heights: np.ndarray, side: Any) -> np.ndarray:
    """Return a piecewise linear function, extended beyond its ends; where it jumps, its value from the side."""
    after = np.searchsorted(knots, at, side=side)
    piece = np.clip(after - 1, 0, len(knots) - 2)
    left, width = knots[piece], knots[piece + 1] - knots[piece]
    return heights[piece] + (at - left) * ((heights[piece + 1] - heights[piece]) / width)
