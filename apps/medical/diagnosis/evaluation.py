"""Scoring trained diagnoses on the test part, beside the baselines.

Dimension letters: N segments, K labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from integrand.apps.medical.diagnosis.data import PTB_XL, DiagnosisData
from integrand.apps.medical.diagnosis.label_scores import ABOUT, best_threshold, by_label, label_scores, resampled
from integrand.apps.medical.diagnosis.module import DiagnosisModule
from integrand.apps.medical.named_recordings import SIMULATED
from integrand.apps.medical.segments.baselines import LogisticRegression, lead_features, shares
from integrand.apps.medical.segments.scoring import segment_scores
from integrand.apps.medical.subgroups import by_age_and_sex
from integrand.apps.training.class_scores import group_weights
from integrand.apps.training.tables import further_table
from integrand.datasets.segments import Segments
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
RESAMPLES = 1000
PUBLISHED = {"superdiagnostic": 0.928, "all": 0.925}
"""Macro AUROC of xresnet1d101 on PTB-XL, Strodthoff et al. (2021), Table II."""


@dataclass(frozen=True)
class DiagnosisEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``probabilities``.
        probabilities: (N, K) of the model and of each baseline, on the test part.
        thresholds: (K,) from which each names a label, of the validation part.
        segments: the test part itself.
        module: the model, which the figures ask where it looks.
        results: what goes to ``results.json``.
    """

    name: str
    probabilities: dict[str, Array]
    thresholds: dict[str, Array]
    segments: Segments
    module: DiagnosisModule
    results: dict[str, Any]


def evaluate(
    module: DiagnosisModule, data: DiagnosisData, *, name: str, seed: int, notify: Notify
) -> DiagnosisEvaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    test = data.part("test").segments
    notify(f"scoring {name} on {len(test):,} test segments of {len(set(test.patients)):,} patients")
    scores = segment_scores(module, test)
    found, limits = {name: module.calibrated(scores)}, {name: module.limits()}
    for other, (p, limit) in baselines(data, notify).items():
        found[other], limits[other] = p, limit
    return DiagnosisEvaluation(
        name=name,
        probabilities=found,
        thresholds=limits,
        segments=test,
        module=module,
        results=_results(name, found, limits, scores, module, data, seed),
    )


def baselines(data: DiagnosisData, notify: Notify) -> dict[str, tuple[Array, Array]]:
    """Return the probabilities of the baselines on the test part, and their thresholds, by name."""
    train, validation, test = (data.part(part).segments for part in PARTS)
    notify("fitting logistic regression on features of the leads")
    x, tried, asked = (lead_features(part.signal, part.rate) for part in (train, validation, test))
    model = LogisticRegression(several=True).fit(x, train.labels, tried, validation.labels)
    made = {
        "shares": (shares(train.labels, len(test)), shares(train.labels, len(validation))),
        f"{model.name} (leads)": (model.predict(asked), model.predict(tried)),
    }
    return {who: (p, _limits(own, validation.labels)) for who, (p, own) in made.items()}


def _limits(p: Array, labels: Array) -> Array:
    return np.array([best_threshold(p[:, k], labels[:, k]) for k in range(p.shape[1])])


def _results(
    name: str,
    found: dict[str, Array],
    limits: dict[str, Array],
    scores: Array,
    module: DiagnosisModule,
    data: DiagnosisData,
    seed: int,
) -> dict[str, Any]:
    test = data.part("test").segments
    patients = np.array(test.patients)
    intervals, gains = resampled(found, test.labels, limits, patients, better=name, resamples=RESAMPLES)
    return {
        "app": "medical",
        "task": "diagnosis",
        "dataset": data.dataset,
        "protocol": data.label_set if data.dataset == PTB_XL else "by_patient",
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": {who: label_scores(p, test.labels, limits[who]) for who, p in found.items()},
        "intervals": intervals,
        "gains": gains,
        "better": dict.fromkeys(("macro_auroc", "macro_auprc", "macro_f1"), "higher"),
        "bootstrap": {"of": "patients", "resamples": RESAMPLES, "level": 0.95},
        "about": ABOUT,
        "samples": {"name": "segments", **{part: len(data.part(part)) for part in PARTS}},
        "patients": {part: len(set(data.part(part).segments.patients)) for part in PARTS},
        "simulated": data.dataset == SIMULATED,
        "tables": _tables(found[name], limits[name], scores, module, test),
        "remarks": _remarks(data),
    }


