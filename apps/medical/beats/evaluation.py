"""Scoring a trained namer of beats on the patients of the test part, beside the baselines.

Dimension letters: N beats, K classes, P patients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.medical.abstention import risk_at
from integrand.apps.medical.beats.baselines import BASELINES
from integrand.apps.medical.beats.data import BeatData
from integrand.apps.medical.beats.metrics import METRICS, beat_scores, confusion, patient_bootstrap
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.calibration import Isotonic
from integrand.apps.medical.conformal import set_quality
from integrand.apps.medical.subgroups import by_age_and_sex
from integrand.apps.training.class_scores import METRICS as OF_PROBABILITIES
from integrand.apps.training.class_scores import classification_scores
from integrand.apps.training.tables import further_table
from integrand.datasets.beat_series import BeatSeries
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]

COMPARED = ("macro_f1", "jk", "accuracy")
"""Metrics with intervals."""
CALIBRATED = ("nll", "ece", "brier")
SHARES = (1.0, 0.98, 0.95, 0.9, 0.8)
"""Shares answered, in the table of abstention."""
DOMINANT = 0.5
"""Share of a class's beats above which its patient is left out once, to see what stands without that patient."""
WITHOUT = ("jk", "accuracy", "f1_S", "f1_V")
"""Metrics told without that patient, too."""


