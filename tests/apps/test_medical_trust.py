"""Calibration, conformal sets and abstention: against closed forms, exhaustive search and known coverage."""

import numpy as np
import pytest
from scipy.special import softmax

from integrand.apps.medical.abstention import risk_at, risk_coverage
from integrand.apps.medical.calibration import RANGE, Isotonic, temperature
from integrand.apps.medical.conformal import class_thresholds, set_quality, threshold
from integrand.apps.medical.subgroups import by_age_and_sex
from integrand.core.errors import InputError


def drawn(count: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    scores = 1.5 * rng.standard_normal((count, classes))
    p = softmax(scores, axis=1)
    return scores, (rng.random((count, 1)) > p.cumsum(1)).sum(1).clip(max=classes - 1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor(factor: float):
    scores, labels = drawn(40_000, 4, 0)
    assert temperature(factor * scores, labels) == pytest.approx(factor, rel=0.03)


def test_the_temperature_is_the_best_of_a_grid_under_weights():
    scores, labels = drawn(300, 3, 1)
    weights = np.random.default_rng(2).random(300)
    grid = np.geomspace(*RANGE, 4001)
    loss = [-(weights * np.log(softmax(scores / t, axis=1)[np.arange(300), labels])).sum() for t in grid]
    assert temperature(scores, labels, weights) == pytest.approx(grid[int(np.argmin(loss))], rel=2e-3)


def test_isotonic_of_two_classes_is_scikit_learns():
    isotonic = pytest.importorskip("sklearn.isotonic")
    scores, labels = drawn(500, 2, 3)
    p = softmax(3 * scores, axis=1)
    found = Isotonic.fit(p, labels)(p)
    one = isotonic.IsotonicRegression(out_of_bounds="clip").fit(p[:, 1], labels == 1).predict(p[:, 1])
    np.testing.assert_allclose(found[:, 1], one, atol=1e-9)
    np.testing.assert_allclose(found.sum(1), 1)


def test_the_threshold_is_the_split_conformal_one():
    scores, labels = drawn(99, 3, 4)
    p = softmax(scores, axis=1)
    own = np.sort(p[np.arange(99), labels])[::-1]
    assert threshold(p, labels, coverage=0.9) == own[89]  # the ceil(100 * 0.9)-th
    assert threshold(p[:5], labels[:5], coverage=0.9) == 0.0  # five are too few to promise nine in ten


def test_a_class_is_promised_something_from_one_over_the_share_missed():
    p = np.tile(np.linspace(0.02, 1, 50)[:, None], (1, 2))
    for count, promised in ((9, False), (10, True)):
        labels = (np.arange(50) < count).astype(int)
        least = class_thresholds(p, labels, coverage=0.9)
        assert np.isfinite(least).tolist() == [True, promised]
    assert least[1] == p[0, 1]  # of ten, all: ceil(11 * 0.9) = 10


def test_coverage_of_new_samples_is_what_was_promised():
    held = []
    for seed in range(300):
        scores, labels = drawn(100, 3, 100 + seed)
        p = softmax(2 * scores, axis=1)  # too sure: the promise does not need calibrated probabilities
        q = threshold(p[:50], labels[:50], coverage=0.8)
        held.append((p[50:] >= q)[np.arange(50), labels[50:]].mean())
    # Between 0.8 and 0.8 + 1/51 in the mean; 300 means of standard deviation about 0.08 have an error of 0.005.
    assert 0.8 - 0.015 <= np.mean(held) <= 0.8 + 1 / 51 + 0.015


def test_a_patient_counts_once_however_many_beats_he_has():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    labels = np.zeros(3, dtype=int)
    alone = threshold(p, labels, coverage=0.6, groups=np.array(["a", "b", "c"]))
    assert alone == 0.3  # (3 + 1) * 0.6 = 2.4, the third
    many = np.repeat(np.arange(3), [1, 100, 2])
    # Each of three patients weighs a third: 0.9, then 0.6, hold two thirds of the patients, more than six in ten.
    assert threshold(p[many], labels[many], coverage=0.6, groups=many) == 0.6


def test_quality_of_sets_by_patient():
    sets = np.array([[1, 0], [1, 0], [1, 0], [1, 1]], dtype=bool)
    found = set_quality(sets, np.array([0, 0, 0, 1]) * 0 + np.array([0, 1, 0, 1]), np.array([0, 0, 0, 1]))
    assert found.coverage == pytest.approx((2 / 3 + 1) / 2)
    assert (found.size, found.empty, found.single) == (1.25, 0.0, 0.75)
    assert found.single_right == pytest.approx(2 / 3)
    assert found.coverage_low == pytest.approx(2 / 3)
    assert found.coverage_high == pytest.approx(1.0)


def test_ties_are_answered_together():
    share, error = risk_coverage(np.array([0.5, 0.5, 0.9]), np.array([1.0, 0.0, 0.0]))
    assert share.tolist() == [1 / 3, 1.0]
    assert error.tolist() == [0.0, 1 / 3]
    assert risk_at(0.4, np.array([0.5, 0.5, 0.9]), np.array([1.0, 0.0, 0.0])) == 1 / 3


def test_subgroups_cover_every_patient_once_by_sex_and_once_by_age():
    rows = by_age_and_sex([39, 40, 64, 65, None], ["F", "M", None, "F", "M"])
    sexes = [rows[name] for name in ("women", "men", "sex not stated")]
    ages = [rows[name] for name in ("under 40", "40 to 64", "65 and over", "age not stated")]
    assert np.sum(sexes, axis=0).tolist() == np.sum(ages, axis=0).tolist() == [1] * 5


def test_what_is_out_of_range_is_refused():
    with pytest.raises(InputError, match="coverage=1"):
        threshold(np.ones((3, 2)) / 2, np.zeros(3, int), coverage=1.0)
    with pytest.raises(InputError, match="there is none"):
        threshold(np.ones((0, 2)), np.zeros(0, int), coverage=0.9)
    with pytest.raises(InputError, match="a label each"):
        temperature(np.ones((3, 2)), np.zeros(2, int))
    with pytest.raises(InputError, match="a confidence and an error"):
        risk_coverage(np.ones(3), np.ones(2))
