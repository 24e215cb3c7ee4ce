"""Scores of named beats, as EC57 and the literature on the MIT-BIH database have them.

Dimension letters: N beats, K classes.
"""

from typing import Any

import numpy as np

from integrand.apps.training import class_scores
from integrand.apps.training.class_scores import Bootstrap, group_weights
from integrand.core.errors import InputError

Array = np.ndarray
METRICS = {
    "macro_f1": "mean over the classes that occur of the harmonic mean of sensitivity and positive predictivity",
    "jk": "half of Cohen's kappa and an eighth of the sum of sensitivities and positive predictivities of S and V",
    "accuracy": "share of beats named rightly",
    "kappa": "agreement beyond what chance would give, 1 where all agree (Cohen)",
    "f1_N": "harmonic mean of sensitivity and positive predictivity, normal beats",
    "f1_S": "the same, supraventricular ectopic beats",
    "f1_V": "the same, ventricular ectopic beats",
    "se_S": "sensitivity, supraventricular ectopic beats",
    "se_V": "sensitivity, ventricular ectopic beats",
    "pp_S": "positive predictivity, supraventricular ectopic beats",
    "pp_V": "positive predictivity, ventricular ectopic beats",
}
"""Metrics and what they are."""


def confusion(said: Array, labels: Array, classes: int) -> Array:
    """Return the confusion matrix, (K, K) int64: rows the true classes, columns what was said."""
    if said.shape != labels.shape or not len(labels):
        raise InputError(f"every beat needs a name and a class, got {said.shape} and {labels.shape}.")
    return class_scores.confusion(labels, said, classes)


def beat_scores(counts: Array, classes: list[str]) -> dict[str, float]:
    """Score a confusion matrix, (K, K) or a stack of them (R, K, K).

    Sensitivity of a class without a beat, and positive predictivity of one that was never said, are 0: neither counts
    for the model. The mean over classes is over those that occur.

    Args:
        counts: rows the true classes; they may be weighted.
        classes: names of the K classes.

    Example:
        >>> found = beat_scores(np.array([[8, 1, 1], [0, 5, 0], [0, 0, 5]]), ["N", "S", "V"])
        >>> round(found["accuracy"], 3), round(found["se_S"], 3), round(found["pp_S"], 3)
        (0.9, 1.0, 0.833)

    Source: ANSI/AAMI EC57:1998, Section 4.3, for sensitivity and positive predictivity; Mar, Zaunseder, Martinez,
    Llamedo and Poll (2011), Optimization of ECG classification by means of feature selection, Eq. 5, for jk; Cohen
    (1960), A coefficient of agreement for nominal scales.
    """
    return {name: float(value[0]) for name, value in stacked_scores(counts[None], classes, only=None).items()}


def stacked_scores(counts: Array, classes: list[str], *, only: str | None) -> dict[str, Any]:
    """Return the scores of a stack of confusion matrices (R, K, K), (R,) each; one alone where it is named."""
    counts = counts.astype(np.float64)
    total = counts.sum(axis=(1, 2))
    true, said = counts.sum(axis=2), counts.sum(axis=1)
    right = np.diagonal(counts, axis1=1, axis2=2)
    sensitivity = np.divide(right, true, out=np.zeros_like(right), where=true > 0)
    predictivity = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    both = true + said
    f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    accuracy = right.sum(axis=1) / total
    chance = (true * said).sum(axis=1) / total**2
    kappa = np.divide(accuracy - chance, 1 - chance, out=np.zeros_like(chance), where=chance < 1)
    found = {"accuracy": accuracy, "kappa": kappa, "macro_f1": _mean(f1, true > 0)}
    for place, name in enumerate(classes):
        found |= {f"f1_{name}": f1[:, place], f"se_{name}": sensitivity[:, place], f"pp_{name}": predictivity[:, place]}
    if {"S", "V"} <= set(classes):
        found["jk"] = kappa / 2 + (found["se_S"] + found["se_V"] + found["pp_S"] + found["pp_V"]) / 8
    chosen = METRICS if only is None else (only,)
    return {name: found[name] for name in chosen if name in found}


def patient_bootstrap(
    counts: dict[str, Array], classes: list[str], metric: str, *, better: str | None = None, resamples: int = 2000
) -> Bootstrap:
    """Interval of each namer's metric, by resampling patients with replacement.

    Beats of one patient are no independent witnesses. All namers are resampled alike: intervals of gains are paired.

    Args:
        counts: (P, K, K) confusion matrix of each patient, by namer.
        classes: names of the K classes.
        metric: one of ``METRICS``.
        better: the namer whose gain over every other is wanted, as a share of the other's, or None.
        resamples: how many are drawn.
    """
    patients = len(next(iter(counts.values())))
    weight = group_weights(np.arange(patients), resamples, np.random.default_rng(0))
    draws, whole = {}, {}
    for who, one in counts.items():
        draws[who] = stacked_scores(np.tensordot(weight, one, axes=1), classes, only=metric)[metric]
        whole[who] = stacked_scores(one.sum(axis=0)[None], classes, only=metric)[metric][0]
    tails = [0.025, 0.975]
    gains: dict[str, dict[str, float]] = {}
    for other in [who for who in draws if better is not None and who != better]:
        with np.errstate(invalid="ignore", divide="ignore"):
            change = (draws[better] - draws[other]) / np.abs(draws[other])
            gain = (whole[better] - whole[other]) / abs(whole[other])
        change = change[np.isfinite(change)]
        if len(change) and np.isfinite(gain):
            low, high = np.quantile(change, tails).tolist()
            gains[other] = {"gain": float(gain), "low": low, "high": high}
    return Bootstrap(metric, {who: tuple(np.quantile(one, tails).tolist()) for who, one in draws.items()}, gains)


def _mean(values: Array, chosen: Array) -> Array:
    return np.where(chosen, values, 0).sum(axis=1) / chosen.sum(axis=1)