def _tables(p: Array, limits: Array, scores: Array, module: DiagnosisModule, test: Segments) -> list[dict[str, Any]]:
    made = [_by_label(p, limits, test)]
    groups = by_age_and_sex([None if np.isnan(age) else age for age in test.ages], test.sexes)
    if any("not stated" not in group for group in groups):
        made.append(_by_group(p, limits, test, groups))
    rows = {}
    for who, one in (("as trained", expit(scores)), ("temperature of each label", p)):
        told = label_scores(one, test.labels, limits)
        rows[who] = {metric: told[metric] for metric in ("ece", "brier", "nll")}
    better: dict[str, str] = dict.fromkeys(("ece", "brier", "nll"), "lower")
    note = "The temperatures are fitted on the validation part."
    made.append(further_table("Calibration", rows, better, note))
    sets = module.sets(p)
    if sets is not None:
        made.append(_sets(sets, test, module.coverage))
    return made


def _by_label(p: Array, limits: Array, test: Segments) -> dict[str, Any]:
    told = by_label(p, test.labels, limits)
    rows = {}
    for k, label in enumerate(test.classes):
        held = test.labels[:, k]
        owners = {owner for owner, holds in zip(test.patients, held, strict=True) if holds}
        figures = {name: float(values[k]) for name, values in told.items()}
        rows[label] = {**figures, "from": float(limits[k]), "segments": int(held.sum()), "patients": len(owners)}
    note = "Named from the threshold in the column from, which has the largest F1 on the validation part."
    return further_table("By label", rows, {}, note)


def _by_group(p: Array, limits: Array, test: Segments, groups: dict[str, Array]) -> dict[str, Any]:
    rows = {}
    for name, chosen in groups.items():
        told = label_scores(p[chosen], test.labels[chosen], limits)
        figures = {metric: told[metric] for metric in ("macro_auroc", "macro_f1", "brier")}
        kept = {metric: value for metric, value in figures.items() if np.isfinite(value)}
        rows[name] = {**kept, "segments": int(chosen.sum())}
    note = "Means are over the labels that occur in a group, which need not be the same in each."
    return further_table("By age and sex", rows, {}, note)


def _sets(sets: Array, test: Segments, promised: float) -> dict[str, Any]:
    rows = {label: held for k, label in enumerate(test.classes) if (held := _held(sets[:, k], test, k))}
    note = (
        f"A label is in a segment's set unless it can be ruled out: where it holds, it is promised to be in it for "
        f"{promised:.0%} of patients' segments. Coverage with its 95 % interval by resampling patients; size is the "
        "share of all segments whose set has it."
    )
    return further_table("Conformal sets", rows, {}, note)


def _held(inside: Array, test: Segments, k: int) -> dict[str, float]:
    """Return how often a label that holds is in the set, each patient alike, with its interval."""
    rows = test.labels[:, k]
    if not rows.any():
        return {}
    number = np.unique(np.array(test.patients)[rows], return_inverse=True)[1]
    of_patient = np.bincount(number, weights=inside[rows]) / np.bincount(number)
    weight = group_weights(np.arange(len(of_patient)), RESAMPLES, np.random.default_rng(0))
    low, high = np.quantile(weight @ of_patient / len(of_patient), [0.025, 0.975]).tolist()
    return {"coverage": float(of_patient.mean()), "low": low, "high": high, "size": float(inside.mean())}


def _remarks(data: DiagnosisData) -> list[str]:
    if data.dataset == SIMULATED:
        return ["Simulated patients: none of this was measured."]
    published = PUBLISHED.get(data.label_set) if data.dataset == PTB_XL and data.rate == 100 else None
    if published is None:
        return []
    return [
        f"Strodthoff et al. (2021) publish a macro AUROC of {published} for the label set {data.label_set} on the same "
        "folds of an earlier version, with 38 records more."
    ]
