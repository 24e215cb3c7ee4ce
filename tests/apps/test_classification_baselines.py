"""Classifiers in closed form: the ridge against scikit-learn, the convolutions against loops, and the laws of all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from integrand.apps.series.classification.baselines import (
    BASELINES,
    Grid,
    Majority,
    NearestNeighbour,
    RidgeClassifier,
    RocketRidge,
)
from integrand.apps.series.classification.ridge import PENALTIES, ridge, temperature
from integrand.apps.series.classification.rocket import Rocket
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch

NAN = float("nan")


def batch_of(series: list[np.ndarray], labels: list[int], *, interval: float = 1.0, pad: int = 0) -> IrregularBatch:
    """Regular series (L, C), NaN where missing, as one batch with ``pad`` more elements of padding."""
    length, channels = max(len(one) for one in series) + pad, series[0].shape[1]
    values = np.zeros((len(series), length, channels), dtype=np.float32)
    mask = np.zeros(values.shape, dtype=bool)
    times = np.zeros((len(series), length), dtype=np.float32)
    for i, one in enumerate(series):
        mask[i, : len(one)] = np.isfinite(one)
        values[i, : len(one)] = np.nan_to_num(one)
        times[i] = interval * np.minimum(np.arange(length), len(one) - 1)
    lengths = torch.tensor([len(one) for one in series])
    return IrregularBatch(
        values=torch.from_numpy(values),
        mask=torch.from_numpy(mask),
        times=torch.from_numpy(times),
        lengths=lengths,
        target=torch.tensor(labels),
    ).check()


def sines(count: int, seed: int) -> IrregularBatch:
    """Two channels, 30 to 40 elements, a tenth missing: class 1 swings at a third more than class 0."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for i in range(count):
        t = np.arange(rng.integers(30, 41))
        x = np.sin(0.3 * (1 + (i % 2) / 3) * t[:, None] + [0, 1] + 0.3 * rng.standard_normal())
        x = x + 0.2 * rng.standard_normal(x.shape)
        x[rng.random(x.shape) < 0.1] = NAN
        series.append(x)
        labels.append(i % 2)
    return batch_of(series, labels)


def accuracy(probabilities: np.ndarray, batch: IrregularBatch) -> float:
    assert batch.target is not None
    return float((probabilities.argmax(1) == batch.target.numpy()).mean())


# The ridge


@pytest.mark.parametrize(("count", "features"), [(60, 12), (40, 90), (30, 30)])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_ridge_is_that_of_scikit_learn(count: int, features: int, classes: int):
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(count)
    labels = rng.permutation(np.arange(count) % classes)
    x = rng.standard_normal((count, features)) + 0.5 * rng.standard_normal((classes, features))[labels] + 3
    theirs = linear_model.RidgeClassifierCV(alphas=PENALTIES, store_cv_results=True).fit(x, labels)
    target = np.where(np.arange(classes) == labels[:, None], 1.0, -1.0)
    ours = ridge(x, target)
    assert ours.penalty == theirs.alpha_
    decision = x @ ours.weights + ours.bias
    expected = theirs.decision_function(x)
    if classes == 2:
        expected = np.stack([-expected, expected], 1)
    np.testing.assert_allclose(decision, expected, rtol=0, atol=1e-8)
    squared = theirs.cv_results_.mean((0, 1))
    np.testing.assert_allclose(ours.errors, squared, rtol=1e-6)


@pytest.mark.parametrize(("count", "features"), [(12, 5), (9, 20)])
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_leaving_one_out_is_refitting_without_it(count: int, features: int, scale: float):
    rng = np.random.default_rng(0)
    x, y = scale * rng.standard_normal((count, features)), rng.standard_normal((count, 2))
    x[:, 3:] = x[:, :1]  # far from full rank: rounding must not pass for variance
    for penalty in (1e-3, 1.0, 1e3):
        left_out = ridge(x, y, (penalty,)).left_out
        for i in range(count):
            others = np.arange(count) != i
            center, level = x[others].mean(0), y[others].mean(0)
            # Least squares on rows added for the penalty.
            rows = np.concatenate([x[others] - center, math.sqrt(penalty) * np.eye(features)])
            weights = np.linalg.lstsq(rows, np.concatenate([y[others] - level, np.zeros((features, 2))]), rcond=None)[0]
            np.testing.assert_allclose(left_out[i], (x[i] - center) @ weights + level, rtol=0, atol=1e-10)


