"""Scoring a trained namer of rhythms on the test part, beside the baselines.

Dimension letters: N segments, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.medical.abstention import risk_at, risk_coverage
from integrand.apps.medical.calibration import Isotonic
from integrand.apps.medical.conformal import set_quality
from integrand.apps.medical.named_recordings import SIMULATED
from integrand.apps.medical.rhythm.data import RhythmData
from integrand.apps.medical.rhythm.module import RhythmModule
from integrand.apps.medical.rhythm.scores import ABOUT, RANKED, resampled, rhythm_scores
from integrand.apps.medical.segments.baselines import LogisticRegression, features_of, shares
from integrand.apps.medical.segments.scoring import segment_scores
from integrand.apps.medical.subgroups import by_age_and_sex
from integrand.apps.training.class_scores import METRICS, classification_scores
from integrand.apps.training.tables import further_table
from integrand.datasets.segments import Segments
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
RESAMPLES = 2000
ANSWERED = (1.0, 0.9, 0.8, 0.5)
"""Shares of segments answered, at which the error is told."""


@dataclass(frozen=True)
class RhythmEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``probabilities``.
        probabilities: (N, K) of the model and of each baseline, on the test part.
        labels: (N,) the true classes.
        segments: the test part itself.
        module: the model, which the figures ask where it looks.
        results: what goes to ``results.json``.
    """

    name: str
    probabilities: dict[str, Array]
    labels: Array
    segments: Segments
    module: RhythmModule
    results: dict[str, Any]

    @property
    def patients(self) -> Array:
        """Whose each segment is, (N,)."""
        return np.array(self.segments.patients)

    @property
    def abstention(self) -> dict[str, tuple[Array, Array]]:
        """Shares answered and errors among them, of the model and of each baseline."""
        return {
            who: risk_coverage(p.max(axis=1), p.argmax(axis=1) != self.labels) for who, p in self.probabilities.items()
        }


def evaluate(module: RhythmModule, data: RhythmData, *, name: str, seed: int, notify: Notify) -> RhythmEvaluation:
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
    labels = test.labels.argmax(axis=1)
    notify(f"scoring {name} on {len(test):,} test segments of {len(set(test.patients))} patients")
    scores = segment_scores(module, test)
    found = {name: module.calibrated(scores), **baselines(data, module.balance, notify)}
    return RhythmEvaluation(
        name=name,
        probabilities=found,
        labels=labels,
        segments=test,
        module=module,
        results=_results(name, found, scores, module, data, seed),
    )


def baselines(data: RhythmData, balance: float, notify: Notify) -> dict[str, Array]:
    """Return the probabilities of the baselines on the test part, by name; classes weigh as in the model's loss."""
    train, validation, test = (data.part(part).segments for part in PARTS)
    what = "RR intervals" if data.segments.marked else "leads"
    notify(f"fitting logistic regression on features of the {what}")
    model = LogisticRegression(several=False, balance=balance)
    model.fit(features_of(train), train.labels, features_of(validation), validation.labels)
    return {
        "majority": shares(train.labels, len(test)),
        f"{model.name} ({what})": model.predict(features_of(test)),
    }


def _results(
    name: str, found: dict[str, Array], scores: Array, module: RhythmModule, data: RhythmData, seed: int
) -> dict[str, Any]:
    test = data.part("test").segments
    labels, patients = test.labels.argmax(axis=1), np.array(test.patients)
    intervals, gains = resampled(found, labels, patients, better=name, resamples=RESAMPLES)
    return {
        "app": "medical",
        "task": "rhythm",
        "dataset": data.dataset,
        "protocol": data.protocol,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": {who: rhythm_scores(p, labels) for who, p in found.items()},
        "intervals": intervals,
        "gains": gains,
        "better": {"macro_f1": "higher", "kappa": "higher"},
        "bootstrap": {"of": "patients", "resamples": RESAMPLES, "level": 0.95},
        "about": {**{metric: METRICS[metric] for metric in RANKED}, **ABOUT},
        "samples": {"name": "segments", **{part: len(data.part(part)) for part in PARTS}},
        "patients": {part: len(set(data.part(part).segments.patients)) for part in PARTS},
        "simulated": data.dataset == SIMULATED,
        "tables": _tables(found[name], scores, labels, module, data),
        "remarks": _remarks(data),
    }


