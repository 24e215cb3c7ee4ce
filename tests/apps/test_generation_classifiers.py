"""Classifiers that tell generated rows from real ones, or whose features are compared; and the list of all metrics."""

import json
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from integrand.apps.generation.metrics import (
    FrechetClassifier,
    classifier_test,
    energy_distance,
    evaluate_samples,
    frechet_between_samples,
    frechet_classifier,
    frechet_classifier_score,
    frechet_inception_distance,
    load_frechet_classifier,
    nearest_training,
    train_frechet_classifier,
    wasserstein_distance,
)
from integrand.apps.generation.metrics.evaluation import ABOUT, METRICS
from integrand.core.errors import InputError


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


class Digits(NamedTuple):
    train: np.ndarray
    train_labels: np.ndarray
    real: np.ndarray
    real_labels: np.ndarray


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Scikit-learn's digits in units of the largest value, 1437 for training and 360 held out."""
    data: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    held, rest = order[:360], order[360:]
    rows = data.data / 16
    return Digits(rows[rest], data.target[rest], rows[held], data.target[held])


@pytest.fixture(scope="module")
def classifier(digits: Digits) -> FrechetClassifier:
    return train_frechet_classifier(*digits, name="digits", shape=(1, 8, 8))


def test_logistic_regression_reaches_what_can_be_told_of_two_gaussians():
    """The best rule for N(0, 1) and N(m, 1) is right with chance Phi(|m| / 2), and it is linear."""
    shift = np.array([1.0, 0, 0.5])
    made = classifier_test(normal(1500, 3) + shift, normal(1500, 3, seed=1), classifier="logistic")
    best = stats.norm.cdf(np.linalg.norm(shift) / 2)
    assert made.accuracy == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / 3000))
    assert (made.rows, made.folds, made.classifier) == (1500, 5, "logistic")


@pytest.mark.parametrize("name", ["svc", "logistic"])
def test_rows_of_one_distribution_are_not_told_apart(name: str):
    made = classifier_test(normal(400, 3), normal(400, 3, seed=1), classifier=name)
    assert made.chance_deviation == pytest.approx(math.sqrt(0.25 / 800), rel=1e-13)
    assert made.accuracy == pytest.approx(0.5, abs=4 * made.chance_deviation)


def test_a_ring_and_a_spot_are_told_apart_by_what_is_not_linear():
    """A line parts an arc from the rest: at the best it is right for 1/2 + arccos(0.2) / 2 pi, or 0.72, of the rows."""
    angle = np.random.default_rng(2).uniform(0, 2 * math.pi, 150)
    ring, spot = 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1), 0.1 * normal(150, 2)
    made = {name: classifier_test(ring, spot, classifier=name).accuracy for name in ("forest", "svc", "logistic")}
    assert made["logistic"] < 0.72 + 4 * math.sqrt(0.72 * 0.28 / 300)
    assert min(made["forest"], made["svc"]) > 0.95  # a disc parts all of them


def test_training_digits_are_as_held_out_ones_to_a_forest_and_support_vectors(digits: Digits):
    for name in ("forest", "svc"):
        made = classifier_test(digits.train, digits.real, classifier=name)
        assert made.rows == 360
        assert made.accuracy == pytest.approx(0.5, abs=4 * made.chance_deviation)


