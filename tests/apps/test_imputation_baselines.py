"""Imputing baselines against answers known from elsewhere: numpy.interp, a linear law, least squares, closed forms."""

import numpy as np
import pytest
import torch

from integrand.apps.timeseries.imputation.baselines import (
    BASELINES,
    LastValue,
    LinearInterpolation,
    MeanImputation,
    Ridge,
    chunks,
    distance_bin,
    distance_edges,
    fitted_to,
)
from integrand.apps.timeseries.spread import FACTORS, spread
from integrand.core.losses import gaussian_crps
from integrand.datasets.imputation import ImputationTask, ImputationWindows
from integrand.datasets.splits import chronological
from integrand.datasets.tables import Series, Table


def windows(
    values: np.ndarray,
    times: np.ndarray | None = None,
    *,
    window: float = 24.0,
    part: str = "train",
    share: tuple[float, float] = (0.5, 0.5),
) -> ImputationWindows:
    """Windows of one series (L, C), unstandardised."""
    length, channels = values.shape
    times = np.arange(length, dtype=float) if times is None else times
    table = Table(
        [Series("all", times, values=values.astype(np.float32))],
        [f"c{k}" for k in range(channels)],
        time_unit="h",
        epoch=None,
        timezone=None,
        time_column="t",
        layout="wide",
        group_column=None,
        notices=[],
    )
    task = ImputationTask(
        channels=table.channels,
        units=[""] * channels,
        time_unit="h",
        window=window,
        resolution=1.0,
        periods=[],
        groups=[],
        location=[0.0] * channels,
        scale=[1.0] * channels,
    )
    split = chronological(times[0], times[-1], (0.6, 0.2, 0.2), {})
    return ImputationWindows(table, task, split, part, stride=4, share=share)


@pytest.fixture
def irregular() -> ImputationWindows:
    """Two channels at random times, a third of the cells missing."""
    rng = np.random.default_rng(0)
    times = np.unique(rng.integers(0, 1600, 600)) / 4
    values = np.where(rng.random((len(times), 2)) < 1 / 3, np.nan, rng.standard_normal((len(times), 2)))
    return windows(values, times, share=(0.4, 0.8))


# Points


def test_the_line_is_numpys(irregular: ImputationWindows):
    """Flat beyond the first and the last value, and 0, the mean, where a channel has none."""
    batch = irregular.__getitems__(list(range(len(irregular))))
    line = LinearInterpolation(irregular.task).point(batch).numpy()
    for b in range(len(line)):
        length = int(batch.lengths[b])
        times = batch.times[b, :length].double().numpy()
        for channel in range(2):
            seen = batch.mask[b, :length, channel].numpy()
            known = batch.values[b, :length, channel].double().numpy()[seen]
            expected = np.interp(times, times[seen], known) if seen.any() else np.zeros(length)
            np.testing.assert_allclose(line[b, :length, channel], expected, atol=2e-6)
    assert len(line) > 50


def test_the_last_value_is_a_loops_and_the_mean_is_nought(irregular: ImputationWindows):
    batch = irregular.__getitems__([0, 7, 20])
    found, mean = LastValue(irregular.task).point(batch), MeanImputation(irregular.task).point(batch)
    assert float(mean.abs().max()) == 0
    for b in range(3):
        for channel in range(2):
            last = 0.0
            for row in range(int(batch.lengths[b])):
                last = float(batch.values[b, row, channel]) if batch.mask[b, row, channel] else last
                assert float(found[b, row, channel]) == last


def test_distances_are_those_to_the_nearest_value(irregular: ImputationWindows):
    """Bins end at one, two, four ... intervals, a window; the last holds what has no value at all."""
    edges = distance_edges(irregular.task)
    assert edges.tolist() == [1, 2, 4, 8, 16]  # and no more: half a window is the farthest that most cells are
    batch = irregular.__getitems__(list(range(len(irregular))))
    bins = distance_bin(batch, irregular.task)
    for b in range(len(bins)):
        length = int(batch.lengths[b])
        times = batch.times[b, :length].double().numpy()
        for channel in range(2):
            seen = times[batch.mask[b, :length, channel].numpy()]
            for row in range(length):
                near = np.abs(times[row] - seen).min() if len(seen) else np.inf
                expected = len(edges) if np.isinf(near) else min(int((edges < near).sum()), len(edges) - 1)
                assert bins[b, row, channel] == expected


# Spread


def test_the_spread_is_the_deviation_of_each_bin_scaled_for_the_best_score():
    """Errors of +-1 and of +-3: the ranked probability score of N(0, s) at x is a closed form, least at s for both."""
    errors, bins = np.array([1.0, -1.0, 3.0, -3.0]), np.array([0, 0, 2, 2])
    found = spread(errors, bins, 4)
    unit = torch.ones((), dtype=torch.float64)

    def score(s: float) -> float:  # of an error of 1
        return float(gaussian_crps(0 * unit, s * unit, unit))

    best = FACTORS[np.argmin([score(s) for s in FACTORS])]
    np.testing.assert_allclose(found, best * np.array([1.0, np.sqrt(5), 3.0, np.sqrt(5)]), rtol=1e-5)


def test_the_spread_of_gaussian_errors_is_their_deviation():
    rng = np.random.default_rng(1)
    bins = rng.integers(0, 2, 200_000)
    errors = rng.standard_normal(len(bins)) * np.array([0.5, 2.0])[bins]
    # Factors lie 0.05 apart, and 1 is the best of a Gaussian.
    np.testing.assert_allclose(spread(errors, bins, 2), [0.5, 2.0], rtol=0.01)


