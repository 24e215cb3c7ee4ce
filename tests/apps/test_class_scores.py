"""Scores of class probabilities: against scikit-learn, by hand, and under resampling."""

import math

import numpy as np
import pytest
import torch

from integrand.apps.training.class_scores import (
    _WEIGHTED,
    LOWER_IS_BETTER,
    METRICS,
    bootstrap,
    classification_scores,
)
from integrand.core.errors import InputError


def drawn(count: int, classes: int, *, seed: int, absent: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that know something of their labels, with ties; one class may be absent from the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    if absent is not None:
        labels[labels == absent] = (absent + 1) % classes
    score = rng.integers(0, 6, (count, classes)) + 2.0 * (labels[:, None] == np.arange(classes))
    score += 0.1  # no probability of 0
    return score / score.sum(1, keepdims=True), labels


@pytest.mark.parametrize(("classes", "absent"), [(2, None), (4, None), (4, 3), (4, 0)])
def test_every_score_is_that_of_scikit_learn_over_the_classes_present(classes: int, absent: int | None):
    metrics = pytest.importorskip("sklearn.metrics")
    p, y = drawn(300, classes, seed=classes, absent=absent)
    present, said = np.unique(y), p.argmax(1)
    scored = [1] if classes == 2 else present.tolist()
    expected = {
        "accuracy": metrics.accuracy_score(y, said),
        "balanced_accuracy": metrics.recall_score(y, said, labels=present, average="macro"),
        "auroc": np.mean([metrics.roc_auc_score(y == k, p[:, k]) for k in scored]),
        "auprc": np.mean([metrics.average_precision_score(y == k, p[:, k]) for k in scored]),
        "f1": metrics.f1_score(y, said, labels=scored, average="macro"),
        "brier": metrics.brier_score_loss(y, p[:, 1])
        if classes == 2
        else ((p - np.eye(classes)[y]) ** 2).sum(1).mean(),
        "nll": metrics.log_loss(y, p, labels=np.arange(classes)),
    }
    scores = classification_scores(p, y)
    assert list(scores) == list(METRICS)
    for name, value in expected.items():
        # torchmetrics counts in float32.
        assert scores[name] == pytest.approx(value, abs=1e-6), name
    assert scores == classification_scores(torch.from_numpy(p), torch.from_numpy(y))


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.90 and 0.92 share (13/15, 14/15], one right of two; 1.0 and 0.95 share the last, both right;
    # 0.6 is the upper end of (8/15, 9/15] and alone, wrong.
    top = np.array([0.90, 0.92, 1.0, 0.95, 0.6])
    p = np.stack([top, 1 - top], 1)
    labels = np.array([0, 1, 0, 0, 1])
    expected = 2 / 5 * abs(0.5 - 0.91) + 2 / 5 * abs(1 - 0.975) + 1 / 5 * abs(0 - 0.6)
    assert classification_scores(p, labels)["ece"] == pytest.approx(expected, abs=1e-12)


def test_the_likelihood_of_an_impossible_class_is_bounded():
    scores = classification_scores(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([1, 0]))
    assert scores["nll"] == pytest.approx((23 * math.log(2) + math.log(2)) / 2, rel=1e-12)


def test_ranking_one_class_alone_is_undefined_and_says_so():
    p = np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    scores = classification_scores(p, np.array([1, 1]))
    assert math.isnan(scores["auroc"])
    assert math.isnan(scores["auprc"])
    assert scores["balanced_accuracy"] == 0.5
    assert scores["f1"] == pytest.approx(2 / 3)
    assert all(math.isnan(end) for end in bootstrap({"a": p}, np.array([1, 1]), "auroc", resamples=5).intervals["a"])
    assert math.isnan(classification_scores(p[:, :2] / p[:, :2].sum(1, keepdims=True), np.array([0, 0]))["f1"])


@pytest.mark.parametrize(("classes", "absent"), [(2, None), (4, 3)])
@pytest.mark.parametrize("metric", METRICS)
def test_a_series_drawn_thrice_counts_as_three(metric: str, classes: int, absent: int | None):
    p, y = drawn(120, classes, seed=7, absent=absent)
    weight = np.random.default_rng(0).integers(0, 4, (3, len(y)))
    got = _WEIGHTED[metric](p, y, weight.astype(float))
    for row, value in zip(weight, got, strict=True):
        expected = classification_scores(np.repeat(p, row, axis=0), np.repeat(y, row))[metric]
        assert value == pytest.approx(expected, abs=1e-6)  # torchmetrics in float32


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 2000)
    p = rng.dirichlet([4, 4, 4], len(y))
    loss = -np.log(p[np.arange(len(y)), y])
    result = bootstrap({"a": p}, y, "nll", resamples=2000)
    # Drawing n_k of each class keeps the variance within classes alone.
    deviation = math.sqrt(sum(loss[y == k].var() * (y == k).sum() for k in range(3))) / len(y)
    # A 2.5 % quantile of R draws errs by sqrt(0.025 0.975 / R) / phi(1.96) = 0.06 deviations; four of them.
    low, high = result.intervals["a"]
    assert low == pytest.approx(loss.mean() - 1.96 * deviation, abs=0.24 * deviation)
    assert high == pytest.approx(loss.mean() + 1.96 * deviation, abs=0.24 * deviation)
    assert result.gains == {}


