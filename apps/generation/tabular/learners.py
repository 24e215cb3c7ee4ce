"""What learners of a column answer to test rows, having learned from one table or another.

Dimension letters: N rows, F features, K classes, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from integrand.core.errors import InputError
from integrand.datasets.table_kinds import NUMBERS
from integrand.datasets.table_schema import TableSchema

TREES = 200
PENALTIES = np.logspace(-3, 4, 15)


@dataclass(frozen=True, eq=False)
class Answers:
    """What learners answered.

    Attributes:
        truth: (N,) values of the target in the test rows, or the numbers of their classes.
        by_learner: of ``"random forest"`` and ``"ridge"`` the values they predict, (S, N); of ``"random forest"`` and
            ``"logistic regression"`` the probabilities of the classes, (S, N, K).
    """

    truth: np.ndarray
    by_learner: dict[str, np.ndarray]

    @property
    def classes(self) -> bool:
        """Whether the target is a category."""
        return next(iter(self.by_learner.values())).ndim == 3


def ask_learners(
    schema: TableSchema,
    target: str,
    *,
    learned_from: Sequence[pd.DataFrame],
    test: pd.DataFrame,
    seeds: Sequence[int] = (0, 1, 2),
    trees: int = TREES,
) -> Answers:
    """Return what learners of a column answer to test rows.

    A category is learned by a random forest and logistic regression, a number by a random forest and ridge regression,
    whose penalty comes from leaving out one training row at a time. Rows without the target are left out. Numbers are
    standardised and missing ones take the median, with an indicator beside them; categories are one-hot.

    Args:
        schema: of the columns.
        target: the column to predict from all others.
        learned_from: tables; seed i learns from table i, beginning anew where there are fewer tables.
        test: the rows they are asked about.
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
    if not learned_from or not seeds:
        raise InputError(f"give at least one synthetic table and one seed, got {len(learned_from)} and {len(seeds)}.")
    regress = column.kind in NUMBERS and column.kind != "ordinal"
    x_test, y_test = _rows(schema, target, test)
    if not regress and len(np.unique(y_test)) < 2:
        raise InputError(f"the test rows hold one class of {target!r} alone: give more rows, or split by class.")
    tables = [_rows(schema, target, table) for table in learned_from]
    answers: dict[str, list[np.ndarray]] = {}
    for place, seed in enumerate(seeds):
        x, y = tables[place % len(tables)]
        if regress:
            found = _regression(x, y, x_test, seed, trees)
        else:
            found = _classification(x, y, x_test, max(len(column.categories), 2), seed, trees)
        for learner, answer in found.items():
            answers.setdefault(learner, []).append(answer)
    return Answers(y_test, {learner: np.stack(one) for learner, one in answers.items()})


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
    x: np.ndarray, y: np.ndarray, x_test: np.ndarray, classes: int, seed: int, trees: int
) -> dict[str, np.ndarray]:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    learners: dict[str, Callable[[], Any]] = {
        "random forest": lambda: RandomForestClassifier(trees, random_state=seed),
        "logistic regression": lambda: LogisticRegression(max_iter=5000),
    }
    found = {}
    for name, make in learners.items():
        # Logistic regression refuses rows of one class, of which there is nothing to learn but that class.
        made = make() if len(np.unique(y)) > 1 else DummyClassifier()
        fitted = _prepared(made, x).fit(x, y)
        found[name] = np.zeros((len(x_test), classes))
        found[name][:, fitted.classes_] = fitted.predict_proba(x_test)
    return found


def _regression(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, seed: int, trees: int) -> dict[str, np.ndarray]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import RidgeCV

    learners = {"random forest": RandomForestRegressor(trees, random_state=seed), "ridge": RidgeCV(PENALTIES)}
    return {name: _prepared(learner, x).fit(x, y).predict(x_test) for name, learner in learners.items()}
