"""Made series: closed forms, transitions of known law, scipy's solutions, and how they are sampled.

A statistic of n draws is held to four standard errors of its known value, which one in 16,000 true ones exceeds.
"""

import importlib
import math

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.optimize import curve_fit
from scipy.stats import kstest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import CATALOGUE
from integrand.datasets.load_samples import SIGNALS
from integrand.datasets.synthetic.brusselator import brusselator, solve_brusselator
from integrand.datasets.synthetic.damped_oscillators import damped_oscillators
from integrand.datasets.synthetic.ornstein_uhlenbeck import ornstein_uhlenbeck
from integrand.datasets.synthetic.periodic import periodic
from integrand.datasets.synthetic.sampling import observe, streams, uniform_times
from integrand.datasets.synthetic.spirals import spirals
from integrand.datasets.tables import Table

MADE = {
    "periodic": periodic,
    "spirals": spirals,
    "damped_oscillators": damped_oscillators,
    "ornstein_uhlenbeck": ornstein_uhlenbeck,
    "brusselator": brusselator,
}
SINGLE = float(np.finfo(np.float32).eps)


def within(found: ArrayLike, known: float, deviation: float, count: int) -> None:
    """Hold the mean of ``count`` draws of a known deviation to four standard errors."""
    assert abs(float(np.mean(np.asarray(found))) - known) < 4 * deviation / math.sqrt(count)


def test_the_catalogue_makes_each():
    made = (entry for name, entry in CATALOGUE.items() if entry.synthetic and name not in SIGNALS)
    entries = {entry.name: entry for entry in made if (entry.loader or "").endswith(f":{entry.name}")}  # tables
    assert entries.keys() == MADE.keys()
    for name, entry in entries.items():
        module, _, function = str(entry.loader).partition(":")
        found = importlib.import_module(module)
        assert getattr(found, function) is MADE[name]
        table = MADE[name](2)
        assert table.channels == list(found.UNITS) == list(found.TARGETS)


@pytest.mark.parametrize("name", MADE)
def test_a_series_depends_on_its_seed_and_number_alone(name: str):
    """However many are asked for, and whatever was drawn before."""
    make = MADE[name]

    def flat(table: Table) -> list[np.ndarray]:
        return [np.concatenate([one.times[:, None], one.values], axis=1) for one in table.series]

    few, more, other = flat(make(3)), flat(make(7)), flat(make(3, seed=1))
    for one, same, different in zip(few, more, other, strict=False):
        np.testing.assert_array_equal(one, same)
        assert one.shape != different.shape or not np.array_equal(one, different, equal_nan=True)
    assert not np.array_equal(few[0][:2, 0], few[1][:2, 0])


@pytest.mark.parametrize("name", MADE)
def test_each_is_a_table_of_many_irregular_series(name: str):
    table = MADE[name](12, span=3.0)
    assert [one.group for one in table.series] == [str(i) for i in range(12)]
    assert (table.time_unit, table.epoch, table.group_column) == ("1", None, "series")
    for one in table.series:
        assert one.values.dtype == np.float32
        assert np.isfinite(one.values).any(1).all()
        assert 0 <= one.times[0] < one.times[-1] < 3
        assert (np.diff(one.times) > 0).all()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (periodic, {"series": 0}, "series=0 is out of range: ask for at least 1"),
        (periodic, {"seed": -1}, "seed=-1"),
        (periodic, {"points": 1}, "points=1 is out of range: at least 2"),
        (periodic, {"points": (9, 3)}, r"points=\(9, 3\) .* lower bound first"),
        (periodic, {"span": 0.0}, "span=0.0 is out of range: it must be positive"),
        (periodic, {"noise": -1.0}, "noise=-1.0"),
        (periodic, {"frequency": (0.8, 0.4)}, r"frequency=\(0.8, 0.4\)"),
        (spirals, {"span": 10.0}, "at most 3 pi"),
        (damped_oscillators, {"frequency": (0.0, 1.0)}, "frequencies must be positive"),
        (damped_oscillators, {"damping": (-0.1, 1.0)}, "damping"),
        (ornstein_uhlenbeck, {"rate": 0.0}, "rate=0.0"),
        (ornstein_uhlenbeck, {"correlation": 1.5}, "correlation=1.5"),
        (ornstein_uhlenbeck, {"together": 1.5}, "together=1.5 is out of range: a share"),
        (brusselator, {"a": 0.0}, "a=0.0"),
    ],
)
def test_options_out_of_range_are_refused(make, options, words: str):
    with pytest.raises(InputError, match=words) as caught:
        make(**{"series": 2} | options)
    assert "\n" not in str(caught.value)


def test_times_are_uniform_and_counts_too():
    drawn = [uniform_times(one, (5, 8), 2.5) for one in streams(4000, 0)]
    assert kstest(np.concatenate(drawn) / 2.5, "uniform").pvalue > 1e-4
    counts = np.bincount([len(times) for times in drawn], minlength=9)[5:]
    for count in counts:
        within(count / 4000, 0.25, math.sqrt(0.25 * 0.75), 4000)
    # Gaps of n uniform times have the mean 1 / (n + 1) of the span.
    gaps = np.concatenate([np.diff(uniform_times(one, 9, 1.0)) for one in streams(4000, 1)])
    within(gaps, 0.1, math.sqrt(0.1 * 0.9 / 11), 4000)


