"""Densities in the plane: samples against published recipes, densities against other quadratures, and one by the other.

A test of Kolmogorov and Smirnov fails below a probability of 1e-4, and a mean beyond four standard errors.
"""

import copy
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.interpolate import CubicSpline
from scipy.special import log_ndtr, logsumexp
from scipy.stats import chisquare, ks_1samp, ks_2samp, norm
from sklearn.datasets import make_circles, make_moons, make_swiss_roll

from integrand.core.errors import InputError
from integrand.datasets.densities import DENSITIES, density, sampled
from integrand.datasets.synthetic.planar.density import Density
from integrand.datasets.synthetic.planar.smeared_moons import SmearedMoons

Array = np.ndarray
EXACT = [name for name in DENSITIES if density(name).exact]
SMOOTH = [name for name in EXACT if name not in ("checkerboard", "smeared_moons")]
LEVEL = 1e-4
CHEAPER = {"two_spirals": {"noise": 0.2}}
"""Numbers for which a sum over a grid takes seconds less."""
ENTROPIES = {  # nats; of the others nobody prints one
    "ring": 2.832,
    "moons": 1.0076,
    "checkerboard": 3.676,
    "smeared_moons": 2.048,
}


def ring(rng: np.random.Generator, n: int) -> Array:
    angle = rng.integers(8, size=n) * math.pi / 4
    return (4 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.5 * rng.standard_normal((n, 2))) / 1.414


def eight_gaussians(rng: np.random.Generator, n: int) -> Array:
    """By torch, whose argument is a covariance."""
    torch.manual_seed(int(rng.integers(2**31)))
    noise = torch.distributions.MultivariateNormal(torch.zeros(2), math.sqrt(0.1) * torch.eye(2)).sample((n,))
    angle = rng.integers(8, size=n) * math.pi / 4
    return 5 * np.stack([np.cos(angle), np.sin(angle)], 1) + noise.numpy()


def moons(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(make_moons(n, noise=0.1, random_state=int(rng.integers(2**31)))[0])


def smeared_moons(rng: np.random.Generator, n: int) -> Array:
    """One number for both coordinates, after scikit-learn's arcs without noise."""
    return 3 * (make_moons(n)[0] + 0.2 * rng.random((n, 1))) - 1


def checkerboard(rng: np.random.Generator, n: int) -> Array:
    x = rng.random(n) * 4 - 2
    return np.stack([x, rng.random(n) - 2 * rng.integers(2, size=n) + np.floor(x) % 2], 1) / 0.45


def pinwheel(rng: np.random.Generator, n: int) -> Array:
    noise = rng.standard_normal((n, 2)) * [0.3, 0.1] + [1, 0]
    angle = 2 * np.pi / 5 * rng.integers(5, size=n) + 0.25 * np.exp(noise[:, 0])
    turned = (noise[:, 0] + 1j * noise[:, 1]) * np.exp(-1j * angle)
    return 2 * np.stack([turned.real, turned.imag], 1)


def swiss_roll(rng: np.random.Generator, n: int) -> Array:
    return make_swiss_roll(n, noise=1.0, random_state=int(rng.integers(2**31)))[0][:, [0, 2]] / 5


def rings(rng: np.random.Generator, n: int) -> Array:
    """Two pairs of circles, of radii 1 and 3/4, 1/2 and 1/4, in threefold size."""
    pairs = make_circles(n // 2, factor=0.75)[0], np.asarray(make_circles(n // 2, factor=0.5)[0]) / 2
    return 3 * np.concatenate(pairs) + 0.08 * rng.standard_normal((n // 2 * 2, 2))


def two_spirals(rng: np.random.Generator, n: int) -> Array:
    a = np.sqrt(rng.random((n, 1))) * 540 * (2 * np.pi) / 360
    one = np.hstack([-np.cos(a) * a + 0.5 * rng.random((n, 1)), np.sin(a) * a + 0.5 * rng.random((n, 1))])
    return one * rng.choice([-1, 1], (n, 1)) / 3 + 0.1 * rng.standard_normal((n, 2))


RECIPES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "ring": ring,
    "eight_gaussians": eight_gaussians,
    "moons": moons,
    "smeared_moons": smeared_moons,
    "checkerboard": checkerboard,
    "pinwheel": pinwheel,
    "swiss_roll": swiss_roll,
    "rings": rings,
    "two_spirals": two_spirals,
}
DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 0.3]])


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_are_those_of_the_published_recipe(name: str):
    """Along five directions and from the origin."""
    ours, theirs = density(name).sample(20_000, seed=3), RECIPES[name](np.random.default_rng(4), 20_000)
    for direction in DIRECTIONS:
        assert likely(ks_2samp(ours @ direction, theirs @ direction))
    assert likely(ks_2samp(np.linalg.norm(ours, axis=1), np.linalg.norm(theirs, axis=1)))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_smooth_density_has_mass_one_and_its_samples_marginals(name: str):
    """By sums over a grid, which for such densities are exact to rounding, and splines between the grid's lines."""
    one = density(name, **CHEAPER.get(name, {}))
    points, area = one.grid()
    values = np.exp(one.log_density(points)) * area
    assert values.sum() == pytest.approx(1, abs=1e-12)
    for axis, draws in enumerate(one.sample(20_000, seed=1).T):
        lines, at = np.unique(points[:, axis], return_inverse=True)
        marginal = np.bincount(at, values) / (lines[1] - lines[0])
        assert likely(ks_1samp(draws, CubicSpline(lines, marginal).antiderivative()))


