"""Scores of class probabilities, and how surely they tell two classifiers apart.

Dimension letters: N samples, K classes, R resamples, T distinct scores, B bins of confidence, G groups.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_f1_score,
    multiclass_recall,
)

from integrand.core.errors import InputError, unknown

Array = np.ndarray
BINS = 15
"""Bins of confidence in the calibration error."""
SMALLEST = float(np.finfo(np.float32).eps)
"""Least probability of the true class that the log-likelihood counts."""

METRICS = {
    "accuracy": "share of samples whose most probable class is their own",
    "balanced_accuracy": "that share within each class, averaged over the classes present",
    "auroc": "area under the receiver operating characteristic; of two classes the second's, of more the mean over the "
    "classes present, each against the rest",
    "auprc": "average precision; of two classes the second's, of more the mean over the classes present, each against "
    "the rest",
    "f1": "harmonic mean of precision and recall; of two classes the second's, of more the mean over the classes "
    "present",
    "ece": "expected calibration error: how far confidence and accuracy lie apart, over 15 equal bins of confidence",
    "brier": "squared distance of the probabilities from the true class, summed over classes; of two classes of the "
    "second's alone",
    "nll": "negative log-likelihood of the true class, nats",
}
"""Metrics and what they are."""

LOWER_IS_BETTER = frozenset(("brier", "ece", "nll"))


@dataclass(frozen=True)
class Bootstrap:
    """What resampling says of one metric.

    Attributes:
        metric: its name.
        intervals: low and high end for each classifier.
        gains: ``{"gain", "low", "high"}`` of the named classifier over each other, positive where it is better; empty
            where none was named.
    """

    metric: str
    intervals: dict[str, tuple[float, float]]
    gains: dict[str, dict[str, float]]


def classification_scores(probabilities: Array | Tensor, labels: Array | Tensor) -> dict[str, float]:
    """Score class probabilities by every one of ``METRICS``.

    Averages over classes run over those present in the labels, so that a class that a small test part lacks neither
    helps nor hurts. Where only one class is present, ``auroc`` and ``auprc`` are NaN: there is nothing to rank it
    against; so is ``f1`` of two classes where the second is absent.

    Args:
        probabilities: (N, K), rows that sum to 1.
        labels: (N,), the number of each sample's class, 0..K-1.

    Raises:
        InputError: where the arguments are not that.

    Example:
        >>> scores = classification_scores(np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]), np.array([0, 1, 1]))
        >>> round(scores["accuracy"], 3), scores["balanced_accuracy"], scores["auroc"]
        (0.667, 0.75, 1.0)
    """
    p_NK, y_N = _checked(probabilities, labels)
    p, y, predicted = torch.from_numpy(p_NK), torch.from_numpy(y_N), torch.from_numpy(p_NK.argmax(1))
    classes = p.shape[1]
    present = np.unique(y_N)
    scored = _scored(p_NK, y_N)
    ranked = scored if len(present) > 1 else []
    recall_K = multiclass_recall(predicted, y, classes, average="none").double()
    f1_K = multiclass_f1_score(predicted, y, classes, average="none").double()
    return {
        "accuracy": float((predicted == y).double().mean()),
        "balanced_accuracy": float(recall_K[present].mean()),
        "auroc": _average([float(binary_auroc(p[:, k], (y == k).long())) for k in ranked]),
        "auprc": _average([float(binary_average_precision(p[:, k], (y == k).long())) for k in ranked]),
        "f1": _average([float(f1_K[k]) for k in scored]),
        "ece": float(_ece(p_NK, y_N, np.ones((1, len(y_N))))[0]),
        "brier": float(_brier(p_NK, y_N, np.ones((1, len(y_N))))[0]),
        "nll": float(_nll(p_NK, y_N, np.ones((1, len(y_N))))[0]),
    }


def bootstrap(
    probabilities: Mapping[str, Array | Tensor],
    labels: Array | Tensor,
    metric: str,
    *,
    better: str | None = None,
    groups: Array | None = None,
    relative: bool = True,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Bootstrap:
    """Interval of each classifier's metric, by resampling samples within each class, or whole groups, with replacement.

    Without groups every resample holds each class as often as the labels do, so that no metric is undefined in some of
    them. Samples of one group, such as the beats of one patient, are no independent witnesses: where groups are given
    they are drawn whole, and a resample in which a metric is undefined does not count. All classifiers are resampled
    alike: the intervals of the gains are paired.

    Args:
        probabilities: (N, K) of each classifier, by name.
        labels: (N,), the classes.
        metric: one of ``METRICS``.
        better: the classifier whose gain over every other is wanted, or None.
        groups: (N,) of which group each sample is, or None where each stands for itself.
        relative: gains as a share of the other's metric (NaN or infinite where that is 0), else as a difference.
        resamples: how many are drawn.
        seed: of the draws.
        level: of the intervals.

    Raises:
        InputError: for an unknown metric or name, or probabilities and labels that do not fit.

    Source: Davison and Hinkley (1997), Bootstrap methods and their application, sections 3.2 (stratified resampling)
    and 3.8 (of clusters).
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if better is not None and better not in probabilities:
        raise unknown("classifier", better, probabilities)
    if resamples < 1 or not 0 < level < 1:
        raise InputError(f"bootstrap needs resamples >= 1 and 0 < level < 1, got {resamples} and {level}.")
    checked = {who: _checked(one, labels) for who, one in probabilities.items()}
    if not checked:
        return Bootstrap(metric, {}, {})
    y_N = next(iter(checked.values()))[1]
    whole = {who: float(_WEIGHTED[metric](p, y_N, np.ones((1, len(y_N))))[0]) for who, (p, _) in checked.items()}
    drawn: dict[str, list[Array]] = {who: [] for who in checked}
    rng = np.random.default_rng(seed)
    group_N = None if groups is None else _groups(groups, len(y_N))
    size = max(1, 1_000_000 // len(y_N))  # resamples at once, to bound the memory
    for start in range(0, resamples, size):
        count = min(size, resamples - start)
        weight_RN = _resampled(y_N, count, rng) if group_N is None else group_weights(group_N, count, rng)
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may lack a class
            for who, (p, _) in checked.items():
                drawn[who].append(_WEIGHTED[metric](p, y_N, weight_RN))
    draws = {who: np.concatenate(parts) for who, parts in drawn.items()}
    tails = [(1 - level) / 2, (1 + level) / 2]
    gains: dict[str, dict[str, float]] = {}
    if better is not None:
        for other in [who for who in draws if who != better]:
            low, high = np.nanquantile(_gain(metric, draws[better], draws[other], relative), tails).tolist()
            gain = float(_gain(metric, np.array(whole[better]), np.array(whole[other]), relative))
            gains[other] = {"gain": gain, "low": low, "high": high}
    intervals = {who: tuple(np.nanquantile(values, tails).tolist()) for who, values in draws.items()}
    return Bootstrap(metric, intervals, gains)


def confusion(labels: Array, predicted: Array, classes: int) -> Array:
    """Count how often each class (rows) is taken for each (columns), (K, K).

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def group_weights(groups: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Return how often each sample is in each resample of whole groups with replacement, (R, N) float64.

    Args:
        groups: (N,) of which group each sample is.
        resamples: R.
        rng: draws them.

    Example:
        >>> group_weights(np.array([7, 7, 9]), 1000, np.random.default_rng(0)).mean(0).round(1)
        array([1., 1., 1.])
    """
    number_N = np.unique(groups, return_inverse=True)[1]
    count = int(number_N.max()) + 1
    pick = rng.integers(0, count, (resamples, count)) + count * np.arange(resamples)[:, None]
    times = np.bincount(pick.ravel(), minlength=resamples * count).reshape(resamples, count)
    return times[:, number_N].astype(np.float64)


def _checked(probabilities: Array | Tensor, labels: Array | Tensor) -> tuple[Array, Array]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise InputError(f"probabilities must be (N, K) with N >= 1 and K >= 2, got shape {p.shape}.")
    if y.shape != p.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"labels must be {len(p)} whole numbers, one a sample, got {y.dtype} of shape {y.shape}.")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise InputError(
            f"labels must lie in 0..{p.shape[1] - 1}, got {y.min()} to {y.max()}: give every class a column."
        )
    # float32 softmax over many classes sums to 1 within some 1e-6
    if not (np.isfinite(p).all() and p.min() >= 0 and np.abs(p.sum(1) - 1).max() <= 1e-4):
        raise InputError(
            "probabilities must be finite, not negative, and sum to 1 in each row: apply softmax to logits."
        )
    return np.minimum(p, 1.0), y.astype(np.int64)


