"""The baselines against answers known from elsewhere: tables written by hand, a linear law, numpy's least squares."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from integrand.apps.timeseries.forecasting.baselines import (
    Binned,
    Persistence,
    Ridge,
    SeasonalNaive,
    chunks,
    on_grid,
    spread_by_lead,
)
from integrand.datasets.forecasting import ForecastTask, ForecastWindows
from integrand.datasets.splits import ChronologicalSplit
from integrand.datasets.tables import Series, Table

NAN = np.nan


def windows(
    values: np.ndarray,
    *,
    context: float,
    horizon: float,
    periods: tuple[float, ...] = (),
    targets: int | None = None,
    test: float | None = None,
    part: str = "train",
    drop: tuple[float, float] = (0.0, 0.0),
) -> ForecastWindows:
    """Windows of one hourly series (L, C), unstandardised; the first ``test`` hours but two are for training."""
    length, channels = values.shape
    names = [f"c{i}" for i in range(channels)]
    table = Table(
        [Series("all", np.arange(length, dtype=float), values=values.astype(np.float32))],
        names,
        time_unit="h",
        epoch=None,
        timezone=None,
        time_column="t",
        layout="wide",
        group_column=None,
        notices=[],
    )
    task = ForecastTask(
        channels=names,
        targets=targets or channels,
        units=[""] * channels,
        time_unit="h",
        context=context,
        horizon=horizon,
        resolution=1.0,
        periods=list(periods),
        groups=[],
        location=[0.0] * channels,
        scale=[1.0] * channels,
    )
    end = test if test is not None else float(length)
    split = ChronologicalSplit(0.0, end, end + 1e-6, max(length, end + 1) + 1e-3, {})
    return ForecastWindows(table, task, split, part, drop=drop)


def task_of(data: ForecastWindows) -> ForecastTask:
    return data.windows.task


# The naive forecasts, on tables whose answers can be read off


def test_persistence_repeats_the_last_observation_and_the_mean_without_one():
    values = np.array([[1.0, NAN], [2, NAN], [NAN, NAN], [NAN, NAN], [7, 8], [9, 8], [1, 1]])
    data = windows(values, context=3, horizon=2)
    assert data.windows.origins.tolist() == [3.0, 4.0]
    binned = Binned(data.__getitems__([0, 1]), task_of(data))
    point = Persistence(task_of(data)).point(binned)
    # From hour 3, the first channel was last seen at hour 1 (2.0), the second never: 0, the mean. From hour 4: 7 and 8.
    assert point[0].tolist() == [[2.0, 0.0], [2.0, 0.0]]
    assert point[1].tolist() == [[7.0, 8.0], [7.0, 8.0]]


def test_seasonal_naive_looks_one_period_back():
    values = np.arange(12.0)[:, None]
    data = windows(values, context=4, horizon=3, periods=(3.0,))
    origin = int(data.windows.origins[0])
    point = SeasonalNaive(task_of(data)).point(Binned(data.__getitems__([0]), task_of(data)))
    # Three hours before origin + 1, + 2, + 3.
    assert point[0, :, 0].tolist() == [origin - 2.0, origin - 1.0, float(origin)]


def test_seasonal_naive_takes_whole_periods_for_long_leads_and_the_last_value_before_a_gap():
    values = np.arange(12.0)[:, None]
    data = windows(values, context=4, horizon=5, periods=(2.0,))
    origin = int(data.windows.origins[0])
    task = task_of(data)
    point = SeasonalNaive(task).point(Binned(data.__getitems__([0]), task))
    assert point[0, :, 0].tolist() == [origin - 1.0, float(origin)] * 2 + [origin - 1.0]
    values[origin - 1] = NAN
    gappy = windows(values, context=4, horizon=5, periods=(2.0,))
    point = SeasonalNaive(task).point(Binned(gappy.__getitems__([0]), task))
    assert point[0, :, 0].tolist() == [origin - 2.0, float(origin)] * 2 + [origin - 2.0]


def test_a_periodic_series_is_forecast_exactly_by_the_seasonal_naive():
    hours = np.arange(120)
    values = np.stack([np.sin(2 * np.pi * hours / 6), np.cos(2 * np.pi * hours / 6)], axis=1)
    data = windows(values, context=12, horizon=6, periods=(6.0,))
    baseline = SeasonalNaive(task_of(data))
    baseline.fit(data)
    batch = data.__getitems__(list(range(20)))
    mean, std = baseline.predict(batch)
    assert batch.target is not None
    np.testing.assert_allclose(mean, batch.target, atol=1e-6)
    assert float(std.max()) < 1e-5


def test_queries_between_the_hours_take_the_nearest_lead():
    data = windows(np.arange(30.0)[:, None], context=4, horizon=3, periods=(3.0,))
    batch = data.__getitems__([0])
    assert batch.target_times is not None
    moved = replace(batch, target_times=batch.target_times + torch.tensor([[-0.4, 0.4, 0.0]]))
    np.testing.assert_array_equal(Binned.lead_of(moved, task_of(data)), Binned.lead_of(batch, task_of(data)))


# The spread


def test_the_spread_of_gaussian_errors_is_their_deviation_and_covers_what_it_should():
    rng = np.random.default_rng(0)
    std = np.array([[0.5, 2.0], [1.0, 3.0]])  # by lead and channel
    errors = rng.standard_normal((20_000, 2, 2)) * std
    known = rng.random(errors.shape) < 0.8
    found = spread_by_lead(np.where(known, errors, 1e9), known)
    # The deviation is known to 1 / sqrt(2 * 16,000) = 0.6 %; the scale is chosen on a grid of 0.05, from a flat score.
    np.testing.assert_allclose(found, std, rtol=0.06)
    fresh = rng.standard_normal((20_000, 2, 2)) * std
    covered = (np.abs(fresh) <= 1.6448536 * found).mean()
    assert covered == pytest.approx(0.9, abs=0.02)


def test_heavy_tails_are_given_a_narrower_spread():
    # The score of a Gaussian forecast of Laplace errors is best below their deviation: with b = 1, sqrt(2).
    errors = np.random.default_rng(0).laplace(size=(40_000, 1, 1))
    (found,) = spread_by_lead(errors, np.ones(errors.shape, dtype=bool)).ravel()
    assert found < 0.95 * np.sqrt(2)


# The ridge


def linear_series(length: int, noise: float, seed: int) -> np.ndarray:
    """x_{t+1} = A x_t + noise: two coupled channels whose best forecast h hours ahead is A^h x_t."""
    rng = np.random.default_rng(seed)
    x = np.zeros((length, 2))
    for t in range(1, length):
        x[t] = LAW @ x[t - 1] + noise * rng.standard_normal(2)
    return x


LAW = np.array([[0.8, 0.3], [-0.3, 0.8]])


def test_the_ridge_recovers_a_linear_law():
    series = linear_series(6000, 1.0, 0)
    data = windows(series, context=3, horizon=2, test=5000.0)
    ridge = Ridge(task_of(data))
    ridge.fit(data)
    test = windows(series, context=3, horizon=2, test=5000.0, part="test")
    batch = test.__getitems__(list(range(len(test))))
    mean, std = ridge.predict(batch)
    assert batch.target is not None
    now = series[test.windows.origins.astype(int)]
    best = np.stack([now @ LAW.T, now @ LAW.T @ LAW.T], axis=1)
    # Least squares on n = 5,000 windows with F = 15 features errs about the law by sqrt(F / n) = 5 % of the noise.
    assert np.sqrt(np.mean((mean.numpy() - best) ** 2)) < 0.1
    # The law leaves noise of variance 1 an hour ahead, and 1 + |A|^2 = 1.73 two hours ahead.
    error = mean.numpy() - batch.target.numpy()
    np.testing.assert_allclose((error**2).mean((0, 2)), [1.0, 1.73], rtol=0.12)
    np.testing.assert_allclose(std[0].numpy(), np.sqrt([[1.0, 1.0], [1.73, 1.73]]), rtol=0.08)
    assert (np.abs(error) <= 1.6448536 * std.numpy()).mean() == pytest.approx(0.9, abs=0.03)
    # Persistence leaves |A - I|^2 of the series' variance more, which is 1 / (1 - 0.73) = 3.7 a channel.
    persistence = Persistence(task_of(data))
    persistence.fit(data)
    naive = persistence.predict(batch)[0].numpy() - batch.target.numpy()
    assert (naive**2).mean((0, 2))[0] == pytest.approx(1 + 0.13 / 0.27, rel=0.15)
    assert (error**2).mean() < 0.75 * (naive**2).mean()


def design(ridge: Ridge, data: ForecastWindows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The standardised features, targets and mask the fit is of, in float64."""
    x, y, m = [], [], []
    for _, batch in chunks(data, ridge.epochs):
        binned = Binned(batch, ridge.task)
        values, mask = on_grid(batch, binned.lead, binned.leads)
        x.append(ridge.features(batch, binned))
        y.append(values.reshape(len(values), -1))
        m.append(mask.reshape(len(mask), -1))
    features = (np.concatenate(x).astype(float) - ridge.mean) / ridge.deviation
    return features, np.concatenate(y).astype(float), np.concatenate(m)