def test_noise_and_the_channels_seen():
    (generator,) = streams(1, 0)
    truth = np.tile([1.0, -2.0, 5.0], (40_000, 1))
    seen = observe(generator, truth, noise=0.5, together=0.25)
    there = np.isfinite(seen)
    assert set(there.sum(1)) == {1, 3}
    within(there.all(1), 0.25, math.sqrt(0.25 * 0.75), 40_000)
    for channel in range(3):
        within(there[:, channel], 0.25 + 0.75 / 3, 0.5, 40_000)
        error = (seen - truth)[there[:, channel], channel]
        within(error, 0.0, 0.5, len(error))
        within(error**2, 0.25, 0.25 * math.sqrt(2), len(error))
    np.testing.assert_array_equal(observe(generator, truth, noise=0.0), truth)


def test_periodic_is_the_sine_it_says():
    table = periodic(3, frequency=(0.5, 0.5), amplitude=(2.0, 2.0), level=0.0, noise=0.0)
    for one in table.series:
        np.testing.assert_allclose(one.values[:, 0], 2 * np.sin(np.pi * one.times), atol=2 * SINGLE)


def test_periodic_draws_frequency_amplitude_and_level():
    found = []
    for one in periodic(200, amplitude=(0.5, 1.5), noise=0.0).series:

        def wave(t, f, a, c):
            return c + a * np.sin(2 * np.pi * f * t)

        guesses = [curve_fit(wave, one.times, one.values[:, 0], p0=(f, 1.0, 0.0))[0] for f in (0.45, 0.6, 0.75)]
        best = min(guesses, key=lambda p: np.abs(wave(one.times, *p) - one.values[:, 0]).max())
        assert np.abs(wave(one.times, *best) - one.values[:, 0]).max() < 1e-5
        found.append(best)
    f, a, c = np.array(found).T
    assert kstest((f - 0.4) / 0.4, "uniform").pvalue > 1e-4
    assert kstest(a - 0.5, "uniform").pvalue > 1e-4
    assert kstest(c / 0.1, "norm").pvalue > 1e-4


def test_spirals_are_the_two_spirals_run_through_at_unit_speed():
    span = 1.2 * math.pi
    clockwise = []
    for one in spirals(400, points=20, noise=0.0).series:
        x, y = one.values.astype(np.float64).T
        fits = []
        for centre, angle in ((5, np.hypot(x - 5, y) / 0.3), (-5, 15 / np.hypot(x + 5, y))):
            # The radius tells the angle, and up to whole turns that is the angle of the point itself.
            off = 1 - np.cos(np.arctan2(y, x - centre) - angle).min()
            fits.append((off, angle))
        (good, angle), (bad, _) = sorted(fits, key=lambda fit: fit[0])
        assert good < 1e-5 < 1e-2 < bad
        clockwise.append(good == fits[1][0])
        run = 6 * math.pi + 1 - angle if clockwise[-1] else angle
        np.testing.assert_allclose(run - run[0], one.times - one.times[0], atol=1e-4)
        assert span - 1e-4 <= run[0] - one.times[0] <= 6 * math.pi - span + 1e-4
    within(np.array(clockwise), 0.5, 0.5, 400)


def test_an_oscillator_solves_its_equation():
    """Fitted by the two solutions of the equation, then solved by scipy from what the fit says of its start."""
    w, g, starts = 1.3, 0.15, []
    for k, one in enumerate(damped_oscillators(300, frequency=(w, w), damping=(g, g), noise=0.0).series):
        basis = np.exp(-g * one.times)[:, None] * np.stack([np.cos(w * one.times), np.sin(w * one.times)], axis=1)
        (c, s), *_ = np.linalg.lstsq(basis, one.values[:, 0].astype(np.float64), rcond=None)
        starts.append((c, w * s - g * c))
        if k < 5:
            solved = solve_ivp(
                lambda t, z: [z[1], -2 * g * z[1] - (w**2 + g**2) * z[0]],
                (0, 20),
                starts[-1],
                t_eval=one.times,
                rtol=1e-10,
                atol=1e-12,
                method="DOP853",
            )
            np.testing.assert_allclose(one.values[:, 0], solved.y[0], atol=10 * SINGLE)
    for start in np.array(starts).T:
        assert kstest(start, "norm").pvalue > 1e-4


