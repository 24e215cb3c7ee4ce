"""Scoring a trained generative model: likelihood of the test part, and samples told apart from it, beside baselines."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from integrand.apps.generation.baselines import baselines
from integrand.apps.generation.data import GenerationData, SamplesOfPart
from integrand.apps.generation.densities import bits_per_number, is_exact, likelihood
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.metrics.neighbours import NearestTraining
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.planar import Plane, survey
from integrand.apps.generation.sampling import Drawn, SamplingOptions, draw, sampling_options
from integrand.apps.generation.scoring import (
    REAL,
    Array,
    Notify,
    Paired,
    RealSamples,
    Watched,
    draw_watched,
    flat_rows,
    results_of,
)
from integrand.apps.generation.task import GenerationTask

TRUTH = "the true density"
LIKELY = 2000
"""Test samples whose likelihood is found, at most."""
PRODUCTS = 9_600
"""Of such samples and the numbers in each, at most: every number costs a product with the network's Jacobian."""
SWEPT = {"ddim": (4, 6, 10, 20, 40), "heun": (2, 3, 5, 10, 20), "dpmpp_2m": (4, 6, 10, 20, 40)}
"""Samplers and steps of the figure that sets quality against evaluations."""
SWEPT_SAMPLES = 360
"""Samples drawn for each point of it, at most."""


class Swept(NamedTuple):
    """One point of the sweep of samplers."""

    method: str
    evaluations: int
    energy_distance: float


@dataclass(frozen=True)
class GenerationEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name.
        drawn: samples of the model.
        baselines: rows of each baseline, (N, D).
        test, train: the real ones, as the data have them.
        test_labels: of these.
        nearest: how far drawn samples and test samples are from training samples.
        bits: of each test sample that was asked for, by who told it; none of a flow map.
        path: states after every step of a few samples, in units of the data's deviation, (S, n, *shape).
        path_times: (S,).
        swept: quality against evaluations.
        plane: the density and the flow of points of the plane, None of other data.
        results: what goes to ``results.json``.
    """

    name: str
    drawn: Drawn
    baselines: dict[str, Array]
    test: Tensor
    train: Tensor
    test_labels: Tensor
    nearest: NearestTraining
    bits: dict[str, Array]
    path: Tensor
    path_times: list[float]
    swept: list[Swept]
    plane: Plane | None
    results: dict[str, Any]

    @classmethod
    def of(cls, watched: Watched, data: GenerationData, **others: Any) -> Self:
        """Make it of samples whose way was kept and of the data, and of all other attributes by name."""
        test = data.part("test")
        return cls(
            drawn=watched.drawn,
            test=test.values,
            train=data.part("train").values,
            test_labels=test.labels,
            path=watched.path,
            path_times=watched.times,
            **others,
        )


def evaluate(
    module: GenerationModule,
    data: GenerationData,
    *,
    name: str,
    seed: int,
    notify: Notify,
    method: str | None = None,
    steps: int | None = None,
    count: int | None = None,
) -> GenerationEvaluation:
    """Score the model and the baselines.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with; sample i has the seed 1,000,000 seed + i.
        notify: told what is being done, one line each.
        method, steps: of sampling, the module's own when None.
        count: samples drawn and compared; as many as the test part has, up to ``SCORED``, when None.

    Raises:
        InputError: ``count`` is below ``LEAST``; see ``draw``.
    """
    task = module.network.built_for
    options = sampling_options(module, method=method, steps=steps)
    real = RealSamples.of(data, count, seed=seed)
    test, held = data.part("test"), data.part("validation")
    notify(f"drawing {real.count:,} samples by {options.method} in {options.steps} steps")
    watched = draw_watched(module, real.seeds, options)
    told, nearest = real.tell_apart(watched.drawn, notify)
    bits = {name: _model_bits(module, test, seed, notify)}
    asked = len(bits[name])
    metrics = {name: {_unit(task): float(bits[name].mean()), **told["metrics"]}}
    rows_of = {}
    for baseline in baselines(task):
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(real.train, flat_rows(held.values), task, seed=seed)
        rows_of[baseline.name] = baseline.sample(real.count, seed=seed)
        bits[baseline.name] = _code_length(torch.from_numpy(baseline.log_prob(real.test[:asked], seed=seed)), task)
        of = real.compare(rows_of[baseline.name], floor=False)["metrics"]
        metrics[baseline.name] = {_unit(task): float(bits[baseline.name].mean()), **of}
    truth = data.samples.log_density
    if truth is not None and not task.classes:
        bits[TRUTH] = -truth(real.test[:asked])
        metrics[TRUTH] = {_unit(task): float(bits[TRUTH].mean())}
    metrics[REAL] = told["floor"]
    swept = sweep(module, options, real.test, seed, notify)
    paired, yardsticks = _likelihoods(task, bits), {}
    if TRUTH in metrics:
        yardsticks[TRUTH] = "is what the samples were drawn from"
    return GenerationEvaluation.of(
        watched,
        data,
        name=name,
        baselines=rows_of,
        nearest=nearest,
        bits=bits,
        swept=swept,
        plane=survey(module, test.values, truth),
        results=results_of(name, metrics, paired, told, watched, data, options, seed=seed, yardsticks=yardsticks),
    )


def _likelihoods(task: GenerationTask, bits: dict[str, Array]) -> Paired:
    about = (
        "-log2 of the probability of the grey values and their class, per pixel, by the flow's exact likelihood"
        if task.levels is not None
        else "-log of the density, in nats a sample, by the flow's exact likelihood"
    )
    return Paired(_unit(task), bits, about, "test samples")


def _unit(task: GenerationTask) -> str:
    return "bits_per_dim" if task.levels is not None else "nll"


def _code_length(log_prob: Tensor, task: GenerationTask) -> Array:
    """Return bits per number of grey values, nats per sample of real ones."""
    return (-log_prob if task.levels is None else bits_per_number(log_prob, task)).numpy()


def _model_bits(module: GenerationModule, test: SamplesOfPart, seed: int, notify: Notify) -> Array:
    task = module.network.built_for
    most = likely(task, len(test))
    how = "its divergence exact" if is_exact(task) else "its divergence estimated without bias"
    notify(f"the likelihood of {most:,} test samples by the probability flow, {how}")
    found = likelihood(module, test.values[:most], test.labels[:most], seed=seed)
    return _code_length(found.log_prob, task)


def likely(task: GenerationTask, count: int) -> int:
    """Return of how many of ``count`` test samples the likelihood is found: as many as take minutes, not hours."""
    return min(count, LIKELY, PRODUCTS // task.dims if is_exact(task) else PRODUCTS // 64)


def sweep(module: GenerationModule, options: SamplingOptions, real: Array, seed: int, notify: Notify) -> list[Swept]:
    """Score samplers with few and many evaluations; the same seeds each time."""
    notify("drawing with more and with fewer evaluations")
    seeds = 1_000_000 * seed + torch.arange(min(len(real), SWEPT_SAMPLES))
    found = []
    for method, every in SWEPT.items():
        for steps in every:
            drawn = draw(module, seeds, options=options._replace(method=method, steps=steps))
            apart = energy_distance(flat_rows(drawn.values), real)
            found.append(Swept(method, drawn.evaluations, apart))
    return found