def test_the_temperature_of_known_odds_is_found():
    # Decisions d, -d whose class has odds exp(2 d / T): the likelihood over many draws is greatest at T itself.
    rng = np.random.default_rng(0)
    true, d = 0.4, rng.uniform(-1, 1, 40_000)
    labels = (rng.random(len(d)) < 1 / (1 + np.exp(2 * d / true))).astype(int)
    found = temperature(np.stack([d, -d], 1), labels)
    # Fisher information of 1/T: sum of (2 d)^2 p (1 - p); the labels' smoothing moves it by some 1 / 20,000.
    p = 1 / (1 + np.exp(2 * d / true))
    error = true**2 / math.sqrt(float(((2 * d) ** 2 * p * (1 - p)).sum()))
    assert found == pytest.approx(true, abs=4 * error)


def test_decisions_that_are_all_right_still_leave_doubt():
    # n of each of two classes at +-1: the likelihood is greatest where softmax gives Platt's (n + 1) / (n + 2).
    labels = np.repeat([0, 1], 8)
    decision = np.where(np.arange(2) == labels[:, None], 1.0, -1.0)
    assert temperature(decision, labels) == pytest.approx(2 / math.log(9), rel=1e-4)


# The grid


def test_series_are_carried_forward_onto_the_grid():
    series = [np.array([[1.0, NAN], [NAN, 5], [3, NAN], [NAN, NAN]]), np.array([[7.0, 8.0], [NAN, 9.0]])]
    batch = batch_of(series, [0, 1], interval=0.5, pad=3)
    grid = Grid.over(batch)
    assert (grid.bins, grid.span) == (4, 1.5)
    values, observed = grid.carried(batch)
    assert values[0].tolist() == [[1, 0], [1, 5], [3, 5], [3, 5]]
    assert values[1].tolist() == [[7, 8], [7, 9], [7, 9], [7, 9]]
    assert observed.sum((1, 2)).tolist() == [3, 3]
    assert grid.present(batch).tolist() == [[True] * 4, [True, True, False, False]]
    # Stretched to their own duration, the second's two elements lie at the ends.
    stretched, _ = Grid.over(batch, relative=True).carried(batch)
    assert stretched[1].tolist() == [[7, 8], [7, 8], [7, 8], [7, 9]]
    # On two bins the later of two elements counts.
    coarse, _ = Grid.over(batch, most=2).carried(batch)
    assert coarse[0].tolist() == [[1, 5], [3, 5]]


def test_a_series_longer_than_training_is_cut_with_a_notice():
    train = sines(20, 0)
    long = batch_of([np.ones((60, 2)), np.ones((35, 2))], [0, 1])
    rest = batch_of([np.ones((int(train.lengths.max()), 2)), np.ones((35, 2))], [0, 1])
    for kind in (RidgeClassifier, RocketRidge):
        model = kind()
        model.fit(train, 2)
        np.testing.assert_array_equal(model.predict(rest), model.predict(long))
        assert model.notices == [f"{model.name}: 1 series outlast all of training and were cut where those end"]


def test_series_of_one_element_are_classified():
    train = batch_of([np.array([[float(i % 2)]]) for i in range(12)], [i % 2 for i in range(12)])
    test = batch_of([np.array([[1.0], [0.0]]), np.array([[0.0]])], [1, 0])
    for kind in (NearestNeighbour, RidgeClassifier, RocketRidge):
        model = kind()
        model.fit(train, 2)
        assert accuracy(model.predict(train), train) == 1, kind
        assert model.predict(test)[1, 0] > 0.5
    ridge_model = RidgeClassifier()
    ridge_model.fit(train, 2)
    assert ridge_model.predict(test)[0, 1] > 0.5  # what comes after the first element is past the grid
    assert len(ridge_model.notices) == 1


# Random convolutions