def test_the_larger_sample_is_drawn_from_by_the_seed():
    x, y = normal(60, 2) + 0.5, normal(40, 2, seed=1)
    made = [classifier_test(x, y, classifier="logistic", seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert made[0] == made[1]
    assert len({one.accuracy for one in made}) > 1
    assert made[0].rows == 40


def test_copies_of_the_very_rows_bring_the_accuracy_below_one_half():
    rows = normal(100, 3)
    made = classifier_test(rows, rows, classifier="svc")
    assert made.accuracy < 0.5 - 3 * made.chance_deviation


def test_mistakes_of_a_classifier_test_are_named():
    with pytest.raises(InputError, match="unknown classifier 'forst': did you mean 'forest'"):
        classifier_test(normal(9, 2), normal(9, 2), classifier="forst")
    for folds in (1, 10):
        with pytest.raises(
            InputError, match=f"folds must be at least 2 and at most the 9 rows of each kind, got {folds}"
        ):
            classifier_test(normal(9, 2), normal(12, 2), folds=folds)


def test_a_classifier_of_digits_learns_them_and_tells_how_well(digits: Digits, classifier: FrechetClassifier):
    simple = GaussianNB().fit(digits.train, digits.train_labels).score(digits.real, digits.real_labels)
    assert classifier.accuracy > simple > 0.7
    assert classifier.accuracy == (classifier.predict(digits.real) == digits.real_labels).mean()
    assert classifier.held_out == 360
    assert not classifier.training


def test_features_are_in_units_of_their_deviation_over_training_rows(
    digits: Digits, classifier: FrechetClassifier, monkeypatch: pytest.MonkeyPatch
):
    made = classifier.features(digits.train)
    assert made.shape == (1437, 32)
    assert made.var(0).mean().item() == pytest.approx(1, rel=1e-4)
    monkeypatch.setattr(frechet_classifier, "ROWS_AT_A_TIME", 100)
    torch.testing.assert_close(classifier.features(digits.train), made)


def test_a_seed_decides_the_weights_and_held_out_rows_and_the_hosts_numbers_do_not(digits: Digits):
    train = digits.train[:200], digits.train_labels[:200]

    def weights(held_out: int, seed: int = 0) -> str:
        others = digits.real[:held_out], digits.real_labels[:held_out]
        return train_frechet_classifier(*train, *others, name="digits", steps=3, seed=seed).hash

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = weights(300)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert weights(7) == first
    assert weights(300, seed=1) != first


def test_a_saved_classifier_is_read_back_to_the_last_digit(
    digits: Digits, classifier: FrechetClassifier, tmp_path: Path
):
    path = tmp_path / "digits.safetensors"
    classifier.save(path)
    read = load_frechet_classifier(path)
    assert torch.equal(read.features(digits.real), classifier.features(digits.real))
    kept = ("hash", "accuracy", "held_out", "name", "shape", "classes", "width")
    assert {name: getattr(read, name) for name in kept} == {name: getattr(classifier, name) for name in kept}
    with torch.no_grad():
        read.head.bias[0] += 1e-6
    assert read.hash != classifier.hash


def test_files_that_hold_no_classifier_are_refused(classifier: FrechetClassifier, tmp_path: Path):
    path, other = tmp_path / "digits.safetensors", tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="there is no classifier"):
        load_frechet_classifier(path)
    classifier.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    save_file({"a": torch.zeros(2)}, other)
    for wrong in (path, other):
        with pytest.raises(InputError, match="holds no classifier of integrand"):
            load_frechet_classifier(wrong)
    classifier.save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="are not those that were saved"):
        load_frechet_classifier(path)
    assert set(load_file(path)) == set(classifier.state_dict())


def test_the_distance_is_that_of_features_and_the_floor_that_of_real_halves(
    digits: Digits, classifier: FrechetClassifier
):
    made = frechet_classifier_score(classifier, digits.train[:360], digits.real)
    x, y = classifier.features(digits.train[:360]), classifier.features(digits.real)
    assert made.distance == frechet_between_samples(x, y)
    assert (made.name, made.rows, made.half, made.halvings) == ("FD-digits", 360, 180, 10)
    assert (made.hash, made.accuracy) == (classifier.hash, classifier.accuracy)
    itself = frechet_classifier_score(classifier, digits.real, digits.real)
    assert itself.distance < 1e-10 < itself.half_floor
    assert itself.half_floor == made.half_floor
    # Halves are drawn of one another's rows at times: they are no farther apart than disjoint ones.
    assert itself.half_distance < itself.half_floor


def test_what_is_wrong_with_samples_shows_above_the_floor(digits: Digits, classifier: FrechetClassifier):
    """Half of the classes, or each row laid over the next."""
    half = digits.train[digits.train_labels < 5][:360]
    over = (digits.train[:360] + digits.train[360:720]) / 2
    for rows in (half, over):
        made = frechet_classifier_score(classifier, rows, digits.real)
        assert made.half_distance > 1.5 * made.half_floor


