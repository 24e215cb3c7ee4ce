"""Scoring a trained forecaster on the test part, beside the baselines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.apps.timeseries.forecasting.baselines import BASELINES, Binned, chunks
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.scores import ScoreSums, compared
from integrand.apps.timeseries.solver_sweep import Cost, sweep
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
COSTED = 256
"""Test windows that are solved in several ways."""


@dataclass(frozen=True)
class Example:
    """One test window with its forecast, in the channels' own units; (L, C), (Q, K) and latent (T, D)."""

    group: str
    title: str
    context_times: Array
    context: Array
    target_times: Array
    target: Array
    mean: Array
    std: Array
    latent_times: Array
    latent: Array


@dataclass(frozen=True)
class Evaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name in ``scores``.
        scores: of the model and of each baseline.
        leads: (H,) upper end of each lead time, in time units.
        blocks: how long a bootstrap block is, in time units.
        examples: a few test windows.
        evaluations: field evaluations for a forecast; 0 where no equation is solved step by step.
        costs: score, evaluations and seconds when the equation is solved in other ways, for ``costed`` test windows.
        costed: how many.
        results: what goes to ``results.json``.
    """

    name: str
    scores: dict[str, ScoreSums]
    leads: Array
    blocks: float
    examples: list[Example]
    evaluations: float
    results: dict[str, Any]
    costs: list[Cost] = field(default_factory=list)
    costed: int = 0


def evaluate(module: ForecastingModule, data: ForecastingData, *, name: str, seed: int, notify: Notify) -> Evaluation:
    """Score the model and the three baselines on the test part.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    data.setup()
    test, task = data.windows("test"), data.task
    length = task.context + task.horizon
    origin = test.windows.origins
    by_series = data.split_by == "series"
    # What is resampled whole: series where each part has its own, else stretches of time.
    block_of = test.windows.series if by_series else np.floor((origin - origin.min()) / length).astype(int)
    block_of = np.unique(block_of, return_inverse=True)[1]
    shape = (int(block_of.max()) + 1, task.leads, task.targets)

    steps = data.naive_steps()[: task.targets]
    scores = {name: ScoreSums(shape, steps)}
    notify(f"scoring {name} on {len(test):,} test windows")
    evaluations = []
    for window, batch, forecast in forecasts(module, data):
        _add(scores[name], batch, forecast.mean, forecast.std, block_of[window], data)
        if forecast.stats is not None:
            evaluations.append(float(forecast.stats.evaluations.float().mean()))
    for kind in BASELINES:
        baseline = kind(task)
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(data.windows("train"))
        scores[baseline.name] = ScoreSums(shape, steps)
        for window, batch in chunks(test):
            mean, std = baseline.predict(batch)
            _add(scores[baseline.name], batch, mean, std, block_of[window], data)
    index = np.unique(np.linspace(0, len(test) - 1, min(len(test), COSTED)).astype(int))
    notify("solving more and less finely")
    return Evaluation(
        name=name,
        scores=scores,
        costs=sweep(module, test.__getitems__(index.tolist())),
        costed=len(index),
        leads=(np.arange(task.leads) + 1) * task.resolution,
        blocks=length,
        examples=_examples(module, data),
        evaluations=float(np.mean(evaluations)) if evaluations else 0.0,
        results=_results(name, scores, data, seed, length),
    )


@torch.no_grad()
def forecasts(module: ForecastingModule, data: ForecastingData) -> Any:
    """Yield (window numbers, batch, forecast) over the test part; batch and forecast on the host."""
    module.eval()
    for window, batch in chunks(data.windows("test")):
        yield window, batch, module(batch.to(module.device)).cpu()


def _add(
    sums: ScoreSums, batch: IrregularBatch, mean: Tensor, std: Tensor, block_N: Array, data: ForecastingData
) -> None:
    assert batch.target is not None
    assert batch.target_mask is not None
    lead_NQ = Binned.lead_of(batch, data.task)
    lead_NQK = np.broadcast_to(lead_NQ[..., None], batch.target.shape)
    sums.add(mean, std, batch.target, batch.target_mask, block_N, lead_NQK)


def _examples(module: ForecastingModule, data: ForecastingData) -> list[Example]:
    """Pick windows spread evenly over the test part, one series after another."""
    test, task = data.windows("test"), data.task
    of_series = [np.nonzero(test.windows.series == s)[0] for s in np.unique(test.windows.series)]
    count = 4
    chosen = [of_series[i % len(of_series)] for i in range(count)]
    index = [int(rows[int((i + 0.5) / count * len(rows))]) for i, rows in enumerate(chosen)]
    batch = test.__getitems__(index)
    with torch.no_grad():
        forecast = module(batch.to(module.device)).cpu()
    location, scale = np.asarray(task.location), np.asarray(task.scale)
    k = task.targets
    assert batch.target is not None
    assert batch.target_times is not None
    assert batch.target_mask is not None
    examples = []
    for b, window in enumerate(index):
        rows = int(batch.lengths[b])
        asked = batch.target_mask[b].any(-1).numpy()
        examples.append(
            Example(
                group=batch.group[b],
                title=data.table.titles(test.windows.origins[window : window + 1])[0],
                context_times=batch.times[b, :rows].numpy(),
                context=_physical(batch.values[b, :rows], batch.mask[b, :rows], location, scale)[:, :k],
                target_times=batch.target_times[b, asked].numpy(),
                target=_physical(batch.target[b, asked], batch.target_mask[b, asked], location[:k], scale[:k]),
                mean=forecast.mean[b, asked].numpy() * scale[:k] + location[:k],
                std=forecast.std[b, asked].numpy() * scale[:k],
                latent_times=_array(forecast.latent_times),
                latent=_array(None if forecast.latent is None else forecast.latent[b]),
            )
        )
    return examples


def _array(tensor: Tensor | None) -> Array:
    return np.zeros((0, 0)) if tensor is None else tensor.numpy()


def _physical(values: Tensor, mask: Tensor, location: Array, scale: Array) -> Array:
    return np.where(mask.numpy(), values.numpy() * scale + location, np.nan)


def _results(name: str, scores: dict[str, ScoreSums], data: ForecastingData, seed: int, block: float) -> dict[str, Any]:
    task = data.task
    resampled = {"of": "series"} if data.split_by == "series" else {"block": block, "time_unit": task.time_unit}
    return {
        "app": "timeseries",
        "task": "forecasting",
        "dataset": data.dataset,
        "protocol": data.protocol,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        **compared(name, scores, task.channels[: task.targets], by_sample=data.split_by == "series"),
        "bootstrap": {**resampled, "resamples": 2000, "level": 0.95},
        "samples": {"name": "windows", **{part: len(data.windows(part)) for part in PARTS}},
    }
