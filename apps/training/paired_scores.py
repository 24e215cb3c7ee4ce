"""Scores of several models on the same samples: means, intervals by a bootstrap of samples, gains over the others.

Dimension letters: N samples, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
RESAMPLES = 2000
LEVEL = 0.95


def compared(
    name: str,
    scores: Mapping[str, Mapping[str, Array]],
    *,
    metrics: Sequence[str],
    higher: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Return ``metrics``, ``intervals``, ``gains`` and ``bootstrap`` as results hold them.

    Samples are drawn anew with replacement, the same ones for all models, so that gains are of pairs.

    Args:
        name: the model's.
        scores: of each model, by metric, (N,); metrics that a model lacks are left out of its row.
        metrics: those with intervals and gains.
        higher: metrics of which more is better.
        seed: of the resamples.

    Example:
        >>> made = compared("a", {"a": {"e": np.ones(4)}, "b": {"e": np.full(4, 2.0)}}, metrics=["e"])
        >>> made["metrics"], made["gains"]["b"]["e"]
        ({'a': {'e': 1.0}, 'b': {'e': 2.0}}, {'gain': 0.5, 'low': 0.5, 'high': 0.5})

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, Section 13.3.
    """
    count = len(next(iter(next(iter(scores.values())).values())))
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(count, size=(RESAMPLES, count))
    metrics = [metric for metric in metrics if metric in scores[name]]
    means = {
        who: {metric: own[metric][drawn].mean(1) for metric in metrics if metric in own} for who, own in scores.items()
    }

    def gain(metric: str, ours: Any, theirs: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            change = (theirs - ours) / np.abs(theirs)
        return np.nan_to_num(-change if metric in higher else change, nan=0.0, posinf=0.0, neginf=0.0)

    gains = {}
    for other in scores:
        both = [metric for metric in metrics if other != name and metric in scores[other]]
        for metric in both:
            low, high = _interval(gain(metric, means[name][metric], means[other][metric]))
            point = float(gain(metric, scores[name][metric].mean(), scores[other][metric].mean()))
            gains.setdefault(other, {})[metric] = {"gain": point, "low": low, "high": high}
    return {
        "metrics": {who: {metric: float(each.mean()) for metric, each in own.items()} for who, own in scores.items()},
        "intervals": {
            who: {metric: list(_interval(each)) for metric, each in own.items()} for who, own in means.items()
        },
        "gains": gains,
        "bootstrap": {"of": "samples", "resamples": RESAMPLES, "level": LEVEL},
    }


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
