"""The tables of an evaluation of stays beside the scores: calibration, sets, abstention, hours, subgroups."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from integrand.apps.medical.abstention import risk_at
from integrand.apps.medical.conformal import set_quality
from integrand.apps.medical.icu.batches import StaysOfPart
from integrand.apps.medical.icu.module import IcuModule
from integrand.apps.medical.subgroups import by_age_and_sex
from integrand.apps.training.class_scores import bootstrap, classification_scores
from integrand.apps.training.tables import further_table
from integrand.datasets.labelled import LabelledSeries

Array = np.ndarray
RESAMPLES = 1000
SHARES = (0.5, 0.7, 0.8, 0.9, 1.0)
"""Shares of the stays that are answered."""
HOURS = (6.0, 12.0, 18.0, 24.0, 36.0, 48.0)
FEWEST = 5
"""Stays of each class that a subgroup needs for a score of its own."""
MEN = ("gender=m", "gender=male", "sex=m", "sex=male")
WOMEN = ("gender=f", "gender=female", "sex=f", "sex=female")


def calibration_table(ways: Mapping[str, Array], labels: Array, patients: Array) -> dict[str, Any]:
    """Set how far probabilities keep their word before and after calibration beside each other."""
    drawn = bootstrap(ways, labels, "ece", groups=patients, resamples=RESAMPLES)
    rows = {}
    for way, probabilities in ways.items():
        scores = classification_scores(probabilities, labels)
        low, high = drawn.intervals[way]
        rows[way] = {
            "ece": scores["ece"],
            "ece, low": low,
            "ece, high": high,
            "brier": scores["brier"],
            "nll": scores["nll"],
        }
    mean, low, high = ece_of_the_calibrated(ways["temperature"])
    rows["were it perfect"] = {"ece": mean, "ece, low": low, "ece, high": high}
    return further_table(
        "Calibration",
        rows,
        {"brier": "lower", "nll": "lower"},
        "Temperature and isotonic maps are fitted on patients that the networks asked never learned from; the model's "
        "own figures are those by temperature. Low and high: 95 % interval by resampling patients, which lies above "
        "the figure where that is small, as resampling adds noise to every bin. Were it perfect: the error that chance "
        "alone gives true probabilities, on as many stays; its low and high hold 95 % of such parts.",
    )


def ece_of_the_calibrated(probabilities: Array, *, draws: int = 200, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean calibration error where outcomes are drawn from the probabilities (N, K), and its 95 % range.

    A finite test part gives even true probabilities an error above 0: a bin of n stays with probability p has one of
    about sqrt(2 p (1 - p) / (pi n)).

    Example:
        >>> mean, low, high = ece_of_the_calibrated(np.full((1000, 2), 0.5), draws=100)
        >>> low < mean < high, abs(mean - (2 * 0.25 / np.pi / 1000) ** 0.5) < 0.003
        (True, True)
    """
    rng = np.random.default_rng(seed)
    bounds = probabilities.cumsum(1)[:, :-1]
    found = []
    for _ in range(draws):
        labels = (rng.random((len(bounds), 1)) > bounds).sum(1)
        found.append(classification_scores(probabilities, labels)["ece"])
    low, high = np.quantile(found, [0.025, 0.975]).tolist()
    return float(np.mean(found)), low, high


def sets_table(
    module: IcuModule, probabilities: Array, labels: Array, patients: Array, classes: list[str]
) -> list[dict[str, Any]]:
    """Judge the sets that were promised to hold what happened, all together and by what happened."""
    sets = module.sets(probabilities)
    if sets is None:
        return []
    rows = {"all stays": asdict(set_quality(sets, labels, patients))}
    for number, name in enumerate(classes):
        own = labels == number
        if own.any():
            rows[f"of those who {name}"] = asdict(set_quality(sets[own], labels[own], patients[own]))
    named = {name: {key.replace("_", ", ", 1): value for key, value in row.items()} for name, row in rows.items()}
    return [
        further_table(
            f"Sets promised to hold what happened for {module.coverage:.0%} of patients of each class",
            named,
            {},
            "Conformal sets with a threshold for each class, from patients that the networks asked never learned from, "
            "so that the rare class is held as often as the common one. Of a class with fewer than "
            f"{fewest(module.coverage)} stays of such patients nothing is promised, and no set holds it. Low and high: "
            "95 % interval by resampling patients; size: mean number of classes in a set; single: share of sets of one "
            "class, and how many of these are right.",
        )
    ]


def set_coverage(
    module: IcuModule, probabilities: Array, labels: Array, patients: Array, classes: list[str]
) -> dict[str, float]:
    """Return the shares of patients whose set holds what happened: of all, and of each class there is, by name."""
    sets = module.sets(probabilities)
    if sets is None:
        return {}
    found = {"set_coverage": set_quality(sets, labels, patients, resamples=1).coverage}
    for number, name in enumerate(classes):
        own = labels == number
        if own.any():
            quality = set_quality(sets[own], labels[own], patients[own], resamples=1)
            found[f"set_coverage_{name}".replace(" ", "_")] = quality.coverage
    return found


def fewest(coverage: float) -> int:
    """Return how many stays of a class a promise needs, see ``class_thresholds``.

    Example:
        >>> fewest(0.9), fewest(0.95)
        (10, 20)
    """
    return math.ceil(round(1 / (1 - coverage), 9))