def test_the_checkerboard_is_uniform_on_its_squares():
    board = density("checkerboard", side=2.0)
    middles = (np.arange(-40, 40) + 0.5) / 10  # 20 of each square, none on an edge
    points = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    logs = board.log_density(points)
    assert np.exp(logs).sum() / 100 == pytest.approx(1, abs=1e-12)
    assert np.isneginf(board.log_density(np.array([[-0.5, 0.5], [4.1, 0.5], [0.5, -4.1]]))).all()
    draws = board.sample(20_000)
    assert np.isfinite(board.log_density(draws)).all()
    squares, counts = np.unique(np.floor(draws / 2), axis=0, return_counts=True)
    assert len(squares) == 8
    assert likely(chisquare(counts))
    for axis in (0, 1):
        assert likely(ks_1samp(draws[:, axis] / 2 % 1, lambda x: x))


def test_the_smeared_moons_have_mass_one_and_their_samples_marginal():
    """Over lines along the diagonal; across them the poles at both ends go with s = middle - half cos g.

    Midpoints err by half a line at each of the four ends of arcs, where a line has less than half its width
    of mass, and by far less along the lines, in which the ends of pieces are rounded up as often as down.
    """
    one, scale = density("smeared_moons"), 3.0
    low, high = -1.0, 1 + 0.5 / math.sqrt(2)
    lines, along = 4000, 400
    g = (np.arange(lines) + 0.5) * math.pi / lines
    s = (low + high) / 2 - (high - low) / 2 * np.cos(g)
    t, step = np.linspace(-1.2, 2.6, along, retstep=True)
    z = np.stack(np.broadcast_arrays(s[:, None] + t, t - s[:, None]), -1) / math.sqrt(2)
    p = np.exp(one.log_density((scale * z - 1).reshape(-1, 2))).reshape(lines, along) * scale**2
    weight = (high - low) / 2 * np.sin(g) * math.pi / lines
    across = p.sum(1) * step * weight
    assert across.sum() == pytest.approx(1, abs=4 * 0.5 * 0.5 * weight.max())
    draws = (one.sample(20_000) + 1) / 3
    cumulated = np.concatenate([[0.0], np.cumsum(across)])
    edges = (low + high) / 2 - (high - low) / 2 * np.cos(np.arange(lines + 1) * math.pi / lines)
    found = ks_1samp((draws[:, 0] - draws[:, 1]) / math.sqrt(2), lambda at: np.interp(at, edges, cumulated))
    assert likely(found)


def test_where_an_arc_folds_back_two_sheets_count():
    """The two points of the upper arc before and after the fold, (cos a, sin a) with a = 3 pi / 4 -+ 0.05."""
    one = density("smeared_moons")
    a = 0.75 * math.pi - 0.05
    before, after = (np.array([math.cos(x), math.sin(x)]) for x in (a, 1.5 * math.pi - a))
    assert before - before.mean() == pytest.approx(after - after.mean(), abs=1e-12)  # on one line along the diagonal
    sheet = 1 / (2 * math.pi * 0.2 * 9 * abs(math.cos(a) + math.sin(a)))
    alone = after + 0.01, before + 0.19
    both = before + 0.01
    for z, count in ((alone[0], 1), (alone[1], 1), (both, 2)):
        assert math.exp(one.log_density(3 * z[None] - 1)[0]) == pytest.approx(count * sheet, rel=1e-9)


