"""Scoring a trained generative model: likelihood of the test part, and samples told apart from it, beside baselines."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.baselines import baselines
from integrand.apps.generation.data import LEAST, GenerationData, SamplesOfPart
from integrand.apps.generation.densities import EXACT, bits_per_number, likelihood
from integrand.apps.generation.feature_classifier import feature_classifier
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.metrics.evaluation import evaluate_samples
from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier
from integrand.apps.generation.metrics.neighbours import NearestTraining, nearest_training
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.planar import Plane, survey
from integrand.apps.generation.sampling import Drawn, SamplingOptions, draw, sampling_options
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.paired_scores import compared
from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]

TRUTH = "the true density"
SCORED = 2000
"""Samples that are compared with as many of the test part, at most."""
LIKELY = 2000
"""Test samples whose likelihood is found, at most."""
PRODUCTS = 12_800
"""Of such samples and the numbers in each, at most: every number costs a product with the network's Jacobian."""
REAL = "training part itself"
"""What the floor is called in tables: real samples in the place of generated ones."""
METRICS = (
    "c2st_forest",
    "c2st_svc",
    "energy_distance",
    "mmd",
    "sliced_wasserstein",
    "precision_recall",
    "density_coverage",
    "nearest_training",
)
SWEPT = {"ddim": (4, 6, 10, 20, 40), "heun": (2, 3, 5, 10, 20), "dpmpp_2m": (4, 6, 10, 20, 40)}
"""Samplers and steps of the figure that sets quality against evaluations."""
SWEPT_SAMPLES = 360
"""Samples drawn for each point of it, at most."""


class Swept(NamedTuple):
    """One point of the sweep of samplers."""

    method: str
    evaluations: int
    energy_distance: float


class Paired(NamedTuple):
    """A score that several models have of the same things, the lower the better.

    Attributes:
        unit: its name in tables.
        scores: by model, (N,).
        about: what it is.
        of: what it is of, in the plural.
    """

    unit: str
    scores: dict[str, Array]
    about: str
    of: str


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
        path: states after every step of a few samples, in the network's units, (S, n, *shape).
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
    data.setup()
    if count is not None and count < LEAST:
        raise InputError(f"--count {count} is too few samples to tell apart from real ones: give at least {LEAST}.")
    task = module.network.built_for
    options = sampling_options(module, method=method, steps=steps)
    test, train, held = data.part("test"), data.part("train"), data.part("validation")
    count = min(len(test), SCORED) if count is None else count
    seeds = 1_000_000 * seed + torch.arange(count)
    notify(f"drawing {count:,} samples by {options.method} in {options.steps} steps")
    path: list[Tensor] = []
    times: list[float] = []

    def watch(step: int, t: float, x: Tensor) -> None:
        path.append(x[: 256 if task.kind == "points" else 64].cpu())
        times.append(t)

    began = time.monotonic()
    drawn = draw(module, seeds, options=options, watch=watch)
    seconds = time.monotonic() - began
    real, generated, learned = (flat_rows(each) for each in (test.values, drawn.values, train.values))
    classifier = classifier_of(train, test, task, seed, notify)
    notify("telling samples apart from the test part")
    chosen = [*METRICS, *(["frechet_classifier"] if classifier is not None else [])]

    compare = partial(evaluate_samples, real=real, train=learned, metrics=chosen, classifier=classifier, seed=seed)
    labels: dict[str, Any] = {}
    if classifier is not None:
        labels = {"generated_labels": drawn.labels.numpy(), "real_labels": test.labels.numpy()}
    nearest = nearest_training(generated, learned, real)
    told = compare(generated, nearest=nearest, **labels)
    bits = {name: _model_bits(module, test, seed, notify)}
    asked = len(bits[name])
    metrics: dict[str, dict[str, float]] = {name: {_unit(task): float(bits[name].mean()), **told["metrics"]}}
    rows_of = {}
    for baseline in baselines(task):
        notify(f"fitting and scoring {baseline.name}")
        baseline.fit(learned, flat_rows(held.values), task, seed=seed)
        rows_of[baseline.name] = baseline.sample(count, seed=seed)
        bits[baseline.name] = _code_length(torch.from_numpy(baseline.log_prob(real[:asked], seed=seed)), task)
        of = compare(rows_of[baseline.name], floor=False)["metrics"]
        metrics[baseline.name] = {_unit(task): float(bits[baseline.name].mean()), **of}
    truth = data.samples.log_density
    if truth is not None and not task.classes:
        bits[TRUTH] = -truth(real[:asked])
        metrics[TRUTH] = {_unit(task): float(bits[TRUTH].mean())}
    metrics[REAL] = told["floor"]
    swept = _sweep(module, options, real, seed, notify)
    likely, yardsticks = _likelihoods(task, bits), {}
    if TRUTH in metrics:
        yardsticks[TRUTH] = "is what the samples were drawn from"
    return GenerationEvaluation(
        name=name,
        drawn=drawn,
        baselines=rows_of,
        test=test.values,
        train=train.values,
        test_labels=test.labels,
        nearest=nearest,
        bits=bits,
        path=torch.stack(path),
        path_times=times,
        swept=swept,
        plane=survey(module, test.values, truth),
        results=results_of(name, metrics, likely, told, data, drawn, options, seconds, seed, yardsticks),
    )


