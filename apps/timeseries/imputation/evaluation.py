"""Scoring a trained imputer on the test part, beside the baselines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.apps.timeseries.imputation.baselines import (
    BASELINES,
    LinearInterpolation,
    MeanImputation,
    chunks,
    distance_bin,
    distance_edges,
)
from integrand.apps.timeseries.imputation.data import ImputationData
from integrand.apps.timeseries.imputation.module import ImputationModule
from integrand.apps.timeseries.network import GaussianAnswer
from integrand.apps.timeseries.scores import ScoreSums, compared
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """One window with its imputation, in the channels' own units: times (L,), the rest (L, C), NaN where absent.

    ``score`` is how many standard deviations an observed value lies from what the others make of it.
    """

    group: str
    title: str
    times: Array
    given: Array
    hidden: Array
    mean: Array
    std: Array
    line: Array
    score: Array


@dataclass(frozen=True)
class Evaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``scores``.
        scores: of the model and of each baseline, by distance to the nearest observed value.
        distances: (H,) upper ends of the bins of distance, in time units; the last one stands for no observed value.
        examples: a few test windows.
        results: what goes to ``results.json``.
    """

    name: str
    scores: dict[str, ScoreSums]
    distances: Array
    examples: list[Example]
    results: dict[str, Any]


def evaluate(module: ImputationModule, data: ImputationData, *, name: str, seed: int, notify: Notify) -> Evaluation:
    """Score the model and the baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    test, task = data.windows("test"), data.task
    steps, edges = data.naive_steps(), distance_edges(task)
    shape = (len(test), len(edges) + 1, len(task.channels))

    scores = {name: ScoreSums(shape, steps)}
    notify(f"scoring {name} on {len(test):,} test windows")
    for window, batch, answer in imputations(module, data):
        _add(scores[name], batch, answer.mean, answer.std, window, data)
    # Where every value asked for is given, those that return what is given have nothing to tell.
    for kind in BASELINES if data.hide != "none" else (MeanImputation,):
        baseline = kind(task)
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(data.windows("train"))
        scores[baseline.name] = ScoreSums(shape, steps)
        for window, batch in chunks(test):
            mean, std = baseline.predict(batch)
            _add(scores[baseline.name], batch, mean, std, window, data)
    return Evaluation(
        name=name,
        scores=scores,
        distances=np.append(edges, 2 * edges[-1]),
        examples=_examples(module, data),
        results=_results(name, scores, data, seed),
    )


@torch.no_grad()
def imputations(
    module: ImputationModule, data: ImputationData, windows: Array | None = None
) -> Iterator[tuple[Array, IrregularBatch, GaussianAnswer]]:
    """Yield (window numbers, batch, answer) over the test part, or some windows of it; all on the host."""
    module.eval()
    for window, batch in chunks(data.windows("test"), windows):
        yield window, batch, module(batch.to(module.device)).cpu()


def _add(
    sums: ScoreSums, batch: IrregularBatch, mean: Tensor, std: Tensor, window: Array, data: ImputationData
) -> None:
    assert batch.target is not None
    assert batch.target_mask is not None
    sums.add(mean, std, batch.target, batch.target_mask, window, distance_bin(batch, data.task))


def _examples(module: ImputationModule, data: ImputationData) -> list[Example]:
    """Pick the windows spread evenly over the test part."""
    test, task = data.windows("test"), data.task
    chosen = np.unique(((np.arange(EXAMPLES) + 0.5) / EXAMPLES * len(test)).astype(int))
    location, scale = np.asarray(task.location), np.asarray(task.scale)
    ((_, batch, answer),) = imputations(module, data, chosen)
    assert batch.target is not None
    assert batch.target_mask is not None
    line = LinearInterpolation(task).point(batch)
    examples = []
    for b, window in enumerate(chosen):
        rows = int(batch.lengths[b])

        def physical(values: Tensor, mask: Tensor | None = None, b: int = b, rows: int = rows) -> Array:
            own = values[b, :rows].double().numpy() * scale + location
            return own if mask is None else np.where(mask[b, :rows].numpy(), own, np.nan)

        examples.append(
            Example(
                group=batch.group[b],
                title=data.table.titles(test.cuts.starts[window : window + 1])[0],
                times=batch.times[b, :rows].numpy(),
                given=physical(batch.values, batch.mask),
                hidden=physical(batch.target, batch.target_mask),
                mean=physical(answer.mean),
                std=answer.std[b, :rows].double().numpy() * scale,
                line=physical(line),
                score=np.full((rows, len(task.channels)), np.nan),
            )
        )
    return examples


def _results(name: str, scores: dict[str, ScoreSums], data: ImputationData, seed: int) -> dict[str, Any]:
    return {
        "app": "timeseries",
        "task": "imputation",
        "dataset": data.dataset,
        "protocol": data.protocol,
        "hide": data.hide,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        **compared(name, scores, data.task.channels, by_sample=data.split_by == "series"),
        "bootstrap": {"of": "windows", "resamples": 2000, "level": 0.95},
        "samples": {"name": "windows", **{part: len(data.windows(part)) for part in PARTS}},
    }