def _scored(p_NK: Array, y_N: Array) -> list[int]:
    """Classes whose own scores are averaged: those present, of two the second alone."""
    present = np.unique(y_N).tolist()
    return [k for k in present if k == 1] if p_NK.shape[1] == 2 else present


def _average(scores: list[float]) -> float:
    return float(np.mean(scores)) if scores else float("nan")


def _gain(metric: str, ours: Array, theirs: Array, relative: bool) -> Array:
    change = theirs - ours if metric in LOWER_IS_BETTER else ours - theirs
    with np.errstate(invalid="ignore", divide="ignore"):
        return change / np.abs(theirs) if relative else change


def _resampled(y_N: Array, resamples: int, rng: np.random.Generator) -> Array:
    """How often each sample is in each resample, (R, N)."""
    weight_RN = np.zeros((resamples, len(y_N)))
    for k in np.unique(y_N):
        rows = np.nonzero(y_N == k)[0]
        pick = rng.integers(0, len(rows), (resamples, len(rows))) + len(rows) * np.arange(resamples)[:, None]
        count = np.bincount(pick.ravel(), minlength=resamples * len(rows))
        weight_RN[:, rows] = count.reshape(resamples, len(rows))
    return weight_RN


def _groups(groups: Array, count: int) -> Array:
    """Return the number of each sample's group, (N,)."""
    if np.shape(groups) != (count,):
        raise InputError(f"groups must be {count}, one a sample, got shape {np.shape(groups)}.")
    return np.unique(np.asarray(groups), return_inverse=True)[1]


