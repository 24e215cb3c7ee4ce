"""Judges of stays that are no neural network, to compare with: majority, logistic regression, ridge, ROCKET.

All see the same batches as the model and learn from the training part alone.
"""

from typing import Any

import numpy as np

from integrand.apps.medical.icu.batches import hours_known
from integrand.apps.medical.icu.summaries import summaries
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.series.classification.baselines import (
    ClassifierBaseline,
    Majority,
    RidgeClassifier,
    RocketRidge,
    class_numbers,
)
from integrand.datasets.irregular import IrregularBatch

Array = np.ndarray
FARTHEST = 4.0
STRENGTHS = tuple(10.0 ** float(p) for p in np.arange(-4.0, 0.1, 0.5))
"""Inverse strengths of the penalty that are tried."""
FOLDS = 5


class LogisticSummaries:
    """Logistic regression on the standardised summaries and static features, 0 where a variable was not observed.

    The strength of its quadratic penalty is chosen by the log-likelihood in five folds of the training part.

    Args:
        task: the scales of the summaries.
    """

    name = "logistic regression on summaries"

    def __init__(self, task: IcuTask) -> None:
        self.task = task
        self.notices: list[str] = []

    def fit(self, batch: IrregularBatch, classes: int) -> None:
        """Choose the strength and fit on the whole training part."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV, StratifiedKFold

        labels = class_numbers(batch, classes)
        folds = max(2, min(FOLDS, int(np.bincount(labels, minlength=classes).min())))
        search = GridSearchCV(
            LogisticRegression(max_iter=2000),
            {"C": STRENGTHS},
            cv=StratifiedKFold(folds, shuffle=True, random_state=0),
            scoring="neg_log_loss",
        )
        self.regression: Any = search.fit(self.features(batch), labels).best_estimator_

    def predict(self, batch: IrregularBatch) -> Array:
        """Return probabilities (N, K)."""
        return self.regression.predict_proba(self.features(batch))

    def features(self, batch: IrregularBatch) -> Array:
        """Build (N, F + S)."""
        task = self.task
        told = summaries(batch, hours_known(batch, task)).double().numpy()
        told = (told - np.asarray(task.of_summary)) / np.asarray(task.size_of_summary)
        told = np.nan_to_num(told).clip(-FARTHEST, FARTHEST)
        return told if batch.static is None else np.concatenate([told, batch.static.numpy()], axis=1)


def baselines(task: IcuTask) -> list[ClassifierBaseline]:
    """Return the judges to compare with, not fitted yet."""
    return [Majority(), LogisticSummaries(task), RidgeClassifier(), RocketRidge()]
