"""Scores that are functions of sums over patients, with intervals by drawing whole patients anew.

Dimension letters: G patients, Q sums, R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
RESAMPLES = 2000
LEVEL = 0.95
Score = Callable[[Array], dict[str, Array]]
"""Maps sums (..., Q) to scores by name, each of the shape (...)."""


def compared(
    name: str,
    sums: Mapping[str, Array],
    score: Score,
    *,
    higher: Sequence[str],
    of: str = "patients",
    seed: int = 0,
) -> dict[str, Any]:
    """Return ``metrics``, ``intervals``, ``gains`` and ``bootstrap`` as results hold them.

    Patients are drawn anew with replacement, the same ones for all methods, so that gains are of pairs. A gain is the
    share by which a score of the method named is better than that of another.

    Args:
        name: the model's.
        sums: of each method, (G, Q): what was summed over each patient.
        score: from sums to scores.
        higher: scores of which more is better.
        of: what is drawn, in words.
        seed: of the draws.

    Example:
        >>> made = compared(
        ...     "a", {"a": np.array([[2.0, 4], [1, 4]]), "b": np.ones((2, 2))}, lambda s: {"e": s[..., 0] / s[..., 1]},
        ...     higher=[])
        >>> made["metrics"], round(made["gains"]["b"]["e"]["gain"], 3)
        ({'a': {'e': 0.375}, 'b': {'e': 1.0}}, 0.625)

    Source: Efron and Tibshirani (1993), An introduction to the bootstrap, Section 13.3.
    """
    count = len(next(iter(sums.values())))
    drawn = np.random.Generator(np.random.PCG64(seed)).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    points = {who: {metric: float(value) for metric, value in score(own.sum(0)).items()} for who, own in sums.items()}
    resampled = {who: score(drawn @ own) for who, own in sums.items()}

    def gain(metric: str, ours: Any, theirs: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            change = (theirs - ours) / np.abs(theirs)
        return np.nan_to_num(-change if metric in higher else change, nan=0.0, posinf=0.0, neginf=0.0)

    gains: dict[str, dict[str, dict[str, float]]] = {}
    for who, own in points.items():
        for metric in own if who != name else ():
            low, high = _interval(gain(metric, resampled[name][metric], resampled[who][metric]))
            point = float(gain(metric, np.float64(points[name][metric]), np.float64(own[metric])))
            gains.setdefault(who, {})[metric] = {"gain": point, "low": low, "high": high}
    return {
        "metrics": points,
        "intervals": {
            who: {metric: list(_interval(value)) for metric, value in own.items()} for who, own in resampled.items()
        },
        "gains": gains,
        "bootstrap": {"of": of, "resamples": RESAMPLES, "level": LEVEL},
    }


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
