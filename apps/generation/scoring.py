"""What is the same in scoring any generative run: samples drawn, told apart from real ones, and put into results."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.data import LEAST, GenerationData
from integrand.apps.generation.feature_classifier import feature_classifier
from integrand.apps.generation.metrics.evaluation import evaluate_samples
from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier
from integrand.apps.generation.metrics.neighbours import NearestTraining, nearest_training
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import Drawn, SamplingOptions, draw
from integrand.apps.training.paired_scores import compared
from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS

Array = np.ndarray
Notify = Callable[[str], None]
SCORED = 2000
"""Samples that are compared with as many of the test part, at most."""
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
SHOWN = {"points": 256}
"""Samples whose way from noise is kept, by the kind of data; 64 of the others."""


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


class Watched(NamedTuple):
    """Samples, and how they came to be.

    Attributes:
        drawn: the samples.
        path: states after every step of the first few, in units of the data's deviation, (S, n, *shape).
        times: (S,).
        seconds: that it took.
    """

    drawn: Drawn
    path: Tensor
    times: list[float]
    seconds: float


def draw_watched(module: GenerationModule, seeds: Tensor, options: SamplingOptions) -> Watched:
    """Draw one sample a seed, and keep the way of the first few."""
    path: list[Tensor] = []
    times: list[float] = []
    shown = SHOWN.get(module.sample_task.kind, 64)

    def watch(step: int, t: float, x: Tensor) -> None:
        path.append(module.decoded(x[:shown]).cpu())
        times.append(t)

    began = time.monotonic()
    drawn = draw(module, seeds, options=options, watch=watch)
    return Watched(drawn, torch.stack(path), times, time.monotonic() - began)


@dataclass
class RealSamples:
    """What drawn samples are compared with.

    Attributes:
        data: its parts.
        test, train: their rows of numbers, (N, D).
        count: samples that are drawn and compared.
        seed: of the run; sample i has the seed 1,000,000 seed + i.
        classifier: whose features are compared; there is none of data without classes.
    """

    data: GenerationData
    test: Array
    train: Array
    count: int
    seed: int
    classifier: FrechetClassifier | None = None

    @classmethod
    def of(cls, data: GenerationData, count: int | None, *, seed: int) -> "RealSamples":
        """Take the real samples of data; ``count`` is as many as the test part has, up to ``SCORED``, when None.

        Raises:
            InputError: ``count`` is below ``LEAST``.
        """
        data.setup()
        if count is not None and count < LEAST:
            raise InputError(f"--count {count} is too few samples to tell apart from real ones: give at least {LEAST}.")
        test, train = (flat_rows(data.part(part).values) for part in ("test", "train"))
        return cls(data, test, train, min(len(test), SCORED) if count is None else count, seed)

    @property
    def seeds(self) -> Tensor:
        """The seeds of the samples that are drawn, (count,)."""
        return 1_000_000 * self.seed + torch.arange(self.count)

    def tell_apart(self, drawn: Drawn, notify: Notify) -> tuple[dict[str, Any], NearestTraining]:
        """Compare the model's samples with the test part, and as a floor training samples with it.

        Also returned is how far drawn samples and test samples are from training samples.

        A classifier for the Frechet distance is trained first where there are classes, on the training part.
        """
        if self.data.task.classes:
            notify("training a classifier for the Frechet distance")
            parts = (self.data.part("train"), self.data.part("test"))
            self.classifier = feature_classifier(*parts, self.data.task, seed=self.seed)
        notify("telling samples apart from the test part")
        rows = flat_rows(drawn.values)
        nearest = nearest_training(rows, self.train, self.test)
        return self.compare(rows, labels=drawn.labels, nearest=nearest), nearest

    def compare(
        self,
        rows: Array,
        *,
        labels: Tensor | None = None,
        floor: bool = True,
        nearest: NearestTraining | None = None,
    ) -> dict[str, Any]:
        """Return what ``evaluate_samples`` tells of rows, whose classes are compared where they are given."""
        named: dict[str, Any] = {}
        if self.classifier is not None and labels is not None:
            named = {"generated_labels": labels.numpy(), "real_labels": self.data.part("test").labels.numpy()}
        return evaluate_samples(
            rows,
            real=self.test,
            train=self.train,
            metrics=[*METRICS, *(["frechet_classifier"] if self.classifier is not None else [])],
            classifier=self.classifier,
            seed=self.seed,
            floor=floor,
            nearest=nearest,
            **named,
        )


def flat_rows(values: Tensor) -> Array:
    """Return samples as rows of numbers, (N, D)."""
    return values.flatten(1).double().numpy()


def results_of(
    name: str,
    metrics: dict[str, dict[str, float]],
    paired: Paired,
    told: dict[str, Any],
    watched: Watched,
    data: GenerationData,
    options: SamplingOptions,
    *,
    seed: int,
    yardsticks: dict[str, str],
) -> dict[str, Any]:
    """Return what goes to ``results.json``; ``yardsticks`` says of rows that are no baselines what they are."""
    unit, drawn = paired.unit, watched.drawn
    likelihoods = compared(name, {who: {unit: each} for who, each in paired.scores.items()}, metrics=[unit], seed=seed)
    settings, cost = told["settings"], 1000 * watched.seconds / len(drawn.seeds)
    remarks = [
        f"{settings['rows_compared']:,} samples a side are compared; drawn by {options.method} with "
        f"{drawn.evaluations} evaluations of the network each, {cost:.1f} ms a sample."
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