def _tables(p: Array, scores: Array, labels: Array, module: RhythmModule, data: RhythmData) -> list[dict[str, Any]]:
    test = data.part("test").segments
    patients, said = np.array(test.patients), p.argmax(axis=1)
    made = [_by_class(said, labels, test.classes, patients), _by_patient(said, labels, patients, test.classes)]
    groups = by_age_and_sex([None if np.isnan(age) else age for age in test.ages], test.sexes)
    if any("not stated" not in group for group in groups):
        made.append(_by_group(said, labels, patients, groups))
    if data.validates:
        made.append(_calibration(scores, labels, module, data.part("validation").segments))
    sets = module.sets(p)
    if sets is not None:
        made.append(_sets(sets, labels, patients, module.coverage))
    confidence, wrong = p.max(axis=1), said != labels
    made.append(
        further_table(
            "Abstention",
            {f"surest {share:.0%} answered": {"error": risk_at(share, confidence, wrong)} for share in ANSWERED},
            {"error": "lower"},
            "Share of wrong names among the segments that are answered.",
        )
    )
    return made


def _by_class(said: Array, labels: Array, classes: list[str], patients: Array) -> dict[str, Any]:
    from sklearn.metrics import precision_recall_fscore_support

    told: Any = precision_recall_fscore_support(
        labels,
        said,
        labels=range(len(classes)),
        zero_division=0.0,  # pyright: ignore[reportArgumentType]
    )
    precision, recall, f1, count = told
    rows = {
        name: {
            "Se": float(recall[k]),
            "+P": float(precision[k]),
            "F1": float(f1[k]),
            "segments": int(count[k]),
            "patients": len(set(patients[labels == k])),
        }
        for k, name in enumerate(classes)
    }
    note = "Sensitivity, positive predictivity and their harmonic mean; 0 where a class was never named."
    return further_table("By rhythm", rows, {}, note)


def _by_patient(said: Array, labels: Array, patients: Array, classes: list[str]) -> dict[str, Any]:
    rows = {}
    for patient in sorted(set(patients)):
        mine = patients == patient
        held = {name: int((labels[mine] == k).sum()) for k, name in enumerate(classes)}
        rows[str(patient)] = {"accuracy": float((said[mine] == labels[mine]).mean()), **held}
    note = (
        "Share named rightly, and how many segments of each rhythm the patient has. One patient may hold most of one."
    )
    return further_table("By patient", rows, {}, note)


def _by_group(said: Array, labels: Array, patients: Array, groups: dict[str, Array]) -> dict[str, Any]:
    rows = {
        name: {
            "accuracy": float((said[rows] == labels[rows]).mean()),
            "segments": int(rows.sum()),
            "patients": len(set(patients[rows])),
        }
        for name, rows in groups.items()
    }
    return further_table("By age and sex", rows, {}, "Small groups have wide intervals.")


def _calibration(scores: Array, labels: Array, module: RhythmModule, validation: Segments) -> dict[str, Any]:
    from scipy.special import softmax

    plain = softmax(scores, axis=1)
    raised = Isotonic.fit(softmax(segment_scores(module, validation), axis=1), validation.labels.argmax(axis=1))
    kinds = {"as trained": plain, "temperature": module.calibrated(scores), "isotonic": raised(plain)}
    rows = {}
    for name, p in kinds.items():
        told = classification_scores(p, labels)
        rows[name] = {metric: told[metric] for metric in ("ece", "brier", "nll")}
    return further_table(
        "Calibration",
        rows,
        dict.fromkeys(("ece", "brier", "nll"), "lower"),
        f"Fitted on the validation part; the temperature, {float(module.temperature):.2f}, is what is used.",
    )


def _sets(sets: Array, labels: Array, patients: Array, promised: float) -> dict[str, Any]:
    told = set_quality(sets, labels, patients)
    rows = {
        f"sets at {promised:.0%}": {
            "coverage": told.coverage,
            "low": told.coverage_low,
            "high": told.coverage_high,
            "size": told.size,
            "empty": told.empty,
            "single": told.single,
            "single right": told.single_right,
        }
    }
    note = "Coverage is the mean over patients, with its 95 % interval by resampling them; size is classes a set."
    return further_table("Conformal sets", rows, {}, note)


def _remarks(data: RhythmData) -> list[str]:
    told = ["Simulated patients: none of this was measured."] if data.dataset == SIMULATED else []
    train = data.part("train").segments
    for k, name in enumerate(train.classes):
        owners = [owner for owner, holds in zip(train.patients, train.labels[:, k], strict=True) if holds]
        if len(set(owners)) == 1:
            told.append(f"All training segments of {name} are of one patient, {owners[0]}.")
    return told
