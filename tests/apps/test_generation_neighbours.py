"""What neighbours say of samples, against scikit-learn's neighbours, expectations in closed form and cases by hand."""

import math

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from integrand.apps.generation.metrics import density_coverage, nearest_training, precision_recall
from integrand.core.errors import InputError


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def inside(x: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """Return by scikit-learn whether each x is in each ball, (N, M); its queries of itself leave the row itself out."""
    radii = NearestNeighbors(n_neighbors=k).fit(centres).kneighbors()[0][:, -1]
    found, rows = NearestNeighbors(n_neighbors=len(centres)).fit(centres).kneighbors(x)
    distances = np.empty_like(found)
    np.put_along_axis(distances, rows, found, axis=1)
    return distances <= radii


@pytest.mark.parametrize("k", [1, 3, 7])
def test_counts_are_those_of_neighbours_of_scikit_learn(k: int):
    x, y = 0.7 * normal(40, 3) + 1, normal(60, 3, seed=1)
    of_real, of_generated = inside(x, y, k), inside(y, x, k)
    made = precision_recall(x, y, k=k)
    assert (made.precision, made.recall) == (of_real.any(1).mean(), of_generated.any(1).mean())
    full = density_coverage(x, y, k=k)
    assert full.density == pytest.approx(of_real.sum() / (k * 40), rel=1e-13)
    assert full.coverage == of_real.any(0).mean()
    assert 0.1 < made.precision < 1  # the case decides something
    assert 0.1 < full.coverage < 1


def test_density_and_coverage_of_equal_distributions():
    """Whatever the density: 1, and 1 - prod (M - i) / (N + M - i)."""
    n, m, k = 30, 20, 3
    made = [density_coverage(normal(n, 2, seed=s), normal(m, 2, seed=s + 1000), k=k) for s in range(300)]
    covered = 1 - math.prod((m - i) / (n + m - i) for i in range(1, k + 1))
    for values, truth in (([one.density for one in made], 1), ([one.coverage for one in made], covered)):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / math.sqrt(len(values))


def test_an_outlier_makes_precision_and_not_density():
    """The ball of one real row far away holds all that is generated between: Naeem et al. (2020), Section 3."""
    real = np.concatenate([normal(50, 2), [[100.0, 0]]])
    generated = normal(50, 2, seed=1) + np.array([50, 0])
    assert precision_recall(generated, real).precision == 1
    made = density_coverage(generated, real)
    assert made.density == pytest.approx(1 / 5, rel=1e-13)
    assert made.coverage == 1 / 51


def test_a_lost_mode_costs_recall_and_a_blurred_sample_precision():
    sites = np.repeat([[0.0, 0], [40, 0]], 60, axis=0)
    real = sites + normal(120, 2)
    lost = precision_recall(normal(120, 2, seed=1), real)
    assert lost.recall <= 0.5 < lost.precision
    between = precision_recall(normal(120, 2, seed=1) + np.array([20, 0]), real)
    assert (between.precision, between.recall) == (0, 0)


def test_balls_are_closed_so_that_ties_and_repeated_rows_count():
    """Of four equal rows the third neighbour is at distance 0, and a copy of them within it."""
    real = np.array([[0.1, 0.7]] * 4 + [[5.0, 0], [6, 0], [7, 0], [8, 0]])
    made = precision_recall(np.array([[0.1, 0.7], [0.1, 0.7 + 1e-9]] + [[20.0, 0]] * 3), real, k=3)
    assert made.precision == 1 / 5
    # In units of 1/16, as of images: the distances are equal to the last digit.
    grid = np.arange(5)[:, None] / 16 + 0.0
    assert precision_recall(np.array([[5 / 16], [6 / 16]]), grid, k=1).precision == 0.5


def test_k_must_fit_both_samples():
    with pytest.raises(InputError, match="below the 3 rows of generated, got 3"):
        precision_recall(normal(3, 2), normal(9, 2), k=3)
    with pytest.raises(InputError, match="below the 3 rows of real, got 3"):
        precision_recall(normal(9, 2), normal(3, 2), k=3)
    with pytest.raises(InputError, match="got 0"):
        density_coverage(normal(9, 2), normal(9, 2), k=0)


def test_copies_are_found_and_counted():
    train, real = normal(200, 4), normal(100, 4, seed=1)
    generated = np.concatenate([train[:30], train[:1], normal(19, 4, seed=2)])
    made = nearest_training(generated, train, real)
    assert (made.copies, made.real_copies, made.ratio, made.median) == (31, 0, 0, 0)
    truth = NearestNeighbors(n_neighbors=1).fit(train)
    distances, rows = truth.kneighbors(generated)
    np.testing.assert_allclose(made.distances.numpy(), distances[:, 0], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(made.rows.numpy(), rows[:, 0])
    np.testing.assert_allclose(made.real_distances.numpy(), truth.kneighbors(real)[0][:, 0], rtol=1e-12)
    assert made.real_median == pytest.approx(np.median(truth.kneighbors(real)[0]), rel=1e-13)


def test_near_copies_show_in_the_ratio():
    """Training rows moved by a little are that little away; the unseen rows themselves have ratio 1."""
    train, real = normal(400, 4), normal(300, 4, seed=1)
    step = 0.01 * normal(400, 4, seed=2)
    made = nearest_training(train + step, train, real)
    assert made.copies == 0
    assert made.median == pytest.approx(np.median(np.linalg.norm(step, axis=1)), rel=1e-6)
    assert made.ratio == made.median / made.real_median
    assert nearest_training(real, train, real).ratio == 1


def test_real_rows_that_were_seen_are_refused():
    train = normal(20, 2)
    with pytest.raises(InputError, match="half of the real rows or more are training rows"):
        nearest_training(normal(5, 2, seed=1), train, np.concatenate([train[:5], normal(4, 2, seed=2)]))
