"""Train on synthetic, test on real: what a table is worth to those who learn from it.

Dimension letters: N rows, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.table_kinds import NUMBERS
from integrand.datasets.table_schema import TableSchema

TREES = 200
PENALTIES = np.logspace(-3, 4, 15)
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

    A category is learned by a random forest and logistic regression, a number by a random forest and ridge regression,
    whose penalty comes from leaving out one training row at a time. Rows without the target are left out. Numbers are
    standardised and missing ones take the median, with an indicator beside them; categories are one-hot.

    Args:
        schema: of the columns.
        target: the column to predict from all others.
        train: real rows that the generator saw.
        synthetic: tables like them; seed i learns from table i, beginning anew where there are fewer tables.
        test: real rows that it never saw.
        seeds: of the forests.
        trees: of each forest.

    Raises:
        InputError: no such column, one that never changes, no other column, no tables or seeds, or test rows of one
            class alone.
    """
    column = schema.column(target)
    if column.kind == "constant":
        raise InputError(f"target {target!r} never changes: name another column.")
    if len(schema.modelled) < 2:
        raise InputError(f"target {target!r} is the only column that changes: there is nothing to predict it from.")
    if not synthetic or not seeds:
        raise InputError(f"give at least one synthetic table and one seed, got {len(synthetic)} and {len(seeds)}.")
    regress = column.kind in NUMBERS and column.kind != "ordinal"
    score = _regression if regress else _classification
    x_test, y_test = _rows(schema, target, test)
    if not regress and len(np.unique(y_test)) < 2:
        raise InputError(f"the test rows hold one class of {target!r} alone: give more rows, or split by class.")
    real_rows = _rows(schema, target, train)
    synthetic_rows = [_rows(schema, target, table) for table in synthetic]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for place, seed in enumerate(seeds):
        sources = (real_rows, synthetic_rows[place % len(synthetic)])
        real, made = (score(x, y, x_test, y_test, seed, trees) for x, y in sources)
        for key in real:
            found.setdefault(key, []).append((real[key], made[key]))
    scores = []
    for (learner, metric), pairs in found.items():
        (real, made), (real_std, made_std) = np.mean(pairs, axis=0), np.std(pairs, axis=0)
        scores.append(Transfer(learner, metric, float(real), float(made), float(real_std), float(made_std)))
    return scores


def features(schema: TableSchema, frame: pd.DataFrame, target: str | None = None) -> np.ndarray:
    """Return what learners see of rows, (N, F) float64: numbers, NaN where missing, and categories one-hot.

    Args:
        schema: of the columns.
        frame: the rows.
        target: a column to leave out.
    """
    values = schema.check(frame)
    parts = []
    for column in schema.modelled:
        if column.name == target:
            continue
        cells = values[column.name]
        if column.kind in NUMBERS:
            parts.append(cells[:, None])
        else:
            count = len(column.categories) + column.missing
            parts.append(np.eye(count)[cells % count])
    return np.concatenate(parts, axis=1)


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


def _rows(schema: TableSchema, target: str, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, F) and targets (N,) of the rows that have a target."""
    x, y = features(schema, frame, target), schema.check(frame, [target])[target]
    there = ~np.isnan(y) if schema.column(target).kind in NUMBERS else y >= 0
    if not there.any():
        raise InputError(f"no row has a value of the target {target!r}: name another column.")
    return x[there], y[there].astype(np.int64) if schema.column(target).kind == "ordinal" else y[there]


def _prepared(learner: Any, x: np.ndarray) -> Any:
    """Return a learner behind what fills in missing numbers and standardises."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A column that is missing throughout stays, as 0, so that other rows may still have it.
    filled = SimpleImputer(strategy="median", add_indicator=bool(np.isnan(x).any()), keep_empty_features=True)
    return make_pipeline(filled, StandardScaler(), learner)


def _classification(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int, trees: int
) -> dict[tuple[str, str], float]:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    learners: dict[str, Callable[[], Any]] = {
        "random forest": lambda: RandomForestClassifier(trees, random_state=seed),
        "logistic regression": lambda: LogisticRegression(max_iter=5000),
    }
    classes = int(max(y.max(), y_test.max())) + 1
    found = {}
    for name, make in learners.items():
        # Logistic regression refuses rows of one class, of which there is nothing to learn but that class.
        made = make() if len(np.unique(y)) > 1 else DummyClassifier()
        fitted = _prepared(made, x).fit(x, y)
        probabilities = np.zeros((len(x_test), max(classes, 2)))
        probabilities[:, fitted.classes_] = fitted.predict_proba(x_test)
        found[name, "accuracy"] = float((probabilities.argmax(1) == y_test).mean())
        found[name, "auroc"] = auroc(probabilities, y_test)
    return found


def _regression(
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, seed: int, trees: int
) -> dict[tuple[str, str], float]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score, root_mean_squared_error

    learners = {"random forest": RandomForestRegressor(trees, random_state=seed), "ridge": RidgeCV(PENALTIES)}
    found = {}
    for name, learner in learners.items():
        predicted = _prepared(learner, x).fit(x, y).predict(x_test)
        found[name, "r2"] = float(r2_score(y_test, predicted))
        found[name, "rmse"] = float(root_mean_squared_error(y_test, predicted))
    return found
