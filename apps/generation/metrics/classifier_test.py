"""The classifier two-sample test: how well a classifier tells generated rows from real ones."""

import math
from typing import Any, NamedTuple

import numpy as np

from integrand.apps.generation.metrics.rows import Samples, as_rows, subsample
from integrand.core.errors import InputError, unknown

CLASSIFIERS = {
    "forest": "random forest of 300 trees",
    "svc": "support vectors with a Gaussian kernel, standardised",
    "logistic": "logistic regression, standardised",
}
TREES = 300


class ClassifierTest(NamedTuple):
    """How well generated rows were told from real ones.

    Attributes:
        accuracy: share of rows told right, each by a classifier that was fitted without it; 0.5 is the best.
        chance_deviation: the standard deviation of that share for guesses, 1 / sqrt(8 rows).
        rows: how many of each kind.
        classifier: its name.
        folds: of the cross-validation.
    """

    accuracy: float
    chance_deviation: float
    rows: int
    classifier: str
    folds: int


def classifier_test(
    generated: Samples, real: Samples, *, classifier: str = "forest", folds: int = 5, seed: int = 0
) -> ClassifierTest:
    """Return the cross-validated accuracy of a classifier that tells generated rows from real ones; 0.5 is the best.

    Both kinds have equal numbers: of the larger as many as the smaller has are drawn by the seed, and ``rows`` of
    the result says how many. Folds are stratified, and what standardises is fitted within them. Generated rows that
    are copies of these very real rows bring the accuracy below 0.5, for each then meets its twin with the other label;
    copies of training rows do not, and ``nearest_training`` finds them. Where generated rows repeat one another, a
    forest finds them again across folds.

    Args:
        generated: (N, D).
        real: (M, D), rows that the model was not trained on.
        classifier: ``"forest"``, ``"svc"`` or ``"logistic"``.
        folds: at least 2, and no more than the rows of each kind.
        seed: of the draw, the folds and the forest.

    Raises:
        InputError: see ``as_rows``; an unknown classifier, folds that do not fit.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier_test(rng.normal(9, 1, (20, 1)), rng.normal(0, 1, (30, 1)), classifier="logistic").accuracy
        1.0

    Source: Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, Eq. 2 and Theorem 1.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if classifier not in CLASSIFIERS:
        raise unknown("classifier", classifier, CLASSIFIERS)
    x, y = as_rows(generated=generated, real=real)
    count = min(len(x), len(y))
    if not 2 <= folds <= count:
        raise InputError(f"folds must be at least 2 and at most the {count} rows of each kind, got {folds}.")
    both = np.concatenate([subsample(rows, count, seed=seed).cpu().numpy() for rows in (x, y)])
    labels = np.repeat([0, 1], count)
    order = StratifiedKFold(folds, shuffle=True, random_state=seed)
    told = cross_val_predict(_classifier(classifier, seed), both, labels, cv=order)
    return ClassifierTest(float(np.mean(told == labels)), 1 / math.sqrt(8 * count), count, classifier, folds)


def _classifier(name: str, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "forest":
        return RandomForestClassifier(TREES, random_state=seed)
    return make_pipeline(StandardScaler(), SVC() if name == "svc" else LogisticRegression(max_iter=1000))