@pytest.mark.parametrize("n", [2, 7, 500])
def test_the_smeared_moons_as_published_lie_on_scikit_learns_arcs(n: int):
    """All but the shift: one number for both coordinates, uniform in (0, 0.2)."""
    one = density("smeared_moons")
    assert isinstance(one, SmearedMoons)
    values, labels = one.as_published(n, seed=4)
    arcs, parts = make_moons(n, shuffle=False)
    shift = (values + 1) / 3 - arcs
    np.testing.assert_array_equal(labels, parts)
    np.testing.assert_allclose(shift[:, 0], shift[:, 1], rtol=0, atol=1e-15)
    assert likely(ks_1samp(shift[:, 0] / 0.2, lambda x: np.clip(x, 0, 1)))
    assert not np.array_equal(values, one.as_published(n, seed=5).values)
    with pytest.raises(InputError, match="samples=1 is out of range: ask for at least 2"):
        one.as_published(1)


@pytest.mark.parametrize("name", EXACT)
def test_the_mean_over_samples_is_the_entropy(name: str):
    one = density(name, **CHEAPER.get(name, {}))
    logs = one.log_density(one.sample(10_000, seed=5))
    assert abs(one.entropy() + logs.mean()) <= 4 * logs.std() / math.sqrt(len(logs)) + 1e-9


@pytest.mark.parametrize(("name", "nats"), ENTROPIES.items())
def test_entropies_that_are_printed(name: str, nats: float):
    digits = len(str(nats).partition(".")[2])
    assert round(density(name).entropy(), digits) == nats


@pytest.mark.parametrize("name", ["ring", "eight_gaussians"])
def test_a_mixture_is_that_of_scipy(name: str):
    one = density(name, radius=2.0, deviation=0.3)
    x = np.random.default_rng(0).uniform(-9, 9, (50, 2))
    parts = [
        norm.logpdf(x, [2 * math.cos(k * math.pi / 4), 2 * math.sin(k * math.pi / 4)], 0.3).sum(1) for k in range(8)
    ]
    np.testing.assert_allclose(one.log_density(x), log_sum(parts) - math.log(8), rtol=1e-12)


def likely(test: Any) -> bool:
    return test.pvalue > LEVEL


def log_sum(logs: Sequence[Array] | Array, factors: list | int = 1) -> Array:
    return np.asarray(logsumexp(np.asarray(logs), axis=0, b=np.asarray(factors)))


def along_the_curve(name: str, x: Array) -> float:
    """The density at a point by scipy's adaptive rule, from formulas of its own."""
    noise = {"moons": 0.1, "swiss_roll": 0.2, "rings": 0.08}[name]

    def shifted(place: complex) -> float:
        return math.exp(-(abs(complex(*x) - place) ** 2) / (2 * noise**2)) / (2 * math.pi * noise**2)

    def integral(curve: Callable[[float], complex], low: float, high: float) -> float:
        found = quad(lambda a: shifted(curve(a)), low, high, epsabs=0, epsrel=1e-11, limit=500)
        return found[0] / (high - low)

    def circle(a: float) -> complex:
        return complex(math.cos(a), math.sin(a))

    if name == "moons":
        return (integral(circle, 0, math.pi) + integral(lambda a: 1 + 0.5j - circle(a), 0, math.pi)) / 2
    if name == "swiss_roll":
        return integral(lambda a: a / 5 * circle(a), 1.5 * math.pi, 4.5 * math.pi)
    return sum(integral(lambda a, r=r: r * circle(a), 0, 2 * math.pi) for r in (0.75, 1.5, 2.25, 3.0)) / 4


