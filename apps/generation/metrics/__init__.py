"""Metrics of generated samples against real ones, none of which needs a download.

Samples are rows (N, D), arrays or tensors. Every metric is a function of two samples, in a file of its own;
``evaluate_samples`` runs a list of them, each beside its floor.
"""

from integrand.apps.generation.metrics.classifier_test import classifier_test
from integrand.apps.generation.metrics.energy_distance import energy_distance
from integrand.apps.generation.metrics.evaluation import evaluate_samples
from integrand.apps.generation.metrics.frechet import frechet_between_samples, frechet_distance
from integrand.apps.generation.metrics.frechet_classifier import (
    FrechetClassifier,
    frechet_classifier_score,
    load_frechet_classifier,
)
from integrand.apps.generation.metrics.frechet_inception import frechet_inception_distance
from integrand.apps.generation.metrics.frechet_training import train_frechet_classifier
from integrand.apps.generation.metrics.maximum_mean_discrepancy import maximum_mean_discrepancy, median_distance
from integrand.apps.generation.metrics.neighbours import density_coverage, nearest_training, precision_recall
from integrand.apps.generation.metrics.wasserstein import sliced_wasserstein, wasserstein_distance

__all__ = [
    "FrechetClassifier",
    "classifier_test",
    "density_coverage",
    "energy_distance",
    "evaluate_samples",
    "frechet_between_samples",
    "frechet_classifier_score",
    "frechet_distance",
    "frechet_inception_distance",
    "load_frechet_classifier",
    "maximum_mean_discrepancy",
    "median_distance",
    "nearest_training",
    "precision_recall",
    "sliced_wasserstein",
    "train_frechet_classifier",
    "wasserstein_distance",
]