def test_a_series_is_zero_after_its_end_for_the_convolutions():
    rng = np.random.default_rng(0)
    long, short = rng.standard_normal((2, 30, 1))
    train = batch_of([long, short[:18]], [0, 1])
    zeros = batch_of([long, np.where(np.arange(30)[:, None] < 18, short, 0)], [0, 1])
    model = RocketRidge(kernels=50)
    model.fit(train, 2)
    np.testing.assert_array_equal(model.features(train), model.features(zeros))


@pytest.mark.parametrize(("length", "channels"), [(40, 3), (9, 1), (200, 1)])
def test_the_features_are_those_of_a_plain_loop(length: int, channels: int):
    rocket = Rocket(kernels=40, seed=3)
    rocket.fit(length, channels)
    x = np.random.default_rng(0).standard_normal((2, length, channels))
    steps = max(length, 11)
    expected = []
    for group in rocket.groups:
        shares, maxima = [], []
        for weights, bias in zip(group.weights.double().numpy(), group.bias.double().numpy(), strict=True):
            width = weights.shape[1]
            padded = np.zeros((2, steps + 2 * group.padding, channels))
            padded[:, group.padding : group.padding + length] = x
            places = range(steps + 2 * group.padding - (width - 1) * group.dilation)
            responses = np.full((2, len(places)), bias)
            for t in places:
                for j in range(width):
                    responses[:, t] += padded[:, t + j * group.dilation] @ weights[:, j]
            assert np.abs(responses).min() > 1e-5  # else float32 might tell the sign otherwise
            shares.append((responses > 0).mean(1))
            maxima.append(responses.max(1))
        expected += shares + maxima
    got = rocket.transform(x)
    np.testing.assert_allclose(got, np.stack(expected, 1), rtol=0, atol=1e-5)  # float32 sums of some 33 terms


def test_the_kernels_are_as_published():
    rocket = Rocket(kernels=3000, seed=0)
    rocket.fit(100, 5)
    assert sum(len(group.bias) for group in rocket.groups) == 3000
    count, padded, seen = {7: 0, 9: 0, 11: 0}, 0, []
    for group in rocket.groups:
        width = group.weights.shape[2]
        assert (width - 1) * group.dilation <= 99
        assert group.padding in (0, (width - 1) * group.dilation // 2)
        count[width] += len(group.bias)
        padded += len(group.bias) * (group.padding > 0)
        seen += (group.weights != 0).any(2).sum(1).tolist()
        assert float(group.weights.sum(2).abs().max()) < 1e-5
        assert float(group.bias.abs().max()) < 1
    # 3000 draws: deviations of 26 about a third, 27 about a half; four of them.
    assert all(abs(one - 1000) < 104 for one in count.values())
    assert abs(padded - 1500) < 108
    # floor(2^v), v uniform up to log2(6): 1 with probability 1 / log2(6) = 0.387.
    assert set(seen) == {1, 2, 3, 4, 5}
    assert np.mean(np.array(seen) == 1) == pytest.approx(1 / math.log2(6), abs=4 * math.sqrt(0.24 / 3000))


def test_kernels_are_a_function_of_their_seed():
    x = np.random.default_rng(0).standard_normal((2, 30, 2))
    made = []
    for seed in (0, 0, 1):
        rocket = Rocket(kernels=20, seed=seed)
        rocket.fit(30, 2)
        made.append(rocket.transform(x))
    np.testing.assert_array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


# Laws of all


@pytest.mark.parametrize("kind", BASELINES)
def test_probabilities_sum_to_one_and_beat_the_majority_where_there_is_something_to_learn(kind: type):
    train, test = sines(60, 0), sines(200, 1)
    model = kind()
    model.fit(train, 2)
    p = model.predict(test)
    assert p.shape == (200, 2)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(1), 1, rtol=0, atol=1e-12)
    if kind is Majority:
        assert (p == 0.5).all()
    else:
        assert accuracy(p, test) > 0.9


@pytest.mark.parametrize("kind", BASELINES)
def test_padding_changes_nothing(kind: type):
    train, test = sines(30, 0), sines(10, 1)

    def padded(batch: IrregularBatch) -> IrregularBatch:
        count, _, channels = batch.values.shape
        more = torch.zeros(count, 17, channels)
        return replace(
            batch,
            values=torch.cat([batch.values, more], 1),
            mask=torch.cat([batch.mask, more.bool()], 1),
            times=torch.cat([batch.times, batch.times[:, -1:].expand(-1, 17)], 1),
        ).check()

    plain, other = kind(), kind()
    plain.fit(train, 2)
    other.fit(padded(train), 2)
    np.testing.assert_array_equal(plain.predict(test), other.predict(padded(test)))