def law(t: np.ndarray, m: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the process from 0, at rate 0.7 and volatility 0.4."""
    return m * (1 - np.exp(-0.7 * t)), 0.4 * np.sqrt((1 - np.exp(-1.4 * t)) / 1.4)


def test_ornstein_uhlenbeck_has_its_mean_variance_and_autocovariance():
    count = 4000
    table = ornstein_uhlenbeck(
        count,
        points=3,
        span=4.0,
        rate=0.7,
        volatility=0.4,
        correlation=0.6,
        means=(2.0, -1.0),
        spread=0.0,
        together=1.0,
    )
    t_NL = np.stack([one.times for one in table.series])
    x_NLC = np.stack([one.values for one in table.series]).astype(np.float64)
    z = []
    for channel, m in enumerate((2.0, -1.0)):
        mean, deviation = law(t_NL, m)
        z.append((x_NLC[..., channel] - mean) / deviation)
        for place in range(3):
            assert kstest(z[-1][:, place], "norm").pvalue > 1e-4
            within(z[-1][:, place], 0.0, 1.0, count)
            within(z[-1][:, place] ** 2, 1.0, math.sqrt(2), count)
        # cov(X_s, X_t) = s^2 / 2r (exp(-r (t - s)) - exp(-r (t + s))) = exp(-r (t - s)) var X_s.
        for s, t in ((0, 1), (0, 2), (1, 2)):
            lag = np.exp(-0.7 * (t_NL[:, t] - t_NL[:, s])) * deviation[:, s] / deviation[:, t]
            product = z[-1][:, s] * z[-1][:, t] - lag
            within(product, 0.0, math.sqrt(2), count)  # a product of two standard normals varies by 1 + lag^2 <= 2
    within(z[0] * z[1], 0.6, math.sqrt(1 + 0.36), count)  # three dependent products each: no fewer than count


def test_ornstein_uhlenbeck_draws_its_means_and_starts_at_nothing():
    """Without noise of its own the process is m (1 - exp(-t)), which tells m."""
    table = ornstein_uhlenbeck(2000, points=4, volatility=0.0, together=1.0)
    m = np.stack([one.values[-1] / (1 - np.exp(-one.times[-1])) for one in table.series])
    for column, centre in zip(m.T, (1.0, -1.0), strict=True):
        assert kstest(column - centre + 0.5, "uniform").pvalue > 1e-4
    for one, ends in zip(table.series, m, strict=True):
        np.testing.assert_allclose(one.values, np.outer(1 - np.exp(-one.times), ends), atol=1e-5)


def jacobian(a: float, b: float) -> np.ndarray:
    """The derivative of the Brusselator's field at its steady state (1, b / a), by hand."""
    return np.array([[b - 1, a], [-b, -a]])


@pytest.mark.parametrize("b", [1.2, 1.4], ids=["falls back", "grows"])
def test_brusselator_near_its_steady_state_is_linear(b: float):
    """A small deviation d follows exp(J t) d, up to its square, on either side of the bifurcation at b = 1.3."""
    a, d, t = 0.3, 1e-5, np.linspace(0.0, 20.0, 9)
    start = np.array([[1.0 + d, b / a]])
    (found,) = solve_brusselator(start, [t], a=a, b=b, tolerance=1e-12)
    linear = np.stack([expm(jacobian(a, b) * now) @ [d, 0.0] for now in t])
    np.testing.assert_allclose(found - [1.0, b / a], linear, atol=1e-3 * d)
    assert (np.trace(jacobian(a, b)) > 0) == (b > 1.3)


def reference(start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The Brusselator at a = 0.3, b = 1.4 from scipy, (L, 2)."""

    def field(t: float, z: np.ndarray) -> list[float]:
        x, y = z
        return [1 - 2.4 * x + 0.3 * x * x * y, 1.4 * x - 0.3 * x * x * y]

    return solve_ivp(field, (0, 50), start, t_eval=times, rtol=1e-12, atol=1e-12, method="DOP853").y.T


def test_brusselator_is_that_of_scipy_and_converges_with_its_tolerance():
    """The error of a method that controls it falls in proportion to the tolerance."""
    rng = np.random.default_rng(0)
    starts = np.array([1.0, 1.4 / 0.3]) + 0.3 * rng.standard_normal((3, 2))
    times = [np.sort(rng.uniform(0, 50, size)) for size in (30, 20, 25)]
    expected = [reference(start, t) for start, t in zip(starts, times, strict=True)]
    errors = []
    for tolerance in (1e-5, 1e-7, 1e-9):
        found = solve_brusselator(starts, times, a=0.3, b=1.4, tolerance=tolerance)
        errors.append(max(np.abs(f - e).max() for f, e in zip(found, expected, strict=True)))
    # At the tolerance used less than a table can tell: concentrations above 4 are stored in steps of 4.8e-7.
    assert errors[-1] < np.spacing(np.float32(4))
    slope = np.polyfit([-5, -7, -9], np.log10(errors), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.1)


def test_brusselator_starts_about_its_steady_state_and_is_seen_as_told():
    table = brusselator(400)
    counts = np.array([len(one.times) for one in table.series])
    assert (counts.min(), counts.max()) == (20, 30)
    there = np.concatenate([np.isfinite(one.values) for one in table.series])
    within(there.all(1), 0.8, 0.4, len(there))
    within(there[~there.all(1), 0], 0.5, 0.5, int((~there.all(1)).sum()))
    # What is seen lies on solutions: from the first full row on, scipy passes through all others.
    (one,) = brusselator(1, points=12, together=1.0).series
    again = reference(one.values[0].astype(np.float64), one.times - one.times[0])
    np.testing.assert_allclose(one.values, again, atol=1e-5)
