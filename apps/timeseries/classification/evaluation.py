"""Scoring a trained classifier on the test part, beside the baselines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.series.classification.baselines import BASELINES
from integrand.apps.series.classification.parts import SeriesOfPart
from integrand.apps.timeseries.classification.data import ClassificationData
from integrand.apps.timeseries.classification.module import ClassificationModule
from integrand.apps.training.class_scores import METRICS, bootstrap, classification_scores
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]

COMPARED = ("accuracy", "nll")
"""Metrics with intervals; of two classes the area under the curve, too."""
RESAMPLES = 2000


@dataclass(frozen=True)
class ClassificationEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``probabilities``.
        probabilities: (N, K) of the model and of each baseline, on the test part.
        labels: (N,) the true classes.
        classes: names of the K classes.
        part: the test part itself.
        results: what goes to ``results.json``.
    """

    name: str
    probabilities: dict[str, Array]
    labels: Array
    classes: list[str]
    part: SeriesOfPart
    results: dict[str, Any]


def evaluate(
    module: ClassificationModule, data: ClassificationData, *, name: str, seed: int, notify: Notify
) -> ClassificationEvaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    test, classes = data.part("test"), data.task.classes
    labels = data.series.labels[test.rows]
    notify(f"scoring {name} on {len(test):,} test series")
    found = {name: module.classify(data.series, test.rows)}
    whole, tried = data.part("train").whole(), test.whole()
    for kind in BASELINES:
        baseline = kind()
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(whole, len(classes))
        found[baseline.name] = baseline.predict(tried)
        for notice in baseline.notices:
            notify(f"note: {notice}")
    return ClassificationEvaluation(
        name=name,
        probabilities=found,
        labels=labels,
        classes=classes,
        part=test,
        results=_results(name, found, labels, data, seed),
    )


def _results(name: str, found: dict[str, Array], labels: Array, data: ClassificationData, seed: int) -> dict[str, Any]:
    compared = [*COMPARED, *(["auroc"] if len(data.task.classes) == 2 else [])]
    drawn = {metric: bootstrap(found, labels, metric, better=name, resamples=RESAMPLES) for metric in compared}
    return {
        "app": "timeseries",
        "task": "classification",
        "dataset": data.dataset,
        "protocol": data.protocol,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": {who: classification_scores(p, labels) for who, p in found.items()},
        "intervals": {who: {metric: list(drawn[metric].intervals[who]) for metric in compared} for who in found},
        "gains": {who: {metric: drawn[metric].gains[who] for metric in compared} for who in found if who != name},
        "better": {"balanced_accuracy": "higher"},
        "bootstrap": {"of": "series, class by class", "resamples": RESAMPLES, "level": 0.95},
        "about": METRICS,
        "samples": {"name": "series", **{part: len(data.part(part)) for part in PARTS}},
    }
