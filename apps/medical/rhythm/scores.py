"""Scores of named segments, and their intervals by resampling patients.

Dimension letters: N segments, K classes, R resamples.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from integrand.apps.medical.beats.metrics import stacked_scores
from integrand.apps.training.class_scores import bootstrap, classification_scores, group_weights

Array = np.ndarray
COUNTED = ("macro_f1", "accuracy", "kappa")
"""Metrics of names alone."""
RANKED = ("auroc", "auprc", "ece", "brier", "nll")
"""Metrics of probabilities."""
ABOUT = {
    "macro_f1": "harmonic mean of sensitivity and positive predictivity, the mean over the classes present",
    "accuracy": "share of segments whose most probable class is their own",
    "kappa": "agreement beyond what chance would give, 1 where all agree (Cohen)",
}


def rhythm_scores(probabilities: Array, labels: Array) -> dict[str, float]:
    """Return ``COUNTED`` and ``RANKED`` of probabilities (N, K) for labels (N,).

    Example:
        >>> found = rhythm_scores(np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]), np.array([0, 1, 1]))
        >>> round(found["macro_f1"], 3), round(found["kappa"], 3), found["auroc"]
        (0.667, 0.4, 1.0)
    """
    told = classification_scores(probabilities, labels)
    counted = _counted(probabilities, labels, np.ones((1, len(labels))))
    return {**{name: float(counted[name][0]) for name in COUNTED}, **{name: told[name] for name in RANKED}}


def resampled(
    probabilities: Mapping[str, Array], labels: Array, patients: Array, *, better: str, resamples: int, seed: int = 0
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, dict[str, float]]]]:
    """Return 95 % intervals of every classifier's metrics, and of the gains of one over each other, by patient.

    Args:
        probabilities: (N, K) by name.
        labels: (N,).
        patients: (N,) whose each is; they are drawn whole, the same for all classifiers.
        better: the classifier whose gains are wanted; they are shares of the other's metric, left out where that is 0.
        resamples: how many.
        seed: of the draws.
    """
    weight_RN = group_weights(patients, resamples, np.random.default_rng(seed))
    one = np.ones((1, len(labels)))
    drawn = {who: _counted(p, labels, weight_RN) for who, p in probabilities.items()}
    whole = {who: _counted(p, labels, one) for who, p in probabilities.items()}
    tails = [0.025, 0.975]
    intervals: dict[str, dict[str, list[float]]] = {
        who: {name: np.quantile(drawn[who][name], tails).tolist() for name in COUNTED} for who in probabilities
    }
    gains: dict[str, dict[str, dict[str, float]]] = {who: {} for who in probabilities if who != better}
    with np.errstate(divide="ignore", invalid="ignore"):
        for who in gains:
            for name in COUNTED:
                change = drawn[better][name] / drawn[who][name] - 1
                low, high = np.nanquantile(change, tails, method="inverted_cdf").tolist()
                gain = float(whole[better][name][0] / whole[who][name][0] - 1)
                gains[who][name] = {"gain": gain, "low": low, "high": high}
    for name in RANKED:
        found = bootstrap(probabilities, labels, name, better=better, groups=patients, resamples=resamples, seed=seed)
        for who, interval in found.intervals.items():
            intervals[who][name] = list(interval)
        for who, gain in found.gains.items():
            gains[who][name] = gain
    return _finite(intervals), {who: _finite(each) for who, each in gains.items()}


def _finite(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is no number, such as a gain over nothing."""
    kept = {}
    for name, one in found.items():
        if isinstance(one, dict) and not all(isinstance(value, float) for value in one.values()):
            kept[name] = _finite(one)
        elif np.isfinite(list(one.values()) if isinstance(one, dict) else one).all():
            kept[name] = one
    return kept


def _counted(p: Array, labels: Array, weight_RN: Array) -> dict[str, Array]:
    """Return ``COUNTED`` of weighted segments, (R,) each."""
    classes = p.shape[1]
    cell_N = labels * classes + p.argmax(axis=1)
    counts = weight_RN @ (cell_N[:, None] == np.arange(classes**2))
    names = [str(k) for k in range(classes)]
    return {name: stacked_scores(counts.reshape(-1, classes, classes), names, only=name)[name] for name in COUNTED}
