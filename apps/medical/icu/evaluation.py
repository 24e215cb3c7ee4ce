"""Scoring trained judges of stays on the test part, beside the baselines: ranking, calibration, sets, subgroups."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.medical.calibration import Isotonic
from integrand.apps.medical.icu.baselines import baselines
from integrand.apps.medical.icu.data import PHYSIONET, IcuData
from integrand.apps.medical.icu.module import IcuModule
from integrand.apps.medical.icu.result_tables import (
    abstention_table,
    calibration_table,
    hours_table,
    set_coverage,
    sets_table,
    subgroups_table,
)
from integrand.apps.medical.icu.timelines import Timeline, timeline
from integrand.apps.training.class_scores import METRICS, bootstrap, classification_scores
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]

COMPARED = ("auroc", "auprc", "brier", "ece", "nll")
"""Metrics with intervals, the first of which decides."""
RESAMPLES = 2000
QUANTILES = (0.25, 0.75)
"""Of the risks of each class: the stays whose timelines are drawn."""
_ABOUT_SETS = "share of patients, all or those of a class, whose set holds what happened; {:.0%} of each class promised"
PUBLISHED = (
    "Published areas under the ROC on set A, over other splits of the same stays: mTAND-Full 0.858, ODE-RNN 0.833, "
    "latent ODE 0.829 (Shukla and Marlin 2021), CfC 0.839 (Hasani et al. 2022)."
)


@dataclass(frozen=True)
class IcuEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``probabilities``.
        probabilities: (N, K) of the model and of each baseline, on the test part.
        labels: (N,) what happened.
        patients: (N,) whose stays they are.
        classes: names of the K classes.
        timelines: of a few test stays.
        observed: times and values, before any scaling, of the same stays up to the cutoff.
        results: what goes to ``results.json``.
    """

    name: str
    probabilities: dict[str, Array]
    labels: Array
    patients: Array
    classes: list[str]
    timelines: list[Timeline]
    observed: list[tuple[Array, Array]]
    results: dict[str, Any]


def evaluate(module: IcuModule, data: IcuData, *, name: str, seed: int, notify: Notify) -> IcuEvaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    test, validation = data.part("test"), data.part("validation")
    labels, patients = test.labels, data.patients("test")
    notify(f"scoring {name} on {len(test):,} test stays")
    scores = module.judge(test.made, test.rows)
    found = {name: module.risks(scores)}
    train, tried = data.part("train").whole(), test.whole()
    for baseline in baselines(data.task):
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(train, len(data.task.classes))
        found[baseline.name] = baseline.predict(tried)
        for notice in baseline.notices:
            notify(f"note: {notice}")
    ways = {"as trained": _softmax(scores), "temperature": found[name]}
    if len(validation):
        known = _softmax(module.judge(validation.made, validation.rows, folds=validation.folds))
        ways["isotonic"] = Isotonic.fit(known, validation.labels)(ways["as trained"])
    notify("telling a few test stays hour by hour")
    chosen = [int(test.rows[place]) for place in _chosen(found[name][:, -1], labels)]
    results = _results(name, found, labels, patients, data, seed)
    held = set_coverage(module, found[name], labels, patients, data.task.classes)
    results["metrics"][name] |= held
    results["better"] |= dict.fromkeys(held, module.coverage)
    results["about"] |= {metric: _ABOUT_SETS.format(module.coverage) for metric in held}
    results["tables"] = [
        calibration_table(ways, labels, patients),
        *sets_table(module, found[name], labels, patients, data.task.classes),
        abstention_table(found, labels),
        hours_table(module, test, patients),
        *subgroups_table(found[name], labels, patients, data.series.at(test.rows), module),
    ]
    return IcuEvaluation(
        name=name,
        probabilities=found,
        labels=labels,
        patients=patients,
        classes=data.task.classes,
        timelines=[timeline(module, test.made, row) for row in chosen],
        observed=[data.observed(row) for row in chosen],
        results=results,
    )


def _results(
    name: str, found: dict[str, Array], labels: Array, patients: Array, data: IcuData, seed: int
) -> dict[str, Any]:
    drawn = {
        metric: bootstrap(found, labels, metric, better=name, groups=patients, resamples=RESAMPLES)
        for metric in COMPARED
    }
    metrics = {who: classification_scores(p, labels) for who, p in found.items()}
    return {
        "app": "medical",
        "task": "icu",
        "dataset": data.dataset,
        "protocol": "by patient",
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": {who: {m: one[m] for m in (*COMPARED, "balanced_accuracy")} for who, one in metrics.items()},
        "intervals": {who: {metric: list(drawn[metric].intervals[who]) for metric in COMPARED} for who in found},
        "gains": {who: {metric: drawn[metric].gains[who] for metric in COMPARED} for who in found if who != name},
        "better": {"balanced_accuracy": "higher"},
        "bootstrap": {"of": "patients", "resamples": RESAMPLES, "level": 0.95},
        "about": dict(METRICS),
        "remarks": [PUBLISHED] if data.dataset == PHYSIONET and data.cutoff >= 48 else [],
        "samples": {"name": "stays", **{part: len(data.part(part)) for part in PARTS}},
    }


def _softmax(scores: Array) -> Array:
    """Return the probabilities (N, K) of scores (N, G, K) that nothing was calibrated for."""
    from scipy.special import softmax

    return softmax(scores, axis=-1).mean(1)


def _chosen(risk: Array, labels: Array) -> list[int]:
    """Return test stays at ``QUANTILES`` of the risks of the last class, and of the others."""
    last = labels.max(initial=0)
    chosen: list[int] = []
    for rows in (np.flatnonzero(labels == last), np.flatnonzero(labels != last)):
        order = rows[np.argsort(risk[rows], kind="stable")]
        places = [round(share * (len(order) - 1)) for share in QUANTILES] if len(order) else []
        chosen += [int(order[place]) for place in dict.fromkeys(places)]
    return chosen
