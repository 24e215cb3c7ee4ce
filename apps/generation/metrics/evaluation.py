"""A chosen list of metrics of generated samples, each beside its floor: what real rows score in the samples' place.

Dimension letters: N generated rows, M real rows, n rows of each that are compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from integrand.apps.generation.metrics.classifier_test import classifier_test
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.metrics.frechet import frechet_between_samples
from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier, frechet_classifier_score
from integrand.apps.generation.metrics.maximum_mean_discrepancy import maximum_mean_discrepancy
from integrand.apps.generation.metrics.neighbours import (
    NearestTraining,
    density_coverage,
    nearest_training,
    precision_recall,
)
from integrand.apps.generation.metrics.rows import Samples, as_labels, as_rows, subsample
from integrand.apps.generation.metrics.wasserstein import sliced_wasserstein, wasserstein_distance
from integrand.core.errors import InputError, unknown

ASSIGNED = 2000
"""Rows of each that the exact Wasserstein distance takes, at most: its time grows as the cube."""

ABOUT: dict[str, tuple[str, float]] = {
    "c2st_forest": ("share of rows that a random forest tells apart from real ones", 0.5),
    "c2st_svc": ("share of rows that a support vector machine tells apart from real ones", 0.5),
    "c2st_logistic": ("share of rows that logistic regression tells apart from real ones", 0.5),
    "energy_distance": ("energy distance, without bias", 0.0),
    "mmd_squared": ("squared maximum mean discrepancy under Gaussian kernels, without bias", 0.0),
    "w2": ("2-Wasserstein distance of the samples, exact", 0.0),
    "w2_squared": ("its square", 0.0),
    "sliced_w2": ("root mean square of the 2-Wasserstein distances along random lines", 0.0),
    "max_sliced_w2": ("the largest 2-Wasserstein distance along these lines", 0.0),
    "frechet": ("squared Frechet distance of Gaussians fitted to the rows", 0.0),
    "precision": ("share of generated rows among the real ones, 3 neighbours", 1.0),
    "recall": ("share of real rows among the generated ones, 3 neighbours", 1.0),
    "density": ("how full real rows' neighbourhoods are, 5 neighbours", 1.0),
    "coverage": ("share of real rows with a generated one in their neighbourhood, 5 neighbours", 1.0),
    "nearest_ratio": ("median distance to the nearest training row, in units of that of unseen real rows", 1.0),
    "copies": ("generated rows that are a training row; the floor counts the real rows that are", 0.0),
    "fd": ("squared Frechet distance of a classifier's features", 0.0),
    "fd_half": ("the same of half as many rows, mean over draws: its floor is of real rows and other real rows", 0.0),
    "label_agreement": ("share of generated rows that the classifier names as was asked", 1.0),
}
"""What each number is, and what it is where generated rows are as real ones and many."""

COMPARISONS: dict[str, Callable[[Tensor, Tensor, int], dict[str, float]]] = {
    "c2st_forest": lambda x, y, seed: {"c2st_forest": classifier_test(x, y, classifier="forest", seed=seed).accuracy},
    "c2st_svc": lambda x, y, seed: {"c2st_svc": classifier_test(x, y, classifier="svc", seed=seed).accuracy},
    "c2st_logistic": lambda x, y, seed: {
        "c2st_logistic": classifier_test(x, y, classifier="logistic", seed=seed).accuracy
    },
    "energy_distance": lambda x, y, _: {"energy_distance": energy_distance(x, y)},
    "mmd": lambda x, y, _: {"mmd_squared": maximum_mean_discrepancy(x, y).squared},
    "wasserstein": lambda x, y, seed: _wasserstein(x, y, seed),
    "sliced_wasserstein": lambda x, y, seed: _sliced(x, y, seed),
    "frechet": lambda x, y, _: {"frechet": frechet_between_samples(x, y)},
    "precision_recall": lambda x, y, _: _named(precision_recall(x, y), "precision", "recall"),
    "density_coverage": lambda x, y, _: _named(density_coverage(x, y), "density", "coverage"),
}
"""Metrics of two samples; in the place of generated rows, training rows give the floor."""
NEAREST, CLASSIFIER = "nearest_training", "frechet_classifier"
METRICS = (*COMPARISONS, NEAREST, CLASSIFIER)


@dataclass(frozen=True)
class _Labelled:
    """A classifier and the labels it is asked about; None where there are none."""

    classifier: FrechetClassifier
    generated: np.ndarray | None
    real: np.ndarray | None


def evaluate_samples(
    generated: Samples,
    real: Samples,
    train: Samples,
    *,
    metrics: Sequence[str] | None = None,
    classifier: FrechetClassifier | None = None,
    generated_labels: Samples | Sequence[int] | None = None,
    real_labels: Samples | Sequence[int] | None = None,
    count: int | None = None,
    floor: bool = True,
    nearest: NearestTraining | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure generated rows against held-out real ones, and training rows against the same: the floor of each metric.

    All comparisons are of n rows of each, drawn by the seed where there are more, so that generated rows and those of
    the floor meet the same real rows in the same number. The distance to the nearest training row is of all rows.
    A classifier knows its training rows: the better floor of its features is that of ``fd_half``.

    Args:
        generated: (N, D).
        real: (M, D), held out: the model was not trained on them.
        train: the training rows, all of them.
        metrics: names of ``METRICS``; None for all, ``frechet_classifier`` among them where a classifier is given.
        classifier: whose features ``frechet_classifier`` compares, see ``train_frechet_classifier``.
        generated_labels: (N,) classes that were asked for; with a classifier they give ``label_agreement``.
        real_labels: (M,) classes of the real rows, for the floor of that.
        count: n; None for the fewest of the three.
        floor: whether to measure it: it is the same for all that are compared with the same rows by one seed.
        nearest: distances of these rows to the training rows, where they are known already; found when None.
        seed: of draws, folds, forests and projections.

    Returns:
        ``metrics``, a value by name, and ``floor``, likewise, empty where it is not measured; ``best``, the value of a
        perfect generator, and ``about``, a line, by the same names; ``settings``: n, rows of each, the seed, the
        classifier's name, hash and accuracy.

    Raises:
        InputError: see ``as_rows``; an unknown metric, one that lacks its classifier, too few rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> real, train, generated = (rng.normal(centre, 1, (50, 2)) for centre in (0, 0, 9))
        >>> made = evaluate_samples(generated, real, train, metrics=["precision_recall"])
        >>> made["metrics"], made["floor"]["precision"] > 0.8
        ({'precision': 0.0, 'recall': 0.0}, True)
    """
    names = _chosen(metrics, classifier)
    x, y, t = as_rows(generated=generated, real=real, train=train)
    n = min(len(x), len(y), len(t)) if count is None else count
    labelled = None
    if CLASSIFIER in names:
        assert classifier is not None
        asked = None if generated_labels is None else as_labels("generated", generated_labels, x)
        true = None if real_labels is None else as_labels("real", real_labels, y)
        labelled = _Labelled(classifier, asked, true)
    elif generated_labels is not None or real_labels is not None:
        raise InputError("labels serve frechet_classifier alone: give a classifier, or leave them out.")
    few_x, few_y, few_t = (subsample(rows, n, seed=seed + place) for place, rows in enumerate((x, y, t)))
    values, least = {}, {}
    for name in names:
        if name in COMPARISONS:
            values |= COMPARISONS[name](few_x, few_y, seed)
            least |= COMPARISONS[name](few_t, few_y, seed) if floor else {}
        elif name == NEAREST:
            near = nearest or nearest_training(x, t, y)
            values |= {"nearest_ratio": near.ratio, "copies": float(near.copies)}
            least |= {"nearest_ratio": 1.0, "copies": float(near.real_copies)}
    if labelled is not None:
        score = frechet_classifier_score(labelled.classifier, few_x, few_y, seed=seed)
        values |= {"fd": score.distance, "fd_half": score.half_distance} | _agreement(labelled, x, labelled.generated)
        if floor:
            of_train = frechet_classifier_score(labelled.classifier, few_t, few_y, seed=seed)
            least |= {"fd": of_train.distance, "fd_half": score.half_floor} | _agreement(labelled, y, labelled.real)
    return {
        "metrics": values,
        "floor": least if floor else {},
        "best": {name: ABOUT[name][1] for name in values},
        "about": {name: ABOUT[name][0] for name in values},
        "settings": {
            "rows_compared": n,
            "rows": {"generated": len(x), "real": len(y), "train": len(t)},
            "seed": seed,
            **({"rows_assigned": min(n, ASSIGNED)} if "wasserstein" in names else {}),
            **({"classifier": _described(labelled.classifier)} if labelled is not None else {}),
        },
    }