def test_a_perceptron_serves_rows_that_are_no_images():
    """Four sites 10 deviations apart: the chance that a row is nearer to another site is below 1e-6."""
    sites = 5 * np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    labels = np.arange(400) % 4
    made = train_frechet_classifier(
        sites[labels] + normal(400, 2),
        torch.from_numpy(labels) * 10,
        sites[labels] + normal(400, 2, seed=1),
        labels * 10,
        name="sites",
        steps=100,
    )
    assert (made.accuracy, made.classes) == (1, (0, 10, 20, 30))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": [0, 1]}, r"labels of train must be whole numbers, one a row \(20,\), got shape \(2,\)"),
        ({"train_labels": np.zeros(20)}, "labels of train must be whole numbers.* of float64"),
        ({"held_out_labels": [7] * 20}, "class 7 is among the held-out rows and has no training rows"),
        ({"train_labels": [0] * 20, "held_out_labels": [0] * 20}, "two classes or more, got 1"),
        ({"shape": (1, 2, 2)}, r"rows have 3 numbers and shape \(1, 2, 2\) 4"),
        ({"shape": (3, 1)}, r"shape must be \(C, H, W\) of images or \(D,\)"),
        ({"steps": 0}, "steps and batch must be at least 1, got 0 and 128"),
        ({"held_out": normal(20, 2)}, "rows of train have 3 numbers and those of held_out 2"),
    ],
)
def test_mistakes_in_training_are_named(changes: dict[str, Any], message: str):
    right = {
        "train": normal(20, 3),
        "train_labels": [0, 1] * 10,
        "held_out": normal(20, 3),
        "held_out_labels": [0] * 20,
    }
    with pytest.raises(InputError, match=message):
        train_frechet_classifier(**{**right, "name": "none", "steps": 1, **changes})


def test_mistakes_in_scoring_are_named(classifier: FrechetClassifier):
    with pytest.raises(InputError, match="got 5 rows of generated and 6 rows of real"):
        frechet_classifier_score(classifier, normal(5, 64), normal(6, 64))
    with pytest.raises(InputError, match=r"rows have 3 numbers and shape \(1, 8, 8\) 64"):
        frechet_classifier_score(classifier, normal(5, 3), normal(5, 3))
    with pytest.raises(InputError, match="halvings must be at least 1"):
        frechet_classifier_score(classifier, normal(5, 64), normal(5, 64), halvings=0)


INCEPTION: dict[str, Any] = {"shape": (1, 4, 4), "weights": "none.pth"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 2, 4)}, r"shape must be \(1 or 3, H, W\)"),
        ({"shape": (3, 4, 4)}, r"of the 16 numbers of a row, got \(3, 4, 4\)"),
        ({"value_range": (1.0, 1.0)}, "value_range must be increasing"),
        ({"features": 100}, "features must be 64, 192, 768 or 2048, got 100"),
        ({}, "pip install torch-fidelity"),
    ],
)
def test_mistakes_with_inception_are_named(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as where it is not installed
    with pytest.raises(InputError, match=message):
        frechet_inception_distance(normal(9, 16), normal(9, 16), **{**INCEPTION, **changes})


def test_the_distance_of_inception_is_that_of_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With weights at random, which no download is needed for; the layer of 64 features is near the entrance."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", exc_type=ImportError)
    network = fidelity.FeatureExtractorInceptionV3
    with monkeypatch.context() as patched:
        patched.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(network, "load_state_dict", lambda *_: None)
        made = network("inception-v3-compat", ["64"])
    weights = tmp_path / "weights.pth"
    torch.save(made.state_dict(), weights)
    x, y = torch.rand(40, 192) * 0.8, torch.rand(50, 192)
    features = [made((rows * 255).round().byte().view(-1, 3, 8, 8))[0] for rows in (x, y)]
    found = frechet_inception_distance(x, y, shape=(3, 8, 8), weights=weights, features=64)
    assert found == pytest.approx(frechet_between_samples(*features), rel=1e-4)
    torch.save({"a": Path()}, weights)
    with pytest.raises(InputError, match="it holds more than tensors"):
        frechet_inception_distance(x, y, shape=(3, 8, 8), weights=weights, features=64)