def solved(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Predictions of the ridge with a free bias, by numpy's least squares on rows added for the penalty."""
    center, level = x.mean(0), y.mean()
    rows = np.concatenate([x - center, np.sqrt(penalty) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(rows, np.concatenate([y - level, np.zeros(x.shape[1])]), rcond=None)[0]
    return (x - center) @ weights + level


def test_without_gaps_it_is_the_ridge_of_numpy():
    data = windows(linear_series(900, 1.0, 1), context=6, horizon=3, drop=(0.2, 0.4))
    ridge = Ridge(task_of(data))
    ridge.fit(data)
    x, y, m = design(ridge, data)
    assert m.all()
    got = x @ ridge.weights + ridge.bias
    for column in range(y.shape[1]):
        expected = solved(x, y[:, column], ridge.penalty_K[column % 2])
        np.testing.assert_allclose(got[:, column], expected, atol=2e-3)  # float32 sums, deviation 2


def test_with_gaps_it_comes_to_the_regression_on_what_was_observed():
    rng = np.random.default_rng(4)
    series = linear_series(1500, 1.0, 2)
    series[rng.random(series.shape) < 0.15] = NAN
    data = windows(series, context=6, horizon=3)
    ridge = Ridge(task_of(data))
    ridge.penalties, ridge.imputations = (30.0,), 60  # one penalty, and as many rounds as it takes
    ridge.fit(data)
    x, y, m = design(ridge, data)
    assert 0.8 < m.mean() < 0.9
    got = x @ ridge.weights + ridge.bias
    three = Ridge(task_of(data))
    three.penalties = (30.0,)
    three.fit(data)
    as_shipped = x @ three.weights + three.bias
    for column in range(y.shape[1]):
        seen = m[:, column]
        center = x.mean(0)
        # min sum over the observed of (y - w x - b)^2 + penalty |w|^2, the bias free
        a = np.concatenate([x - center, np.ones((len(x), 1))], axis=1)
        gram = a[seen].T @ a[seen] + np.diag([30.0] * x.shape[1] + [0.0])
        expected = a @ np.linalg.solve(gram, a[seen].T @ y[seen, column])
        np.testing.assert_allclose(got[:, column], expected, atol=5e-3)
        # Each round leaves the missing share of the distance, 0.15: three leave 0.3 % of the deviation of 2, and what
        # the first guess of the bias adds.
        assert np.sqrt(np.mean((as_shipped[:, column] - expected) ** 2)) < 0.02


def test_nothing_is_learned_from_the_test_part():
    series = linear_series(900, 1.0, 3)
    edited = series.copy()
    edited[700:] = 1e3 * np.random.default_rng(0).standard_normal(edited[700:].shape)
    for kind in (Persistence, SeasonalNaive, Ridge):
        fitted = []
        for values in (series, edited):
            data = windows(values, context=6, horizon=3, test=700.0)
            baseline = kind(task_of(data))
            baseline.fit(data)
            fitted.append(baseline)
        np.testing.assert_array_equal(fitted[0].std_HK, fitted[1].std_HK)
        if kind is Ridge:
            np.testing.assert_array_equal(fitted[0].weights, fitted[1].weights)
            np.testing.assert_array_equal(fitted[0].bias, fitted[1].bias)
            np.testing.assert_array_equal(fitted[0].penalty_K, fitted[1].penalty_K)


@pytest.mark.parametrize(("length", "scored"), [(40, {0, 1, 3, 4}), (20, set())], ids=["some blocks", "none"])
def test_a_series_too_short_to_cross_validate_every_block_is_still_fitted(length: int, scored: set[int]):
    """Context and horizon reach 12 hours beyond each block: the middle one of 28 hours (10.8 to 16.2) is left none."""
    rng = np.random.default_rng(0)
    data = windows(rng.normal(size=(length, 1)), context=8, horizon=4)
    tau = data.windows.origins
    edges = np.linspace(tau.min(), tau.max(), 6)
    assert {k for k in range(5) if tau.min() <= edges[k] - 12 or tau.max() >= edges[k + 1] + 12} == scored
    ridge = Ridge(task_of(data))
    ridge.fit(data)
    mean, std = ridge.predict(data.windows.batch(np.arange(len(data))))
    assert bool(mean.isfinite().all())
    assert bool((std > 0).all())
    if not scored:
        assert ridge.penalty_K == Ridge.penalties[-1:]


def test_the_penalty_grows_with_what_cannot_be_forecast():
    noise = np.random.default_rng(5).standard_normal((800, 2))
    data = windows(noise, context=6, horizon=3)
    ridge = Ridge(task_of(data))
    ridge.fit(data)
    assert (ridge.penalty_K >= 1e4).all()
    law = windows(linear_series(800, 1.0, 5), context=6, horizon=3)
    ridge = Ridge(task_of(law))
    ridge.fit(law)
    assert (ridge.penalty_K <= 1e3).all()