@pytest.mark.parametrize("name", ["moons", "swiss_roll", "rings"])
def test_a_noisy_curve_is_its_integral(name: str):
    one = density(name)
    x = one.sample(12, seed=2) + np.random.default_rng(2).uniform(-0.3, 0.3, (12, 2))
    expected = [math.log(along_the_curve(name, each)) for each in x]
    np.testing.assert_allclose(one.log_density(x), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("far", [0.0, 0.5, 8.0])
def test_two_spirals_are_their_integral_also_far_away(far: float):
    """By midpoints in u, many of them, and differences of scipy's log Phi, as Phi itself is 0 in double precision."""
    x = density("two_spirals").sample(20, seed=2) * (1 + far)
    a = 3 * math.pi * np.sqrt((np.arange(40_000) + 0.5) / 40_000)
    spiral = np.stack([-np.cos(a) * a, np.sin(a) * a], 1) / 3
    logs = []
    for sign in (1, -1):  # the reflected spiral is the density of the reflected point
        total = 0.0
        for axis in (0, 1):
            d = sign * x[:, None, axis] - spiral[:, axis]
            high, low = d / 0.1, (d - 0.5 / 3) / 0.1
            turned = high + low > 0
            high, low = np.where(turned, -low, high), np.where(turned, -high, low)
            total = total + log_sum([log_ndtr(high), log_ndtr(low)], [[[1]], [[-1]]]) - math.log(0.5 / 3)
        logs.append(log_sum(np.transpose(total)) - math.log(40_000))
    expected = log_sum(logs) - math.log(2)
    found = density("two_spirals").log_density(x)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_sample_depends_on_its_seed_and_number_alone(name: str):
    one = density(name)
    few, more = one.draw(5, seed=8), one.draw(900, seed=8)
    np.testing.assert_array_equal(few.values, more.values[:5])
    np.testing.assert_array_equal(few.labels, more.labels[:5])
    assert not np.array_equal(few.values, one.sample(5, seed=9))
    assert len(np.unique(more.values, axis=0)) == 900
    assert np.unique(more.labels).tolist() == list(range(max(1, len(one.classes))))


def test_two_densities_with_one_seed_are_independent():
    """A coupling of source and target must not come from their random numbers."""
    source, target = density("eight_gaussians").draw(20_000), density("ring").draw(20_000)
    assert abs(np.mean(source.labels == target.labels) - 1 / 8) < 4 * math.sqrt(7 / 64 / 20_000)
    noise = np.corrcoef((source.values - 5 * source.values / np.linalg.norm(source.values)).T, target.values.T)[:2, 2:]
    assert np.abs(noise).max() < 4 / math.sqrt(20_000)


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_of_the_catalogue(name: str):
    drawn = sampled(name, samples=50, seed=1)
    one = density(name)
    np.testing.assert_array_equal(drawn.values, one.sample(50, seed=1).astype(np.float32))
    assert (drawn.name, drawn.kind, drawn.test, drawn.channels) == (name, "points", None, ("x", "y"))
    assert drawn.classes == one.classes
    assert (drawn.labels is not None) == bool(one.classes)
    assert (drawn.log_density is not None) == one.exact
    for twin in (copy.deepcopy(drawn), pickle.loads(pickle.dumps(drawn))):
        assert twin.checksum == drawn.checksum
    if drawn.log_density is not None:
        found = drawn.log_density(drawn.values.astype(np.float64))
        assert found.shape == (50,)
        assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mons", {}, "unknown density 'mons': did you mean 'moons'"),
        ("moons", {"nose": 0.1}, "unknown option of moons 'nose': did you mean 'noise'"),
        ("moons", {"noise": 0.0}, "moons: noise=0.0 is out of range: it must be positive"),
        ("moons", {"noise": float("nan")}, "noise=nan is out of range"),
        ("moons", {"noise": "much"}, "noise='much' is out of range: give a number"),
        ("ring", {"radius": -1}, "radius=-1 is out of range"),
        ("smeared_moons", {"width": 0.4}, "width=0.4 is out of range: above 1/3"),
        ("ring", {"samples": 0}, "samples=0 is out of range: ask for at least 1"),
        ("ring", {"seed": -1}, "seed=-1 is out of range"),
    ],
)
def test_what_is_out_of_range_is_told(name: str, options: dict, words: str):
    with pytest.raises(InputError, match=words):
        sampled(name, **options)


@pytest.mark.parametrize("ask", [lambda one: one.log_density(np.zeros((1, 2))), Density.entropy])
def test_a_density_that_is_not_known_is_not_made_up(ask: Callable[[Density], object]):
    with pytest.raises(InputError, match="the density of pinwheel is not known in closed form"):
        ask(density("pinwheel"))
