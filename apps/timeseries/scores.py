"""Scores of probabilistic forecasts, kept so that any table or curve can be drawn from them.

Dimension letters: N windows, Q query times, K channels, G blocks of time, H lead times.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from integrand.core.losses import gaussian_crps, gaussian_nll

Array = np.ndarray
LEVEL = 0.9
Z_LEVEL = 1.6448536269514722
"""Half-width of the central 90 % interval of a standard normal."""

METRICS = {
    "crps": "continuous ranked probability score",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "nll": "negative log-likelihood, nats",
    "coverage": "share of observations within the central 90 % interval",
    "width": "width of that interval",
}
"""Metrics and what they are; all on the standardised scale."""


@dataclass
class ScoreSums:
    """Sums of scores by block of time, lead time and channel, (G, H, K), and how many they are of."""

    shape: tuple[int, int, int]
    sums: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sums = {name: np.zeros(self.shape) for name in (*METRICS, "count")}

    def add(self, mean: Tensor, std: Tensor, target: Tensor, mask: Tensor, block_N: Array, lead_NQ: Array) -> None:
        """Add a batch: forecasts and targets (N, Q, K), the block of each window and the lead of each query."""
        error = mean - target
        scores = {
            "crps": gaussian_crps(mean, std, target),
            "mae": error.abs(),
            "mse": error**2,
            "nll": gaussian_nll(mean, std, target),
            "coverage": (error.abs() <= Z_LEVEL * std).double(),
            "width": 2 * Z_LEVEL * std,
            "count": torch.ones_like(error),
        }
        n, q, k = np.nonzero(mask.numpy())
        place = (block_N[n], lead_NQ[n, q], k)
        for name, score in scores.items():
            np.add.at(self.sums[name], place, score.double().numpy()[n, q, k])

    def mean(self, over: tuple[int, ...] = (0, 1, 2)) -> dict[str, Array]:
        """Average each metric over axes of (G, H, K)."""
        count = self.sums["count"].sum(over)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: self.sums[name].sum(over) / count for name in METRICS}


def block_bootstrap(
    scores: dict[str, ScoreSums], metric: str, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Interval of each forecaster's pooled metric, by resampling whole blocks of time with replacement.

    All forecasters are resampled alike, so that intervals of their differences may be read from ``relative_gain``.

    Source: Kuensch (1989), The jackknife and the bootstrap for general stationary observations.
    """
    draws = _resampled(scores, metric, resamples, seed)
    tail = (1 - level) / 2
    return {name: tuple(np.quantile(values, [tail, 1 - tail]).tolist()) for name, values in draws.items()}


def relative_gain(
    scores: dict[str, ScoreSums], metric: str, better: str, than: str, *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """By what share ``better`` lowers the metric of ``than``, with the paired 95 % block-bootstrap interval."""
    draws = _resampled(scores, metric, resamples, seed)
    gain = 1 - draws[better] / draws[than]
    whole = 1 - float(scores[better].mean()[metric]) / float(scores[than].mean()[metric])
    low, high = np.quantile(gain, [0.025, 0.975]).tolist()
    return whole, low, high


def _resampled(scores: dict[str, ScoreSums], metric: str, resamples: int, seed: int) -> dict[str, Array]:
    blocks = next(iter(scores.values())).shape[0]
    pick = np.random.default_rng(seed).integers(0, blocks, (resamples, blocks))
    drawn = {}
    for name, one in scores.items():
        total, count = one.sums[metric].sum((1, 2))[pick].sum(1), one.sums["count"].sum((1, 2))[pick].sum(1)
        drawn[name] = total / count
    return drawn
