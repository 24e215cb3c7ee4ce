"""What an evaluation of tables writes to ``results.json``: figures, their intervals, and how they are to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.generation.metrics.evaluation import ABOUT
from integrand.apps.generation.tabular.data import TableData
from integrand.apps.generation.tabular.learners import Answers
from integrand.apps.generation.tabular.resemblance import association_difference, associations
from integrand.apps.generation.tabular.table_scores import METRICS, TableScores
from integrand.apps.generation.tabular.transfer import LOWER_IS_BETTER, Transfer, transfer_ratio
from integrand.apps.generation.tabular.transfer_intervals import resampled_ratios, resamples
from integrand.apps.training.figures import metric_name
from integrand.datasets.splits import PARTS

REAL = "training part itself"
"""What the yardstick is called in tables: real rows in the place of synthetic ones."""
RESAMPLES = 2000
LEAST_SHARE = 0.99
"""Share of resamples in which learners of real rows must be worth something, or no interval is told."""
LEAST_WORTH = 0.1
"""Transfer ratio that a baseline must have beyond the chance of test rows for the model's gain over it to be told."""
WORDS = {
    "auroc": "area under the receiver operating characteristic on the test rows, a mean over two learners",
    "r2": "share of the target's variance in the test rows that is explained, a mean over two learners",
}
BETTER: dict[str, str | float] = {
    "transfer_ratio": "higher",
    "auroc": "higher",
    "r2": "higher",
    "marginal_distance": "lower",
    "association_difference": "lower",
    "copies": "lower",
    "distance_ratio": 1.0,
    "nearer": 0.5,
    "c2st_forest": 0.5,
}


@dataclass(frozen=True, eq=False)
class Scored:
    """What was measured of one generator's tables.

    Attributes:
        scores: transfer, resemblance, privacy.
        apart: share of its rows and as many test rows that a forest tells apart.
        answers: of learners of its tables, None without a target.
        equal: transfer of tables with as many rows as the training part; empty where it was not measured.
    """

    scores: TableScores
    apart: float
    answers: Answers | None
    equal: list[Transfer]


def results_of(
    name: str,
    scored: Mapping[str, Scored],
    data: TableData,
    real: Answers | None,
    drawing: Mapping[str, Any],
    *,
    floor: float,
    seed: int,
) -> dict[str, Any]:
    """Return the results of a run.

    Args:
        name: the model's.
        scored: the model's scores and each baseline's, by name.
        data: the data.
        real: answers of learners of real rows; None without a target.
        drawing: how rows were drawn, and how many.
        floor: share of training rows and as many test rows that a forest tells apart.
        seed: of the run and of the bootstrap.
    """
    metrics = {who: _figures(one) for who, one in scored.items()}
    metrics[REAL] = _yardstick(scored[name], data, floor)
    intervals, gains = ({name: {}}, {}) if real is None else _bootstrap(name, scored, real, seed)
    asked = list(metrics[name])
    return {
        "app": "generation",
        "task": "tabular",
        "dataset": data.dataset,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": metrics,
        "intervals": intervals,
        "gains": gains,
        "better": {metric: BETTER[metric] for metric in asked},
        "bootstrap": {"of": "test rows", "resamples": RESAMPLES, "level": 0.95} if real is not None else {},
        "about": {metric: _about(metric) for metric in asked},
        "yardsticks": {REAL: "is real rows in the place of synthetic ones"},
        "goals": {} if real is None else {"transfer_ratio": 1.0},
        "remarks": _remarks(name, scored[name], data, drawing),
        "tables": [] if real is None else [_learners_table(name, scored, data, drawing)],
        "sampling": dict(drawing),
        "scores": {who: one.scores.to_dict() for who, one in scored.items()},
        "samples": {"name": "rows", **{part: len(data.frame(part)) for part in PARTS}},
    }


def _figures(one: Scored) -> dict[str, Any]:
    """Return a generator's metrics: what its rows are worth, whether they are told apart, what they give away."""
    scores = one.scores.metrics
    worth = {}
    if one.scores.transfer:
        worth = {
            "transfer_ratio": scores.pop("transfer_ratio"),
            **_worth([(s.metric, s.synthetic) for s in _main(one)]),
        }
    return _plain({**worth, "c2st_forest": one.apart, **scores})


def _yardstick(one: Scored, data: TableData, floor: float) -> dict[str, Any]:
    """Return what training rows score in the place of synthetic ones, and of distances what held-out rows do.

    Copies are left out: all training rows equal a training row, and the remarks tell how many held-out rows do.
    """
    scores = one.scores
    worth = {}
    if scores.transfer:
        worth = {"transfer_ratio": 1.0, **_worth([(s.metric, s.real) for s in _main(one)])}
    own = {
        "marginal_distance": float(np.mean(list(scores.floor.values()))),
        "association_difference": association_difference(
            scores.real, associations(data.codec.schema, data.frame("train"))[1]
        ),
        "distance_ratio": 1.0,
        "nearer": 0.5,
    }
    return _plain({**worth, "c2st_forest": floor, **own})