def abstention_table(found: Mapping[str, Array], labels: Array) -> dict[str, Any]:
    """Tell the share of wrong answers among the surest stays."""
    rows = {
        who: {
            f"surest {share:.0%}": risk_at(share, p.max(1), (p.argmax(1) != labels).astype(float)) for share in SHARES
        }
        for who, p in found.items()
    }
    columns = [f"surest {share:.0%}" for share in SHARES]
    return further_table(
        "Wrong answers where the model may abstain",
        rows,
        dict.fromkeys(columns, "lower"),
        "Share of wrong classes among the stays answered, the surest first.",
    )


def hours_table(module: IcuModule, test: StaysOfPart, patients: Array) -> dict[str, Any]:
    """Score the risks told at earlier hours, with what was known by then."""
    task, rows = test.task, {}
    hours = [hour for hour in HOURS if hour < task.cutoff and abs(hour / task.bin - round(hour / task.bin)) < 1e-6]
    for hour in [*hours, task.elements * task.bin]:
        p = module.risks(module.judge(test.made, test.rows, np.full(len(test), hour)))
        scores = classification_scores(p, test.labels)
        low, high = bootstrap({"p": p}, test.labels, "auroc", groups=patients, resamples=RESAMPLES).intervals["p"]
        rows[f"{hour:g} h"] = {
            "auroc": scores["auroc"],
            "auroc, low": low,
            "auroc, high": high,
            "auprc": scores["auprc"],
            "ece": scores["ece"],
        }
    return further_table(
        "Risks told early",
        rows,
        {},
        "The same stays and the same model, which is told no more than what was known by the hour. A model that was "
        "trained on whole records alone (data.early 0) was never asked so early. All are calibrated at the cutoff.",
    )


def subgroups_table(
    probabilities: Array, labels: Array, patients: Array, series: LabelledSeries, module: IcuModule
) -> list[dict[str, Any]]:
    """Score subgroups by age, sex and what else of two sides is known at admission, such as the unit of care."""
    sets = module.sets(probabilities)
    table = {}
    for name, own in subgroups(series).items():
        counts = np.bincount(labels[own], minlength=probabilities.shape[1])
        row: dict[str, Any] = {"stays": int(own.sum()), series.classes[-1]: int(counts[-1])}
        if counts.min() >= FEWEST:
            p, y = probabilities[own], labels[own]
            scores = classification_scores(p, y)
            found = bootstrap({"p": p}, y, "auroc", groups=patients[own], resamples=RESAMPLES)
            low, high = found.intervals["p"]
            row |= {"auroc": scores["auroc"], "auroc, low": low, "auroc, high": high, "brier": scores["brier"]}
        if sets is not None:
            row["held by sets"] = float(sets[own][np.arange(int(own.sum())), labels[own]].mean())
        table[name] = row
    if not table:
        return []
    return [
        further_table(
            "Subgroups",
            table,
            {},
            f"Scores of subgroups with at least {FEWEST} stays of each class; low and high: 95 % interval by "
            "resampling patients.",
        )
    ]


def subgroups(series: LabelledSeries) -> dict[str, Array]:
    """Return which stays belong to each subgroup, (N,) bool by name, as far as static features tell.

    Example:
        >>> times, values = [np.zeros(1)] * 2, [np.zeros((1, 1), "f4")] * 2
        >>> stays = LabelledSeries("two", ["x"], ["no", "yes"], times, values, np.array([0, 1]), ["7", "8"],
        ...     static=np.array([[70, 1], [np.nan, 0]], "f4"), static_names=["Age", "Gender"])
        >>> {name: own.tolist() for name, own in subgroups(stays).items() if name.startswith(("men", "65"))}
        {'men': [True, False], '65 and over': [True, False]}
    """
    if series.static is None:
        return {}
    columns = {name.lower(): series.static[:, place] for place, name in enumerate(series.static_names)}
    found = {}
    count, nothing = len(series), [None] * len(series)
    ages = [None if np.isnan(age) else float(age) for age in columns["age"]] if "age" in columns else nothing
    sexes = _sexes(columns, count)
    if "age" in columns or sexes is not None:
        told = by_age_and_sex(ages, sexes or nothing)
        known = (
            *(("age", "under", "and over", " to ") if "age" in columns else ()),
            *(("men", "sex") if sexes else ()),
        )
        found = {name: own for name, own in told.items() if any(word in name for word in known)}
    for name in series.static_names:
        column = columns[name.lower()]
        if name.lower() not in ("gender", "sex", *MEN, *WOMEN) and set(np.unique(column[~np.isnan(column)])) <= {0, 1}:
            found[name] = column == 1
    return {name: own for name, own in found.items() if own.any()}


def _sexes(columns: Mapping[str, Array], count: int) -> list[str | None] | None:
    """Return F, M or None of each stay; None where no column tells. ``Gender`` is 1 for men, as in PhysioNet 2012."""
    number = columns.get("gender")
    if number is not None:
        return [None if np.isnan(one) else "M" if one == 1 else "F" for one in number]
    men = next((columns[name] for name in MEN if name in columns), None)
    women = next((columns[name] for name in WOMEN if name in columns), None)
    if men is None or women is None:
        return None
    return ["M" if men[row] == 1 else "F" if women[row] == 1 else None for row in range(count)]