def _chosen(metrics: Sequence[str] | None, classifier: FrechetClassifier | None) -> tuple[str, ...]:
    if metrics is None:
        return METRICS if classifier is not None else tuple(name for name in METRICS if name != CLASSIFIER)
    for name in metrics:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    if CLASSIFIER in metrics and classifier is None:
        raise InputError(f"{CLASSIFIER} needs a classifier: give one of train_frechet_classifier, or leave it out.")
    return tuple(metrics)


def _agreement(labelled: _Labelled, rows: Tensor, labels: np.ndarray | None) -> dict[str, float]:
    if labels is None:
        return {}
    return {"label_agreement": float((labelled.classifier.predict(rows) == labels).mean())}


def _described(classifier: FrechetClassifier) -> dict[str, Any]:
    return {
        "name": f"FD-{classifier.name}",
        "hash": classifier.hash,
        "accuracy": classifier.accuracy,
        "held_out": classifier.held_out,
    }


def _wasserstein(x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    distance = wasserstein_distance(*(subsample(rows, min(len(rows), ASSIGNED), seed=seed) for rows in (x, y)))
    return {"w2": distance, "w2_squared": distance**2}


def _sliced(x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    made = sliced_wasserstein(x, y, seed=seed)
    return {"sliced_w2": made.mean, "max_sliced_w2": made.largest}


def _named(result: Any, *names: str) -> dict[str, float]:
    return {name: getattr(result, name) for name in names}
