"""Curves of class scores: against scikit-learn, and their bands."""

import numpy as np
import pytest

from integrand.apps.training.class_figures import GRID, curves


def test_the_curves_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    own = rng.random(400) < 0.3
    score = np.round(own + rng.standard_normal(400), 1)  # with ties
    roc, precision = curves(score, own)
    false, found, _ = metrics.roc_curve(own, score, drop_intermediate=False)
    reached = [found[false <= x + 1e-12].max() for x in np.linspace(0, 1, GRID)]
    np.testing.assert_allclose(roc.y, reached, atol=1e-12)
    precise, recall, _ = metrics.precision_recall_curve(own, score)
    best = [precise[:-1][recall[:-1] >= x - 1e-12].max() for x in np.linspace(0, 1, GRID)]
    np.testing.assert_allclose(precision.y, best, atol=1e-12)


def test_a_band_of_copies_is_that_of_their_groups():
    rng = np.random.default_rng(1)
    own = np.arange(60) % 3 == 0
    score = own + rng.standard_normal(60)
    alone, _ = curves(score, own, np.arange(60))
    copied, _ = curves(np.repeat(score, 5), np.repeat(own, 5), np.repeat(np.arange(60), 5))
    np.testing.assert_allclose(copied.low, alone.low, atol=1e-12)
    assert (alone.low <= alone.y + 1e-12).all()
    assert (alone.high >= alone.y - 1e-12).all()
