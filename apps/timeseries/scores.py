"""Scores of Gaussian answers, kept so that any table or curve can be drawn from them.

Dimension letters: N windows, Q query times, K channels, G blocks that are resampled whole, H bins of difficulty (lead
times, or distances to the nearest observed value).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.apps.timeseries.gaussian_module import by_sample as mean_by_sample
from integrand.core.losses import gaussian_crps, gaussian_nll

Array = np.ndarray
LEVEL = 0.9
Z_LEVEL = 1.6448536269514722
"""Half-width of the central 90 % interval of a standard normal."""

METRICS = {
    "crps": "continuous ranked probability score",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "mase": "mean absolute error over that of the last value as forecast of the next one, in training",
    "nll": "negative log-likelihood, nats",
    "coverage": "share of observations within the central 90 % interval",
    "width": "width of that interval",
}
"""Metrics and what they are; all but MASE on the standardised scale."""
BY_SAMPLE = {"mse_by_sample": "mean squared error of each channel of each sample, 0 where it has none, and their mean"}
"""The error that Rubanova et al. (2019) publish, whose weight a channel's number of measurements is not."""
COMPARED = ("crps", "mae")
"""Metrics with intervals."""


@dataclass
class ScoreSums:
    """Sums of scores by block, bin and channel, (G, H, K), and how many they are of.

    Attributes:
        shape: (G, H, K).
        steps: (K,) what scales the absolute error of each channel to its MASE, of ``naive_steps``.
        sums: by name.
        samples: sum over samples and channels of the mean squared error of each, and how many these are.
    """

    shape: tuple[int, int, int]
    steps: Array
    sums: dict[str, Array] = field(default_factory=dict)
    samples: tuple[float, int] = (0.0, 0)

    def __post_init__(self) -> None:
        self.sums = {name: np.zeros(self.shape) for name in (*METRICS, "count")}

    def add(self, mean: Tensor, std: Tensor, target: Tensor, mask: Tensor, block_N: Array, bin_NQK: Array) -> None:
        """Add a batch: answers and targets (N, Q, K), the block of each window and the bin of each cell."""
        error = mean - target
        scores = {
            "crps": gaussian_crps(mean, std, target),
            "mae": error.abs(),
            "mse": error**2,
            "mase": error.abs() / torch.from_numpy(self.steps),
            "nll": gaussian_nll(mean, std, target),
            "coverage": (error.abs() <= Z_LEVEL * std).double(),
            "width": 2 * Z_LEVEL * std,
            "count": torch.ones_like(error),
        }
        n, q, k = np.nonzero(mask.numpy())
        place = (block_N[n], bin_NQK[n, q, k], k)
        for name, score in scores.items():
            np.add.at(self.sums[name], place, score.double().numpy()[n, q, k])
        squared = mean_by_sample(error.double() ** 2, mask)
        self.samples = self.samples[0] + float(squared.sum()), self.samples[1] + squared.numel()

    def mean(self, over: tuple[int, ...] = (0, 1, 2)) -> dict[str, Array]:
        """Average each metric over axes of (G, H, K)."""
        count = self.sums["count"].sum(over)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: self.sums[name].sum(over) / count for name in METRICS}

    def overall(self, *, by_sample: bool) -> dict[str, float]:
        """Return every metric over all there is; of samples that are whole series the error by sample, too."""
        whole = {name: float(value) for name, value in self.mean().items()}
        if not by_sample:
            return whole
        first = {name: whole.pop(name) for name in ("crps", "mae", "mse")}
        return {**first, "mse_by_sample": self.samples[0] / max(1, self.samples[1]), **whole}


def naive_steps(values: list[Array], scale: Sequence[float]) -> Array:
    """Return how far each channel moves between two observed values in training, on the mean, in units of its scale.

    It is what an error is measured by in MASE. A channel that never moves has 1.

    Args:
        values: (L, K) of each training series, NaN where missing.
        scale: (K,).

    Source: Hyndman and Koehler (2006), Another look at measures of forecast accuracy, eq. 3, of observed values.
    """
    steps = np.ones(len(scale))
    for k in range(len(scale)):
        moves = [np.abs(np.diff(series[np.isfinite(series[:, k]), k].astype(np.float64))) for series in values]
        mean = np.concatenate(moves).mean() if sum(map(len, moves)) else 0.0
        steps[k] = mean / scale[k] if mean > 0 else 1.0
    return steps


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


def compared(name: str, scores: dict[str, ScoreSums], channels: list[str], *, by_sample: bool) -> dict[str, Any]:
    """Return metrics, intervals, gains over the others and metrics by channel, as results hold them."""
    intervals = {metric: block_bootstrap(scores, metric) for metric in COMPARED}
    return {
        "metrics": {who: one.overall(by_sample=by_sample) for who, one in scores.items()},
        "intervals": {who: {metric: list(intervals[metric][who]) for metric in COMPARED} for who in scores},
        "gains": {
            other: {
                metric: dict(zip(("gain", "low", "high"), relative_gain(scores, metric, name, other), strict=True))
                for metric in COMPARED
            }
            for other in scores
            if other != name
        },
        "by_channel": {
            who: {
                channel: {metric: float(one.mean((0, 1))[metric][k]) for metric in COMPARED}
                for k, channel in enumerate(channels)
                if one.sums["count"][..., k].any()  # one that is never observed in the test part has no score
            }
            for who, one in scores.items()
        },
        "about": {**METRICS, **(BY_SAMPLE if by_sample else {})},
    }