@pytest.mark.parametrize("kind", BASELINES)
def test_the_unit_of_time_changes_nothing(kind: type):
    train, test = sines(30, 0), sines(10, 1)
    hours, minutes = kind(), kind()
    hours.fit(train, 2)
    minutes.fit(replace(train, times=64 * train.times), 2)
    np.testing.assert_array_equal(hours.predict(test), minutes.predict(replace(test, times=64 * test.times)))


@pytest.mark.parametrize("kind", BASELINES)
def test_a_class_may_be_absent_from_training_or_test(kind: type):
    train, test = sines(30, 0), sines(10, 1)
    model = kind()
    model.fit(train, 3)
    p = model.predict(replace(test, target=torch.zeros(10, dtype=torch.int64)))
    assert np.isfinite(p).all()
    assert (p[:, 2] < p.max(1)).all()
    assert (p > 0).all()


@pytest.mark.parametrize("kind", BASELINES)
def test_labels_of_the_test_part_are_not_looked_at(kind: type):
    train, test = sines(30, 0), sines(10, 1)
    model = kind()
    model.fit(train, 2)
    np.testing.assert_array_equal(model.predict(test), model.predict(replace(test, target=None)))


@pytest.mark.parametrize("kind", [RidgeClassifier, RocketRidge])
def test_static_features_are_used(kind: type):
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(60)]
    noise = batch_of([rng.standard_normal((12, 1)) for _ in labels], labels)
    static = torch.tensor(labels)[:, None] + torch.from_numpy(rng.standard_normal((60, 1))).float() / 10
    told = replace(noise, static=static)
    model = kind()
    model.fit(told, 2)
    np.testing.assert_array_equal(model.features(told)[:, -1:], static)
    # The regression is linear: the same step of the static feature speaks for class 1 alike in every series.
    rise = model.decide(replace(told, static=static + 1)) - model.decide(told)
    assert rise[0, 1] > 0
    np.testing.assert_allclose(rise, np.broadcast_to([-rise[0, 1], rise[0, 1]], rise.shape), atol=1e-6)
    with pytest.raises(InputError, match="0 static features, training had 1 and 1"):
        model.predict(noise)


def test_shares_and_trust_by_hand():
    # Classes 0, 0, 0, 1 at heights 0, 1, 2 and 2.9: the neighbour of 2 is 2.9, of 2.9 is 2; two of four are right.
    heights, labels = [0.0, 1.0, 2.0, 2.9], [0, 0, 0, 1]
    train = batch_of([np.full((3, 1), h) for h in heights], labels)
    majority, nearest = Majority(), NearestNeighbour()
    majority.fit(train, 3)
    nearest.fit(train, 3)
    assert majority.predict(train)[0] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    test = batch_of([np.full((5, 1), 2.6), np.full((2, 1), 0.2)], [1, 0])
    np.testing.assert_allclose(nearest.predict(test), [[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]])


def test_mistakes_are_named():
    train = sines(10, 0)
    with pytest.raises(InputError, match="needs a target"):
        Majority().fit(replace(train, target=None), 2)
    with pytest.raises(InputError, match=r"must lie in 0..1, got 0 to 2"):
        Majority().fit(replace(train, target=torch.arange(10) % 3), 2)
    with pytest.raises(InputError, match="at least 2, got 1"):
        Majority().fit(train, 1)
    with pytest.raises(InputError, match="at least 2 training series, got 1"):
        Majority().fit(batch_of([np.ones((3, 1))], [0]), 2)
    model = RidgeClassifier()
    model.fit(train, 2)
    with pytest.raises(InputError, match="1 channels and 0 static features, training had 2"):
        model.predict(batch_of([np.ones((3, 1))], [0]))
    with pytest.raises(InputError, match="kernels must be at least 1"):
        Rocket(0)
    rocket = Rocket(2)
    rocket.fit(30, 1)
    with pytest.raises(InputError, match=r"must be \(N, 30, 1\)"):
        rocket.transform(np.zeros((2, 31, 1)))