# Each metric of weighted samples: probabilities (N, K), labels (N,), how often each counts (R, N) -> (R,). One matrix
# product or cumulative sum serves all resamples, which a call a resample of the library's functions could not.


def _accuracy(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    return weight_RN @ (p_NK.argmax(1) == y_N) / weight_RN.sum(1)


def _balanced_accuracy(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    own_NK = y_N[:, None] == np.unique(y_N)
    hit_N = p_NK.argmax(1) == y_N
    return (weight_RN @ (own_NK & hit_N[:, None]) / (weight_RN @ own_NK)).mean(1)


def _f1(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    scored = _scored(p_NK, y_N)
    if not scored:
        return np.full(len(weight_RN), np.nan)
    own_NK, said_NK = y_N[:, None] == scored, p_NK.argmax(1)[:, None] == scored
    return (2 * (weight_RN @ (own_NK & said_NK)) / (weight_RN @ own_NK + weight_RN @ said_NK)).mean(1)


def _ece(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    """Sum over bins of |accuracy - confidence|, weighted by the share of samples in the bin.

    Bin b holds confidences in (b/B, (b+1)/B]. Ours, since torchmetrics (1.9) puts confidences of exactly 1 in a bin of
    their own.

    Source: Guo et al. (2017), On calibration of modern neural networks, Eq. 3.
    """
    confidence = p_NK.max(1)
    excess = (p_NK.argmax(1) == y_N) - confidence
    bin_N = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    excess_NB = np.where(bin_N[:, None] == np.arange(BINS), excess[:, None], 0)
    return np.abs(weight_RN @ excess_NB).sum(1) / weight_RN.sum(1)


def _brier(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    """Sum over classes of the squared distance from the true class; of two classes of the second alone, half of that.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability, Eq. 2.
    """
    error_NK = (p_NK - (y_N[:, None] == np.arange(p_NK.shape[1]))) ** 2
    own = error_NK[:, 1] if p_NK.shape[1] == 2 else error_NK.sum(1)
    return weight_RN @ own / weight_RN.sum(1)


def _nll(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
    own = p_NK[np.arange(len(y_N)), y_N]
    return weight_RN @ -np.log(np.maximum(own, SMALLEST)) / weight_RN.sum(1)


def _ranked(area: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], Array]:
    """Average over classes an area under a curve, given by true and false positives (R, T) at falling thresholds."""

    def metric(p_NK: Array, y_N: Array, weight_RN: Array) -> Array:
        if len(np.unique(y_N)) < 2:
            return np.full(len(weight_RN), np.nan)
        areas = []
        for k in _scored(p_NK, y_N):
            order = np.argsort(-p_NK[:, k], kind="stable")
            score = p_NK[order, k]
            last = np.append(np.nonzero(np.diff(score))[0], len(score) - 1)  # of each run of equal scores
            weight, own = weight_RN[:, order], y_N[order] == k
            areas.append(area(np.cumsum(weight * own, 1)[:, last], np.cumsum(weight * ~own, 1)[:, last]))
        return np.mean(areas, axis=0)

    return metric


def _area_under_roc(hits_RT: Array, alarms_RT: Array) -> Array:
    """Trapezoids: pairs of a positive and a negative rightly ordered, ties half, over all pairs."""
    rise, step = np.diff(hits_RT, prepend=0), np.diff(alarms_RT, prepend=0)
    return (step * (hits_RT - rise / 2)).sum(1) / (hits_RT[:, -1] * alarms_RT[:, -1])


def _average_precision(hits_RT: Array, alarms_RT: Array) -> Array:
    """Precision at each threshold, weighted by the recall gained there."""
    precision = hits_RT / np.maximum(hits_RT + alarms_RT, 1)
    return (np.diff(hits_RT, prepend=0) * precision).sum(1) / hits_RT[:, -1]


_WEIGHTED: dict[str, Callable[[Array, Array, Array], Array]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "auroc": _ranked(_area_under_roc),
    "auprc": _ranked(_average_precision),
    "f1": _f1,
    "ece": _ece,
    "brier": _brier,
    "nll": _nll,
}
