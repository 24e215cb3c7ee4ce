"""Probabilities that keep their word: what is fitted on patients the network did not learn from.

Dimension letters: N samples, K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from integrand.core.errors import InputError

Array = np.ndarray
RANGE = (0.05, 20.0)
"""Least and greatest temperature."""


def temperature(scores: Array, labels: Array, weights: Array | None = None) -> float:
    """Return the temperature T by which softmax(scores / T) is most likely.

    One number cannot change which class is the most probable. Where every label is right at any T, it is the least of
    ``RANGE``, and where the scores say nothing the greatest.

    Args:
        scores: (N, K) logarithms of probabilities, up to a constant a row.
        labels: (N,).
        weights: (N,) of the samples; all alike where None.

    Raises:
        InputError: there is no sample, or they do not fit together.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> true = rng.standard_normal((20_000, 2))
        >>> labels = (rng.random(20_000) > 1 / (1 + np.exp(true[:, 1] - true[:, 0]))).astype(int)
        >>> round(temperature(3 * true, labels), 1)
        3.0

    Source: Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, Section 4.2.
    """
    if scores.ndim != 2 or not len(scores) or labels.shape != scores.shape[:1]:
        raise InputError(
            f"a temperature is fitted to scores (N, K) with a label each, got {scores.shape} and {labels.shape}."
        )
    weight = np.full(len(scores), 1 / len(scores)) if weights is None else weights / weights.sum()
    scores = scores.astype(np.float64)

    def loss(log_t: float) -> float:
        own = log_softmax(scores / np.exp(log_t), axis=1)[np.arange(len(labels)), labels]
        return -float(weight @ own)

    # Convex in 1 / T, so that there is one minimum.
    found: Any = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Isotonic:
    """A rising step function for each class's probability against the rest; rows are made to sum to one again.

    Attributes:
        maps: one fitted ``sklearn.isotonic.IsotonicRegression`` a class.

    Source: Zadrozny and Elkan (2002), Transforming classifier scores into accurate multiclass probability estimates.
    """

    maps: tuple[Any, ...]

    @classmethod
    def fit(cls, probabilities: Array, labels: Array) -> "Isotonic":
        """Fit to probabilities (N, K) and labels (N,).

        Example:
            >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
            >>> Isotonic.fit(p, np.array([0, 0, 1, 1]))(p).round(2).tolist()
            [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
        """
        from sklearn.isotonic import IsotonicRegression

        maps = tuple(
            IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(column, labels == k)
            for k, column in enumerate(probabilities.T)
        )
        return cls(maps)

    def __call__(self, probabilities: Array) -> Array:
        """Return the probabilities (N, K) as the maps have them; a row that all maps call 0 stays as it was."""
        raised = np.stack([one.predict(column) for one, column in zip(self.maps, probabilities.T, strict=True)], axis=1)
        total = raised.sum(1, keepdims=True)
        return np.where(total > 0, raised / np.where(total > 0, total, 1), probabilities)
