"""Train on synthetic, test on real: what a table is worth to those who learn from it.

Dimension letters: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from integrand.apps.generation.tabular.learners import TREES, Answers, ask_learners
from integrand.core.errors import InputError
from integrand.datasets.table_schema import TableSchema

LOWER_IS_BETTER = frozenset(("rmse",))


class Transfer(NamedTuple):
    """A score on real test rows, of learners that saw real or synthetic rows, each a mean over seeds.

    Attributes:
        learner: ``"random forest"``, ``"logistic regression"`` or ``"ridge"``.
        metric: ``"accuracy"``, ``"auroc"``, ``"r2"`` or ``"rmse"``, the last in the target's unit.
        real: having learned from the real training rows.
        synthetic: having learned from synthetic rows.
        real_std, synthetic_std: deviations over seeds, 0 of a single one.
    """

    learner: str
    metric: str
    real: float
    synthetic: float
    real_std: float
    synthetic_std: float

    @property
    def ratio(self) -> float:
        """The synthetic score over the real one, 1 where the tables are worth the same; NaN where real is 0 or less."""
        return self.synthetic / self.real if self.real > 0 else float("nan")

    @property
    def loss(self) -> float:
        """By what share of the real score the synthetic one is worse; negative where it is better."""
        return self.ratio - 1 if self.metric in LOWER_IS_BETTER else 1 - self.ratio


def transfer_scores(
    schema: TableSchema,
    target: str,
    *,
    train: pd.DataFrame,
    synthetic: Sequence[pd.DataFrame],
    test: pd.DataFrame,
    seeds: Sequence[int] = (0, 1, 2),
    trees: int = TREES,
) -> list[Transfer]:
    """Score learners of a column that saw real rows, and the same that saw synthetic rows, on real test rows.

    Args:
        schema: of the columns.
        target: the column to predict from all others, see ``ask_learners``.
        train: real rows that the generator saw.
        synthetic: tables like them; seed i learns from table i, beginning anew where there are fewer tables.
        test: real rows that it never saw.
        seeds: of the forests.
        trees: of each forest.

    Raises:
        InputError: what ``ask_learners`` refuses.
    """
    real, made = (
        ask_learners(schema, target, learned_from=tables, test=test, seeds=seeds, trees=trees)
        for tables in ([train], synthetic)
    )
    return compared(real, made)


def compared(real: Answers, synthetic: Answers) -> list[Transfer]:
    """Return the scores of learners that saw real rows beside those of learners that saw synthetic rows."""
    first, second = scored(real), scored(synthetic)
    return [
        Transfer(*key, *(float(part) for part in (a.mean(), second[key].mean(), a.std(), second[key].std())))
        for key, a in first.items()
    ]


def scored(answers: Answers) -> dict[tuple[str, str], np.ndarray]:
    """Return the scores of each learner and metric, (S,), one a seed."""
    from sklearn.metrics import r2_score, root_mean_squared_error

    y, found = answers.truth, {}
    for learner, every in answers.by_learner.items():
        if answers.classes:
            found[learner, "accuracy"] = np.array([(one.argmax(1) == y).mean() for one in every])
            found[learner, "auroc"] = np.array([auroc(one, y) for one in every])
        else:
            found[learner, "r2"] = np.array([r2_score(y, one) for one in every])
            found[learner, "rmse"] = np.array([root_mean_squared_error(y, one) for one in every])
    return found


def auroc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the area under the receiver operating characteristic of class probabilities (N, K).

    Of two classes the second's; of more the mean over the classes present, each against the rest.

    Example:
        >>> auroc(np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4]]), np.array([0, 1, 1]))
        1.0
    """
    from sklearn.metrics import roc_auc_score

    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    areas = [float(roc_auc_score(labels == one, probabilities[:, one])) for one in classes]
    return float(np.mean(areas))


def transfer_ratio(scores: Sequence[Transfer]) -> float:
    """Return the mean over learners of the ratio of AUROC, or of R2: 1 where the tables are worth the same.

    Raises:
        InputError: no such score.
    """
    ratios = [one.ratio for one in scores if one.metric in ("auroc", "r2")]
    if not ratios:
        raise InputError("there are no scores of learners: name a target column.")
    return float(np.mean(ratios))