@dataclass(frozen=True)
class BeatEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``probabilities``.
        probabilities: (N, K) of the model and each baseline, of all test beats, recording after recording.
        labels: (N,) the true classes.
        patients: (N,) whose each beat is.
        sets: (N, K) bool, which classes are in the model's sets; None where it has none.
        classes: names of the K classes.
        series: of the test part.
        module: the model itself, for attributions.
        results: what goes to ``results.json``.
    """

    name: str
    probabilities: dict[str, Array]
    labels: Array
    patients: Array
    sets: Array | None
    classes: list[str]
    series: list[BeatSeries]
    module: BeatModule
    results: dict[str, Any]


def evaluate(module: BeatModule, data: BeatData, *, name: str, seed: int, notify: Notify) -> BeatEvaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    test, train = data.part("test"), data.part("train")
    labels, patients = (np.concatenate(one) for one in zip(*(_known(each) for each in test.series), strict=True))
    notify(f"scoring {name} on {len(labels):,} beats of {len(set(patients))} test patients")
    scores = module.member_scores(test)
    found = {name: np.concatenate([module.averaged(one) for one in scores])}
    for kind in BASELINES:
        baseline = kind()
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(train.learned if baseline.varied else train.series, data.task)
        found[baseline.name] = np.concatenate([baseline.predict(each) for each in test.series])
    sets = module.sets(found[name])
    results = _results(name, found, labels, patients, data, seed)
    results["tables"] = [
        _by_class(found[name], labels, data.task.classes),
        _by_patient(found[name], labels, patients, data.task.classes),
        _calibration(
            module,
            data,
            np.concatenate([module.averaged(one, calibrated=False) for one in scores]),
            found[name],
            labels,
        ),
        *([] if sets is None else [_sets(sets, labels, patients, data.task.classes, module)]),
        _abstention(found, labels),
        *_subgroups(found[name], labels, test.series, data.task.classes),
    ]
    results["remarks"] = [
        *_without_dominant(labels, patients, data.task.classes),
        *_unusable(test.series),
        *(["Every patient here is simulated: nothing was measured."] if any(s.simulated for s in test.series) else []),
    ]
    return BeatEvaluation(name, found, labels, patients, sets, data.task.classes, test.series, module, results)


def _known(series: BeatSeries) -> tuple[Array, Array]:
    return series.labels, np.full(len(series), series.patient)


def _results(
    name: str, found: dict[str, Array], labels: Array, patients: Array, data: BeatData, seed: int
) -> dict[str, Any]:
    classes = data.task.classes
    counts = {who: by_patient(p.argmax(1), labels, patients, len(classes)) for who, p in found.items()}
    scored = {who: beat_scores(one.sum(axis=0), classes) for who, one in counts.items()}
    largest = dominant(labels, patients)
    for who, p in found.items():
        probable = classification_scores(p, labels)
        scored[who] |= {metric: probable[metric] for metric in CALIBRATED}
        if largest is not None:
            rest = beat_scores(confusion(p[patients != largest].argmax(1), labels[patients != largest], 5), classes)
            scored[who] |= {f"{metric}_without": rest[metric] for metric in WITHOUT}
    drawn = {metric: patient_bootstrap(counts, classes, metric, better=name) for metric in COMPARED}
    return {
        "app": "medical",
        "task": "beats",
        "dataset": data.dataset,
        "protocol": data.protocol.replace("_", "-") if data.dataset == "mit_bih" else "random",
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": scored,
        "intervals": {who: {metric: list(drawn[metric].intervals[who]) for metric in COMPARED} for who in found},
        "gains": {
            who: {metric: drawn[metric].gains[who] for metric in COMPARED if who in drawn[metric].gains}
            for who in found
            if who != name
        },
        "better": {
            **dict.fromkeys((*METRICS, *(f"{metric}_without" for metric in WITHOUT)), "higher"),
            **dict.fromkeys(CALIBRATED, "lower"),
        },
        "bootstrap": {"of": "patients", "resamples": 2000, "level": 0.95},
        "about": {
            **METRICS,
            **{metric: OF_PROBABILITIES[metric] for metric in CALIBRATED},
            **({f"{metric}_without": f"{metric} without patient {largest}" for metric in WITHOUT} if largest else {}),
        },
        "samples": {
            "name": "beats",
            **{part: int(sum(len(each) for each in data.part(part).series)) for part in PARTS},
        },
    }


def by_patient(said: Array, labels: Array, patients: Array, classes: int) -> Array:
    """Return the confusion matrix of each patient, (P, K, K), in alphabetical order of the patients."""
    return np.stack(
        [confusion(said[rows], labels[rows], classes) for rows in (patients == one for one in np.unique(patients))]
    )


def _by_class(p: Array, labels: Array, classes: list[str]) -> Any:
    counts = confusion(p.argmax(1), labels, len(classes))
    rows = {}
    for place, name in enumerate(classes):
        true, said, right = counts[place].sum(), counts[:, place].sum(), counts[place, place]
        rows[name] = {
            "beats": int(true),
            "sensitivity": float(right / true) if true else None,
            "positive predictivity": float(right / said) if said else None,
            "F1": float(2 * right / (true + said)) if true + said else None,
        }
    note = "Classes of ANSI/AAMI EC57: normal, supraventricular, ventricular, fusion, other."
    return further_table("By class", rows, {}, note)


def _by_patient(p: Array, labels: Array, patients: Array, classes: list[str]) -> Any:
    rows = {}
    for one in np.unique(patients):
        own = patients == one
        counts = confusion(p[own].argmax(1), labels[own], len(classes))
        row: dict[str, Any] = {"beats": int(own.sum()), "accuracy": float((p[own].argmax(1) == labels[own]).mean())}
        for name in ("S", "V"):
            place = classes.index(name)
            true, said, right = counts[place].sum(), counts[:, place].sum(), counts[place, place]
            row[f"{name} beats"] = int(true)
            row[f"Se {name}"] = float(right / true) if true else None
            row[f"+P {name}"] = float(right / said) if said else None
        rows[str(one)] = row
    note = "Se sensitivity, +P positive predictivity; a dash where there is no such beat."
    return further_table("By patient", rows, {}, note)


def _calibration(module: BeatModule, data: BeatData, raw: Array, found: Array, labels: Array) -> Any:
    """Compare what the temperature does with what isotonic regression on the same patients would."""
    told = {"as trained": raw, f"temperature {float(module.temperature):.2f} (in use)": found}
    kept = data.part("validation")
    if len(kept):
        own = np.concatenate([each.labels for each in kept.series])
        told["isotonic"] = Isotonic.fit(np.concatenate(module.named(kept)), own)(found)
    scored = {who: classification_scores(p, labels) for who, p in told.items()}
    rows = {who: {metric: one[metric] for metric in CALIBRATED} for who, one in scored.items()}
    return further_table(
        "Calibration",
        rows,
        dict.fromkeys(CALIBRATED, "lower"),
        "Fitted on patients of validation alone, scored on the test part. Best of each column in bold.",
    )


def _sets(sets: Array, labels: Array, patients: Array, classes: list[str], module: BeatModule) -> Any:
    whole = set_quality(sets, labels, patients)
    rows: dict[str, dict[str, Any]] = {}
    every = np.ones(len(labels), dtype=bool)
    for name, of in (("all beats", every), *((one, labels == k) for k, one in enumerate(classes))):
        if of.any():
            quality = whole if name == "all beats" else set_quality(sets[of], labels[of], patients[of])
            rows[name] = {
                "coverage": quality.coverage,
                "low": quality.coverage_low,
                "high": quality.coverage_high,
                "mean size": quality.size,
                "empty": quality.empty,
                "of one class": quality.single,
                "of these right": quality.single_right,
            }
    promise = "for each class" if module.by_class else "for all beats of a patient together, not for each class"
    return further_table(
        f"Conformal sets, {module.coverage:.0%} promised",
        rows,
        {},
        "Mean over patients of the share of beats whose set holds the true class, with its 95 % interval by resampling "
        f"patients. The promise is made {promise}, by patients of validation.",
    )


def _abstention(found: dict[str, Array], labels: Array) -> Any:
    rows = {}
    for who, p in found.items():
        wrong = (p.argmax(1) != labels).astype(np.float64)
        rows[who] = {f"{share:.0%} answered": risk_at(share, p.max(1), wrong) for share in SHARES}
    return further_table(
        "Share of wrong names where only the surest beats are named",
        rows,
        {f"{share:.0%} answered": "lower" for share in SHARES},
        "Best of each column in bold.",
    )


def _subgroups(p: Array, labels: Array, series: list[BeatSeries], classes: list[str]) -> list[Any]:
    count = [len(each) for each in series]
    ages = np.repeat(np.array([each.age for each in series], dtype=object), count)
    sexes = np.repeat(np.array([each.sex for each in series], dtype=object), count)
    names = np.repeat([each.patient for each in series], count)
    rows = {}
    for name, own in by_age_and_sex(ages.tolist(), sexes.tolist()).items():
        scores = beat_scores(confusion(p[own].argmax(1), labels[own], len(classes)), classes)
        few = {metric: scores[metric] for metric in ("accuracy", "macro_f1", "se_S", "pp_S", "se_V", "pp_V")}
        rows[name] = {"patients": len(set(names[own])), "beats": int(own.sum()), **few}
    if set(rows) <= {"sex not stated", "age not stated"}:
        return []
    note = "A difference between few patients is no evidence of one between groups."
    return [further_table("By age and sex", rows, {}, note)]


def dominant(labels: Array, patients: Array) -> str | None:
    """Return the patient who holds more than half of the beats of a class of 100 or more; None where none does."""
    for place in range(1, int(labels.max()) + 1):
        own = labels == place
        who, count = np.unique(patients[own], return_counts=True)
        if own.sum() >= 100 and len(who) > 1 and count.max() > DOMINANT * own.sum():
            return str(who[count.argmax()])
    return None


def _without_dominant(labels: Array, patients: Array, classes: list[str]) -> list[str]:
    """Tell who holds most of a class."""
    largest = dominant(labels, patients)
    if largest is None:
        return []
    held, whole = np.bincount(labels[patients == largest], minlength=len(classes)), np.bincount(labels)
    place = max(range(1, len(whole)), key=lambda k: held[k] / max(whole[k], 1) if whole[k] >= 100 else 0)
    return [
        f"Patient {largest} alone holds {held[place]:,} of the {whole[place]:,} beats of {classes[place]}: metrics "
        "named without are of all other patients."
    ]


def _unusable(series: list[BeatSeries]) -> list[str]:
    bad = int(sum((~each.usable).sum() for each in series))
    if not bad:
        return []
    held = sum((~each.usable).any() for each in series)
    return [
        f"{bad:,} test beats of {held} recordings lie where a lead is flat, saturated or missing; they are scored like "
        "all others here, and predict marks them unusable."
    ]