def _main(one: Scored) -> list[Transfer]:
    """Return the scores that the headline is made of."""
    return [each for each in one.scores.transfer if each.metric in ("auroc", "r2")]


def _worth(scores: list[tuple[str, float]]) -> dict[str, float]:
    return {scores[0][0]: float(np.mean([value for _, value in scores]))}


def _plain(values: Mapping[str, float]) -> dict[str, Any]:
    """Return values with None for what is not a number, which JSON does not know."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _about(metric: str) -> str:
    return METRICS.get(metric) or WORDS.get(metric) or ABOUT[metric][0]


def _bootstrap(
    name: str, scored: Mapping[str, Scored], real: Answers, seed: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, dict[str, dict[str, float]]]]:
    """Return 95 % intervals of the transfer ratios, and of the model's gain over each baseline on the same rows."""
    weights = resamples(real, RESAMPLES, seed=seed)
    ratios = {
        who: resampled_ratios(real, one.answers, weights) for who, one in scored.items() if one.answers is not None
    }
    there = np.isfinite(np.stack(list(ratios.values()))).all(0)
    intervals: dict[str, dict[str, list[float]]] = {name: {}}
    gains: dict[str, dict[str, dict[str, float]]] = {}
    if there.mean() < LEAST_SHARE:
        return intervals, gains
    ours, point = ratios[name][there], transfer_ratio(scored[name].scores.transfer)
    for who in ratios:
        theirs, drawn = transfer_ratio(scored[who].scores.transfer), ratios[who][there]
        intervals[who] = {"transfer_ratio": _interval(drawn)}
        # There is no share of what is worth nothing, and none that anyone can read of what is worth next to nothing.
        if who != name and intervals[who]["transfer_ratio"][0] > LEAST_WORTH:
            low, high = _interval((ours - drawn) / np.abs(drawn))
            gains[who] = {"transfer_ratio": {"gain": (point - theirs) / abs(theirs), "low": low, "high": high}}
    return intervals, gains


def _interval(values: np.ndarray) -> list[float]:
    return [float(bound) for bound in np.quantile(values, (0.025, 0.975))]


def _remarks(name: str, one: Scored, data: TableData, drawing: Mapping[str, Any]) -> list[str]:
    rows, train, privacy = drawing["rows"], len(data.frame("train")), one.scores.privacy
    told = [
        f"{drawing['tables']} synthetic tables of {rows:,} rows each, {rows / train:.3g} times the {train:,} rows of "
        f"training; drawn by {drawing['method']} with {drawing['evaluations']} evaluations of the network a row, "
        f"{drawing['milliseconds_a_row']:.2f} ms each."
    ]
    if drawing["learned_of_real"] < train:
        told.append(
            f"Learners see {drawing['learned_of_real']:,} rows of each table, of the {train:,} real ones as well, "
            "others for each seed."
        )
    for each in _main(one):
        verb = "lose" if each.loss >= 0 else "gain"
        told.append(
            f"{each.learner.capitalize()} of {data.target}: {metric_name(each.metric)} {each.real:.4f} from real rows, "
            f"{each.synthetic:.4f} from those of {name}, which {verb} {abs(each.loss):.1%}."
        )
    told.append(
        f"Of {privacy.rows:,} synthetic rows {privacy.copies:,} equal a training row in every cell, of "
        f"{privacy.held_out:,} test rows {privacy.held_out_copies:,}."
    )
    return told


def _learners_table(
    name: str, scored: Mapping[str, Scored], data: TableData, drawing: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a table of what each learner reaches, by what it learned from."""
    train, rows = drawing["learned_of_real"], drawing["learned"]

    def column(each: Transfer) -> str:
        return f"{each.learner}, {metric_name(each.metric)}"

    told = {f"{train:,} real rows": {column(each): each.real for each in scored[name].scores.transfer}}
    for who, one in scored.items():
        told[f"{rows:,} rows of {who}"] = {column(each): each.synthetic for each in one.scores.transfer}
        if one.equal and rows > train:
            told[f"{train:,} rows of {who}"] = {column(each): each.synthetic for each in one.equal}
    better = {
        column(each): "lower" if each.metric in LOWER_IS_BETTER else "higher" for each in scored[name].scores.transfer
    }
    return {
        "caption": f"Learners of {data.target} on the test part, by what they learned from",
        "rows": told,
        "better": better,
        "note": f"Means over {drawing['tables']} seeds of the learners, each with a synthetic table of its own.",
    }
