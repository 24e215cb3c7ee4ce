"""Scores of several labels at once, and what the validation part sets for each of them.

Dimension letters: N segments, K labels, R resamples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from integrand.apps.training.class_scores import group_weights
from integrand.core.errors import InputError

Array = np.ndarray
BINS = 15
ABOUT = {
    "macro_auroc": "area under the receiver operating characteristic, the mean over the labels that occur",
    "macro_auprc": "average precision, the mean over the labels that occur",
    "macro_f1": "harmonic mean of sensitivity and positive predictivity at each label's threshold of the validation "
    "part, the mean over the labels that occur",
    "ece": "expected calibration error of each label's probability, over 15 equal bins, the mean over labels",
    "brier": "squared distance of each label's probability from 0 or 1, the mean over labels",
    "nll": "negative log-likelihood of whether each label holds, the mean over labels, nats",
}
"""Metrics and what they are."""
RESAMPLED = ("macro_auroc", "macro_f1", "brier", "nll")
"""Metrics with intervals."""


def label_scores(p: Array, labels: Array, thresholds: Array) -> dict[str, float]:
    """Return every metric of ``ABOUT``; a label that never or always holds in ``labels`` has no ranking.

    Args:
        p: (N, K) probabilities.
        labels: (N, K) bool.
        thresholds: (K,) from which a label is named.

    Example:
        >>> p, y = np.array([[0.9, 0.2], [0.4, 0.6], [0.1, 0.7]]), np.array([[1, 0], [1, 0], [0, 1]], dtype=bool)
        >>> found = label_scores(p, y, np.array([0.3, 0.65]))
        >>> found["macro_auroc"], found["macro_f1"]
        (1.0, 1.0)
    """
    _check(p, labels)
    each = by_label(p, labels, thresholds)
    return {
        "macro_auroc": _mean(each["AUROC"]),
        "macro_auprc": _mean(each["AUPRC"]),
        "macro_f1": _mean(np.where(labels.any(axis=0), each["F1"], np.nan)),
        "ece": float(np.mean([_calibration_error(p[:, k], labels[:, k]) for k in range(p.shape[1])])),
        "brier": float(((p - labels) ** 2).mean()),
        "nll": float(_losses(p, labels).mean()),
    }


def by_label(p: Array, labels: Array, thresholds: Array) -> dict[str, Array]:
    """Return AUROC, AUPRC, sensitivity, positive predictivity and F1 of each label, (K,); NaN where undefined."""
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    mixed: Array = np.logical_and(labels.any(axis=0), ~labels.all(axis=0))
    ranked = {
        name: np.array([metric(labels[:, k], p[:, k]) if mixed[k] else np.nan for k in range(p.shape[1])])
        for name, metric in (("AUROC", roc_auc_score), ("AUPRC", average_precision_score))
    }
    told: Any = precision_recall_fscore_support(
        labels.astype(int),
        (p >= thresholds).astype(int),
        average=None,
        zero_division=0.0,  # pyright: ignore[reportArgumentType]
    )
    precision, recall, f1 = told[:3]
    return {**ranked, "Se": np.asarray(recall), "+P": np.asarray(precision), "F1": np.asarray(f1)}


def resampled(
    found: Mapping[str, Array],
    labels: Array,
    thresholds: Mapping[str, Array],
    patients: Array,
    *,
    better: str,
    resamples: int,
    seed: int = 0,
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, dict[str, float]]]]:
    """Return 95 % intervals of the metrics ``RESAMPLED`` of every classifier, and of the gains of one, by patient.

    Patients are drawn whole, the same for all. A label that a resample lacks does not count in its means.

    Args:
        found: (N, K) probabilities by name.
        labels: (N, K) bool.
        thresholds: (K,) by name.
        patients: (N,).
        better: the classifier whose gain over each other is wanted, as a share of the other's metric.
        resamples: how many.
        seed: of the draws.
    """
    weight_RN = group_weights(patients, resamples, np.random.default_rng(seed))
    tails = [0.025, 0.975]
    drawn = {who: _weighted(p, labels, thresholds[who], weight_RN) for who, p in found.items()}
    whole = {who: _weighted(p, labels, thresholds[who], np.ones((1, len(p)))) for who, p in found.items()}
    intervals = {who: {name: np.nanquantile(drawn[who][name], tails).tolist() for name in RESAMPLED} for who in found}
    gains: dict[str, dict[str, dict[str, float]]] = {who: {} for who in found if who != better}
    for who in gains:
        for name in RESAMPLED:
            sign = -1 if name in ("brier", "nll") else 1
            with np.errstate(divide="ignore", invalid="ignore"):
                change = sign * (drawn[better][name] / drawn[who][name] - 1)
                gain = sign * (whole[better][name][0] / whole[who][name][0] - 1)
            low, high = np.quantile(change, tails, method="inverted_cdf")
            if np.isfinite([gain, low, high]).all():
                gains[who][name] = {"gain": float(gain), "low": float(low), "high": float(high)}
    return intervals, gains


def weighted_auroc(p: Array, labels: Array, weight_RN: Array) -> Array:
    """Return the area under the receiver operating characteristic for several weightings of the samples, (R,).

        sum over pairs of w_i w_j (1[p_i > p_j] + 1/2 1[p_i = p_j]) / sum over pairs of w_i w_j

    with i where the label holds and j where it does not; NaN where there is no such pair.

    Args:
        p: (N,).
        labels: (N,) bool.
        weight_RN: (R, N).

    Source: Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic curve.
    """
    order = np.argsort(p, kind="stable")
    weight, own, score = weight_RN[:, order], labels[order], p[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    below = np.cumsum(weight * ~own, axis=1)[:, last]
    held = np.diff(np.cumsum(weight * own, axis=1)[:, last], axis=1, prepend=0)
    tied = np.diff(below, axis=1, prepend=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (held * (below - tied / 2)).sum(axis=1) / (held.sum(axis=1) * below[:, -1])


def best_threshold(p: Array, labels: Array) -> float:
    """Return the probability from which naming a label has the largest F1; 0.5 where it never or always holds.

    Args:
        p: (N,).
        labels: (N,) bool.

    Example:
        >>> round(best_threshold(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, False, True, True])), 2)
        0.5
    """
    if labels.all() or not labels.any():
        return 0.5
    order = np.argsort(-p, kind="stable")
    score, hits = p[order], np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    f1 = 2 * hits[last] / (last + 1 + labels.sum())
    best = int(f1.argmax())
    at = last[best]
    return float((score[at] + score[at + 1]) / 2) if at + 1 < len(score) else float(score[at])


def _weighted(p: Array, labels: Array, thresholds: Array, weight_RN: Array) -> dict[str, Array]:
    import warnings

    held = weight_RN @ labels
    named = p >= thresholds
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over no label is no number, which is meant
        f1 = np.where(held > 0, 2 * (weight_RN @ (named & labels)) / (held + weight_RN @ named), np.nan)
        areas = np.stack([weighted_auroc(p[:, k], labels[:, k], weight_RN) for k in range(p.shape[1])], axis=1)
        total = weight_RN.sum(axis=1)
        return {
            "macro_auroc": np.nanmean(areas, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
            "brier": weight_RN @ ((p - labels) ** 2).mean(axis=1) / total,
            "nll": weight_RN @ _losses(p, labels).mean(axis=1) / total,
        }


def _losses(p: Array, labels: Array) -> Array:
    smallest = float(np.finfo(np.float32).eps)
    return -np.log(np.clip(np.where(labels, p, 1 - p), smallest, 1.0))


def _calibration_error(p: Array, labels: Array) -> float:
    place = np.clip(np.ceil(p * BINS).astype(int) - 1, 0, BINS - 1)
    return float(np.abs(np.bincount(place, weights=labels - p, minlength=BINS)).sum() / len(p))


def _mean(values: Array) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def _check(p: Array, labels: Array) -> None:
    if p.ndim != 2 or p.shape != labels.shape or not len(p):
        raise InputError(f"every label needs a probability, got {p.shape} of them for labels of shape {labels.shape}.")