def flat_rows(values: Tensor) -> Array:
    """Return samples as rows of numbers, (N, D)."""
    return values.flatten(1).double().numpy()


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
    exact = task.dims <= EXACT[task.kind]
    most = min(len(test), LIKELY, PRODUCTS // task.dims if exact else PRODUCTS // 64)
    how = "its divergence exact" if exact else "its divergence estimated without bias"
    notify(f"the likelihood of {most:,} test samples by the probability flow, {how}")
    found = likelihood(module, test.values[:most], test.labels[:most], seed=seed)
    return _code_length(found.log_prob, task)


def classifier_of(
    train: SamplesOfPart, test: SamplesOfPart, task: GenerationTask, seed: int, notify: Notify
) -> FrechetClassifier | None:
    """Train the classifier whose features are compared, where there are classes."""
    if not task.classes:
        return None
    notify("training a classifier for the Frechet distance")
    return feature_classifier(train, test, task, seed=seed)


def _sweep(module: GenerationModule, options: SamplingOptions, real: Array, seed: int, notify: Notify) -> list[Swept]:
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


def results_of(
    name: str,
    metrics: dict[str, dict[str, float]],
    paired: Paired,
    told: dict[str, Any],
    data: GenerationData,
    drawn: Drawn,
    options: SamplingOptions,
    seconds: float,
    seed: int,
    yardsticks: dict[str, str],
) -> dict[str, Any]:
    """Return what goes to ``results.json``; ``yardsticks`` says of rows that are no baselines what they are."""
    unit = paired.unit
    likelihoods = compared(name, {who: {unit: each} for who, each in paired.scores.items()}, metrics=[unit], seed=seed)
    settings = told["settings"]
    remarks = [
        f"{settings['rows_compared']:,} samples a side are compared; drawn by {options.method} with "
        f"{drawn.evaluations} evaluations of the network each, {1000 * seconds / len(drawn.seeds):.1f} ms a sample."
    ]
    if "classifier" in settings:
        of = settings["classifier"]
        remarks.append(
            f"fd is the squared Frechet distance of the features of {of['name']} ({of['hash'][:12]}, which names "
            f"{of['accuracy']:.1%} of the test part rightly); real against real scores {told['floor']['fd_half']:.3g} "
            f"where fd_half of {name} is {told['metrics']['fd_half']:.3g}."
        )
    lower = dict.fromkeys(("c2st_forest", "energy_distance", "mmd_squared", "sliced_w2", "max_sliced_w2"), "lower")
    better = dict.fromkeys(("precision", "recall", "label_agreement", "coverage"), "higher")
    return {
        "app": "generation",
        "dataset": data.dataset,
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        "metrics": metrics,
        "intervals": likelihoods["intervals"],
        "gains": likelihoods["gains"],
        "better": {
            unit: "lower",
            **lower,
            "fd": "lower",
            "fd_half": "lower",
            "copies": "lower",
            **better,
            "nearest_ratio": 1.0,
            "density": 1.0,
        },
        "bootstrap": {**likelihoods["bootstrap"], "of": paired.of},
        "about": {unit: paired.about, **told["about"]},
        "yardsticks": {REAL: "is real samples in the place of generated ones", **yardsticks},
        "remarks": remarks,
        "sampling": {**options._asdict(), "evaluations": drawn.evaluations},
        "settings": settings,
        "samples": {"name": "samples", **{part: len(data.part(part)) for part in PARTS}},
    }
