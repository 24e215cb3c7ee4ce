"""Ringdowns solve their equation, at any seed, whatever the number that is drawn."""

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.load_samples import load_samples
from integrand.datasets.synthetic.ringdowns import DAMPING, FREQUENCY, SPAN, ringdowns


def test_without_noise_they_obey_the_recurrence_of_a_damped_oscillation():
    """x_{k+1} = 2 e^{-g h} cos(w h) x_k - e^{-2 g h} x_{k-1}: both numbers, solved for, lie where g and w are drawn."""
    exact = ringdowns(samples=40, noise=0.0)
    assert exact.labels is not None
    h = SPAN / exact.values.shape[2]
    for series, label in zip(exact.values[:, 0].astype(np.float64), exact.labels, strict=True):
        past = np.stack([series[1:-1], series[:-2]], axis=1)
        (p, q), *_ = np.linalg.lstsq(past, series[2:], rcond=None)
        # float32 keeps 6e-8 of each value, and a series that turns slowly tells p from q by a hundredth of them.
        np.testing.assert_allclose(past @ [p, q], series[2:], atol=1e-5)
        g = -np.log(-q) / (2 * h)
        w = np.arccos(p / (2 * np.sqrt(-q))) / h
        low, high = DAMPING[label]
        assert low - 1e-3 <= g <= high + 1e-3
        assert FREQUENCY[0] - 1e-3 <= w <= FREQUENCY[1] + 1e-3


def test_noise_is_what_was_asked_for():
    """The same series with and without: only the noise differs, its deviation known to 1 in sqrt(2 n)."""
    noise = ringdowns(samples=100, noise=0.2).values - ringdowns(samples=100, noise=0.0).values
    assert noise.std() == pytest.approx(0.2, rel=4 / np.sqrt(2 * noise.size))


def test_a_sample_of_a_seed_is_the_same_however_many_are_drawn():
    few, many = load_samples("ringdowns", samples=6, seed=3), load_samples("ringdowns", samples=9, seed=3)
    np.testing.assert_array_equal(few.values, many.values[:6])
    assert not np.array_equal(few.values, ringdowns(samples=6, seed=4).values)
    assert many.labels is not None
    assert many.labels.tolist() == [0, 1] * 4 + [0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"samples": 0}, "series=0 is out of range"),
        ({"points": 3}, "points=3 is out of range"),
        ({"noise": -1.0}, "noise=-1"),
        ({"noise": float("nan")}, "noise=nan"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict, told: str):
    with pytest.raises(InputError, match=told):
        ringdowns(**options)
