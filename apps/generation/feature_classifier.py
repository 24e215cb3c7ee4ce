"""The classifier whose features the Frechet distance of samples is of, trained on a data set's training part."""

from integrand.apps.generation.data import SamplesOfPart
from integrand.apps.generation.metrics.frechet_classifier import FrechetClassifier
from integrand.apps.generation.metrics.frechet_training import train_frechet_classifier
from integrand.apps.generation.task import GenerationTask

LARGE = 16
"""Pixels along an edge beyond which images want a wider network and more steps than digits do."""


def feature_classifier(
    train: SamplesOfPart, held_out: SamplesOfPart, task: GenerationTask, *, seed: int = 0
) -> FrechetClassifier:
    """Train the classifier of a task's classes, as wide and as long as its samples want.

    Args:
        train: the training part.
        held_out: samples that its accuracy is told of; they choose nothing.
        task: with classes.
        seed: see ``train_frechet_classifier``.
    """
    image = task.kind == "image"
    large = {"width": 64, "steps": 1000} if image and max(task.shape[1:]) > LARGE else {}
    return train_frechet_classifier(
        train.values.flatten(1),
        train.labels,
        held_out.values.flatten(1),
        held_out.labels,
        name=task.kind,
        shape=task.shape if image else None,
        seed=seed,
        **large,
    )