def test_every_metric_stands_beside_its_floor(
    classifier: FrechetClassifier, digits: Digits, monkeypatch: pytest.MonkeyPatch
):
    rows = digits.train[:40], digits.real[:50], digits.train
    asked, true = digits.train_labels[:40], digits.real_labels[:50]
    monkeypatch.setattr(sys.modules[classifier_test.__module__], "TREES", 20)  # the rest of the forest takes time
    labels: dict[str, Any] = {"classifier": classifier, "generated_labels": asked, "real_labels": true}
    made = evaluate_samples(*rows, **labels, seed=3)
    alone = evaluate_samples(*rows, **labels, floor=False, seed=3)
    assert alone == {**made, "floor": {}}
    names = list(ABOUT)
    for key in ("metrics", "floor", "best", "about"):
        assert list(made[key]) == names
    assert made["settings"] == {
        "rows_compared": 40,
        "rows": {"generated": 40, "real": 50, "train": 1437},
        "seed": 3,
        "rows_assigned": 40,
        "classifier": {
            "name": "FD-digits",
            "hash": classifier.hash,
            "accuracy": classifier.accuracy,
            "held_out": 360,
        },
    }
    json.dumps(made, allow_nan=False)
    # These were copies, and distances between distributions cannot tell.
    assert (made["metrics"]["copies"], made["metrics"]["nearest_ratio"]) == (40, 0)
    assert (made["floor"]["copies"], made["floor"]["nearest_ratio"]) == (0, 1)
    assert made["metrics"]["w2_squared"] == pytest.approx(made["metrics"]["w2"] ** 2, rel=1e-13)


def test_chosen_metrics_are_those_of_their_functions_on_equal_numbers():
    x, y, t = normal(30, 2) + 1, normal(30, 2, seed=1), normal(30, 2, seed=2)
    made = evaluate_samples(x, y, t, metrics=["wasserstein", "energy_distance", "nearest_training"])
    assert made["metrics"] == {
        "w2": wasserstein_distance(x, y),
        "w2_squared": wasserstein_distance(x, y) ** 2,
        "energy_distance": energy_distance(x, y),
        "nearest_ratio": nearest_training(x, t, y).ratio,
        "copies": 0,
    }
    assert made["floor"]["energy_distance"] == energy_distance(t, y)
    assert made["floor"]["w2"] == wasserstein_distance(t, y)
    known = evaluate_samples(x, y, t, metrics=["nearest_training"], nearest=nearest_training(x[:7], t, y))
    assert known["metrics"] == {"nearest_ratio": nearest_training(x[:7], t, y).ratio, "copies": 0}


def test_the_draw_is_that_of_the_seed_and_of_the_count():
    rows = normal(90, 2), normal(70, 2, seed=1), normal(80, 2, seed=2)
    made = [evaluate_samples(*rows, metrics=["wasserstein"], count=20, seed=seed) for seed in (0, 0, 1)]
    assert made[0] == made[1]
    assert made[0]["metrics"] != made[2]["metrics"]
    assert made[0]["settings"]["rows_compared"] == 20
    assert evaluate_samples(*rows, metrics=["wasserstein"])["settings"]["rows_compared"] == 70
    with pytest.raises(InputError, match="71 rows were asked for and there are 70"):
        evaluate_samples(*rows, metrics=["wasserstein"], count=71)


def test_mistakes_in_the_list_of_metrics_are_named():
    rows = normal(9, 2), normal(9, 2, seed=1), normal(9, 2, seed=2)
    with pytest.raises(InputError, match="unknown metric 'wassertein': did you mean 'wasserstein'"):
        evaluate_samples(*rows, metrics=["wassertein"])
    with pytest.raises(InputError, match="frechet_classifier needs a classifier"):
        evaluate_samples(*rows, metrics=[METRICS[-1]])
    with pytest.raises(InputError, match="labels serve frechet_classifier alone"):
        evaluate_samples(*rows, real_labels=[0] * 9)