def test_baselines_measure_their_errors_in_training_by_channel_and_distance(irregular: ImputationWindows):
    model = LinearInterpolation(irregular.task)
    model.fit(irregular)
    assert model.std_HC.shape == (6, 2)
    batch = irregular.__getitems__(list(range(len(irregular))))
    assert batch.target is not None
    assert batch.target_mask is not None
    mean, std = model.predict(batch)
    assert torch.equal(mean, model.point(batch))
    square, bins = ((batch.target - mean) ** 2).numpy(), distance_bin(batch, irregular.task)
    for channel in range(2):
        factors = []
        for place in range(6):
            here = bins[..., channel] == place
            asked = here & batch.target_mask[..., channel].numpy()
            assert len(np.unique(std[..., channel].numpy()[here])) <= 1
            if asked.sum() > 1:
                root = np.sqrt(square[..., channel][asked].mean(dtype=np.float64))
                factors.append(float(std[..., channel].numpy()[here][0]) / root)
        np.testing.assert_allclose(factors, factors[0], rtol=1e-4)
        assert np.abs(FACTORS - factors[0]).min() < 1e-3


# Ridge


def test_ridge_finds_a_linear_relation_between_channels():
    """A channel that is twice one other less another, all without memory: told where both of these are known."""
    rng = np.random.default_rng(2)
    free = rng.standard_normal((4000, 2))
    values = np.column_stack([free, 2 * free[:, 0] - free[:, 1]])
    train, test = (windows(values, part=part, share=(0.3, 0.3)) for part in ("train", "test"))
    ridge, line = Ridge(train.task), LinearInterpolation(train.task)
    ridge.fit(train)
    line.fit(train)
    errors = {"ridge": [], "line": []}
    for _, batch in chunks(test):
        assert batch.target is not None
        assert batch.target_mask is not None
        told = batch.target_mask[..., 2] & batch.mask[..., 0] & batch.mask[..., 1]
        for name, model in (("ridge", ridge), ("line", line)):
            errors[name].append((model.point(batch) - batch.target)[..., 2][told])
    rms = {name: float(torch.cat(part).square().mean().sqrt()) for name, part in errors.items()}
    assert rms["line"] > np.sqrt(5)  # the channel's own deviation: noise has no memory
    assert rms["ridge"] < 0.05 * np.sqrt(5)


def test_ridge_is_numpys_least_squares_with_its_penalty(irregular: ImputationWindows):
    """Weights solve (X'X + p I) w = X'y, but for the constant; p is that of the least error in five folds."""
    ridge = Ridge(irregular.task)
    ridge.fit(irregular)
    index = fitted_to(irregular)
    assert index.tolist() == list(range(len(irregular)))
    batch = irregular.__getitems__(index.tolist())
    assert batch.target is not None
    assert batch.target_mask is not None
    features, asked, target = ridge.features(batch), batch.target_mask.numpy(), batch.target.numpy()
    there = asked.any(2)
    mean, deviation = features[there].mean(0), features[there].std(0) + 1e-3
    np.testing.assert_allclose(ridge.mean, mean, rtol=1e-4, atol=1e-5)
    fold_N = np.arange(len(index)) * 5 // len(index)
    for channel in range(2):
        b, row = np.nonzero(asked[..., channel])
        x = np.column_stack([(features[b, row] - mean) / deviation, np.ones(len(b))]).astype(np.float64)
        y = target[b, row, channel].astype(np.float64)

        def weights(own: np.ndarray, penalty: float, x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            root = np.sqrt(penalty) * np.eye(x.shape[1])
            root[-1, -1] = 0  # least squares with the penalty as further rows
            return np.linalg.lstsq(np.vstack([x[own], root]), np.append(y[own], np.zeros(len(root))), rcond=None)[0]

        left = []
        for penalty in Ridge.penalties:
            missed = [y[fold_N[b] == k] - x[fold_N[b] == k] @ weights(fold_N[b] != k, penalty) for k in range(5)]
            left.append(np.mean(np.concatenate(missed) ** 2))
        best = Ridge.penalties[int(np.argmin(left))]
        assert ridge.penalty_C[channel] == best
        expected = x @ weights(np.ones(len(b), dtype=bool), best)
        np.testing.assert_allclose(ridge.point(batch).numpy()[b, row, channel], expected, atol=1e-4)


def test_ridge_without_anything_to_learn_falls_back_on_nought():
    """A channel that is noise: the greatest penalties, and answers near the mean."""
    values = np.random.default_rng(3).standard_normal((3000, 1))
    train = windows(values, share=(0.5, 0.5))
    ridge = Ridge(train.task)
    ridge.fit(train)
    assert ridge.penalty_C[0] >= 1000
    mean, std = ridge.predict(train.__getitems__([0, 1]))
    assert float(mean.abs().max()) < 0.3
    assert 0.8 < float(std.mean()) < 1.2


@pytest.mark.parametrize("kind", BASELINES)
def test_no_baseline_reads_what_is_hidden(kind: type, irregular: ImputationWindows):
    model = kind(irregular.task)
    model.fit(irregular)
    batch = irregular.__getitems__([3, 4])
    assert batch.target is not None
    mean, std = model.predict(batch)
    batch.target.fill_(1e6)
    again, spread_again = model.predict(batch)
    assert torch.equal(mean, again)
    assert torch.equal(std, spread_again)
    assert bool((std > 0).all())