def test_a_share_of_accuracy_is_resampled_within_classes():
    # Class 0 is always right, class 1 never: within classes nothing varies, so neither does the accuracy.
    p = np.tile([0.9, 0.1], (50, 1))
    y = np.repeat([0, 1], [30, 20])
    assert bootstrap({"a": p}, y, "accuracy", resamples=50).intervals["a"] == (0.6, 0.6)


def test_gains_are_paired_and_positive_where_the_named_one_is_better():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 400)
    weak = np.stack([1 - (w := 0.5 + (y - 0.5) * rng.uniform(-0.4, 0.8, 400)), w], 1)
    own = np.arange(2) == y[:, None]
    strong = 0.8 * weak + 0.2 * own
    # Mixing 0.2 of the truth into each lowers every single loss, so every resample's.
    for metric in METRICS:
        gain = bootstrap({"strong": strong, "weak": weak}, y, metric, better="strong").gains["weak"]
        scores = {who: classification_scores(p, y)[metric] for who, p in (("strong", strong), ("weak", weak))}
        sign = -1 if metric in LOWER_IS_BETTER else 1
        difference = sign * (scores["strong"] - scores["weak"])
        assert gain["gain"] == pytest.approx(difference / scores["weak"], abs=1e-5)
        assert gain["low"] <= gain["gain"] <= gain["high"]
        absolute = bootstrap({"strong": strong, "weak": weak}, y, metric, better="strong", relative=False, resamples=9)
        assert absolute.gains["weak"]["gain"] == pytest.approx(difference, abs=1e-6)
    assert bootstrap({"strong": strong, "weak": weak}, y, "nll", better="strong").gains["weak"]["low"] > 0
    same = bootstrap({"one": weak, "other": weak}, y, "auroc", better="one").gains["other"]
    assert same == {"gain": 0.0, "low": 0.0, "high": 0.0}


def test_resampling_is_a_function_of_its_seed():
    p, y = drawn(200, 3, seed=3)
    one, again = (bootstrap({"a": p}, y, "auroc", resamples=100, seed=5) for _ in range(2))
    assert one == again
    assert one != bootstrap({"a": p}, y, "auroc", resamples=100, seed=6)


def test_mistakes_are_named():
    p, y = drawn(10, 3, seed=0)
    with pytest.raises(InputError, match="sum to 1 in each row: apply softmax"):
        classification_scores(2 * p, y)
    with pytest.raises(InputError, match=r"labels must lie in 0..2, got 3 to 3"):
        classification_scores(p, np.full(10, 3))
    with pytest.raises(InputError, match="labels must be 10 whole numbers"):
        classification_scores(p, y.astype(float))
    with pytest.raises(InputError, match=r"got shape \(0, 3\)"):
        classification_scores(p[:0], y[:0])
    with pytest.raises(InputError, match="did you mean 'auroc'"):
        bootstrap({"a": p}, y, "auroc_")
    with pytest.raises(InputError, match="unknown classifier 'b'"):
        bootstrap({"a": p}, y, "nll", better="b")
    with pytest.raises(InputError, match="level"):
        bootstrap({"a": p}, y, "nll", level=95)


def test_groups_are_resampled_whole():
    # Ten copies of a sample in one group are one witness: the interval is that of the samples alone, each a group.
    p, y = drawn(40, 2, seed=3)
    alone = bootstrap({"a": p}, y, "nll", groups=np.arange(40), resamples=500)
    copied = bootstrap(
        {"a": np.repeat(p, 10, 0)}, np.repeat(y, 10), "nll", groups=np.repeat(np.arange(40), 10), resamples=500
    )
    assert copied.intervals["a"] == pytest.approx(alone.intervals["a"])
    thought = bootstrap({"a": np.repeat(p, 10, 0)}, np.repeat(y, 10), "nll", resamples=500).intervals["a"]
    width = np.diff(alone.intervals["a"])[0] / np.diff(thought)[0]
    assert width == pytest.approx(math.sqrt(10), rel=0.25)  # the standard error goes with the root of the witnesses


def test_a_resample_without_a_class_does_not_count():
    p, y = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 0])
    low, high = bootstrap({"a": p}, y, "auroc", groups=np.arange(3), resamples=300).intervals["a"]
    assert (low, high) == (1.0, 1.0)  # the one of class 1 has the highest score in every resample that holds it


def test_groups_must_fit():
    p, y = drawn(10, 2, seed=0)
    with pytest.raises(InputError, match="groups must be 10"):
        bootstrap({"a": p}, y, "nll", groups=np.arange(9))
