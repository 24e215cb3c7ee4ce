"""Metrics of two samples against closed forms, enumeration and other libraries."""

import doctest
import importlib
import itertools
import math
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from integrand.apps.generation import metrics
from integrand.apps.generation.metrics import (
    classifier_test,
    density_coverage,
    distances,
    energy_distance,
    frechet_between_samples,
    frechet_distance,
    maximum_mean_discrepancy,
    median_distance,
    nearest_training,
    precision_recall,
    sliced_wasserstein,
    wasserstein,
    wasserstein_distance,
)
from integrand.core.errors import InputError

MODULES = [module.name for module in pkgutil.iter_modules(metrics.__path__)]
OF_TWO: list[Callable[..., Any]] = [
    classifier_test,
    density_coverage,
    energy_distance,
    frechet_between_samples,
    maximum_mean_discrepancy,
    precision_recall,
    sliced_wasserstein,
    wasserstein_distance,
    lambda generated, real: nearest_training(generated, real, real + 1),
]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def close_to_mean(values: list[float], truth: float) -> bool:
    """Whether the mean of independent values is within four of its standard errors of the truth."""
    return bool(abs(np.mean(values) - truth) < 4 * np.std(values, ddof=1) / math.sqrt(len(values)))


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str):
    module = importlib.import_module(f"integrand.apps.generation.metrics.{name}")
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in finder.find(module, name, extraglobs={"torch": torch, "np": np}):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("metric", OF_TWO)
def test_bad_samples_are_named(metric: Callable[..., Any]):
    good, bad = normal(30, 3), normal(30, 3, seed=1)
    bad[[4, 7], 1] = math.nan, math.inf
    with pytest.raises(InputError, match=r"^row 4 of generated holds NaN or infinity \(2 rows do\): "):
        metric(bad, good)
    with pytest.raises(InputError, match=r"^rows of generated have 2 numbers and those of \w+ 3: "):
        metric(good[:, :2], good)
    with pytest.raises(InputError, match=r"must be rows \(N, D\), got shape \(30, 1, 3\)"):
        metric(good[:, None], good)
    with pytest.raises(InputError, match=r"^generated has 0 rows"):
        metric(good[:0], good)


@pytest.mark.parametrize("rows", [np.ones((3, 2), dtype=complex), torch.ones(3, 2, dtype=torch.cfloat), [["a"], ["b"]]])
def test_what_is_not_real_is_refused(rows: Any):
    with pytest.raises(InputError, match="generated must hold real numbers"):
        energy_distance(rows, np.zeros((3, 2)))


def test_arrays_and_tensors_of_any_precision_and_stride_give_the_same():
    x, y = normal(20, 3).astype(np.float32), normal(25, 3, seed=1)
    truth = energy_distance(x.astype(np.float64), y)
    backwards = x[::-1]
    backwards.flags.writeable = False
    for given in (x, torch.from_numpy(x), torch.from_numpy(x).requires_grad_(), backwards):
        assert energy_distance(given, y) == pytest.approx(truth, rel=1e-13)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    x, y = normal(23, 3), normal(31, 3, seed=1)

    def everything() -> list[Any]:
        near = nearest_training(x, y, x + 1)
        made = [energy_distance(x, y), maximum_mean_discrepancy(x, y).squared, near.ratio]
        return [*made, *sliced_wasserstein(x, y[:23]), *precision_recall(x, y), *density_coverage(x, y)]

    whole = everything()
    monkeypatch.setattr(distances, "BLOCK", 100)
    monkeypatch.setattr(wasserstein, "BLOCK", 100)
    assert everything() == pytest.approx(whole, rel=1e-13)


VALUES = np.array([0.0, 1.0, 3.0])
CHANCES = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
"""Two distributions of three values, whose samples of two can all be written down."""


def mean_over_samples(metric: Callable[[np.ndarray, np.ndarray], float]) -> float:
    total = 0.0
    for drawn in itertools.product(range(3), repeat=4):
        chance = np.prod(CHANCES[[0, 0, 1, 1], drawn])
        x, y = VALUES[list(drawn[:2])][:, None], VALUES[list(drawn[2:])][:, None]
        total += float(chance) * metric(x, y)
    return total


def test_the_energy_distance_has_no_bias():
    """The mean over all samples, each with its chance, is the distance of the distributions."""
    gaps = np.abs(VALUES[:, None] - VALUES)
    p, q = CHANCES
    truth = 2 * p @ gaps @ q - p @ gaps @ p - q @ gaps @ q
    assert mean_over_samples(energy_distance) == pytest.approx(truth, rel=1e-13)


def test_the_mean_discrepancy_has_no_bias():
    widths = [0.5, 2.0]
    kernel = np.mean([np.exp(-((VALUES[:, None] - VALUES) ** 2) / (2 * s**2)) for s in widths], axis=0)
    p, q = CHANCES
    truth = p @ kernel @ p + q @ kernel @ q - 2 * p @ kernel @ q
    made = mean_over_samples(lambda x, y: maximum_mean_discrepancy(x, y, bandwidths=widths).squared)
    assert made == pytest.approx(truth, rel=1e-13)


def test_the_energy_distance_is_that_of_scipy_but_for_its_bias():
    """Scipy's is the root of the estimate that counts the pairs of a row with itself."""
    x, y = normal(40, 1), 2 * normal(60, 1, seed=1) + 1
    biased = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    truth = biased - pdist(x).mean() / 40 - pdist(y).mean() / 60
    assert energy_distance(x, y) == pytest.approx(truth, rel=1e-12)


def test_the_energy_distance_of_shifted_gaussians():
    """E|X - Y| is the mean of a folded normal of variance 2."""

    def folded(m: float) -> float:
        return 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * (1 - 2 * float(stats.norm.cdf(-m / math.sqrt(2))))

    shift = 0.8
    made = [energy_distance(normal(80, 1, seed=s), normal(60, 1, seed=s + 1000) + shift) for s in range(100)]
    assert close_to_mean(made, 2 * folded(shift) - 2 * folded(0))


def test_the_mean_discrepancy_of_gaussians():
    """E k(X, Y) of x - y normal with mean m and variance v in each of D directions: (s^2/(s^2 + v))^(D/2) exp(..)."""

    def kernel(m: float, v: float, s: float) -> float:
        return (s**2 / (s**2 + v)) ** 1.5 * math.exp(-3 * m**2 / (2 * (s**2 + v)))

    shift, s = 0.5, 1.3
    truth = kernel(0, 2, s) + kernel(0, 8, s) - 2 * kernel(shift, 5, s)
    made = [
        maximum_mean_discrepancy(
            normal(60, 3, seed=seed), 2 * normal(50, 3, seed=seed + 1000) + shift, bandwidths=[s]
        ).squared
        for seed in range(100)
    ]
    assert close_to_mean(made, truth)


def test_the_mean_discrepancy_is_that_of_kernels_of_scikit_learn():
    x, y = normal(40, 5), normal(60, 5, seed=1) + 0.3
    made = maximum_mean_discrepancy(x, y)
    median = np.median(pdist(y))
    assert made.bandwidths == pytest.approx([median / 2, median, 2 * median], rel=1e-13)
    truth = 0.0
    for s in made.bandwidths:
        xx, yy, xy = (rbf_kernel(*pair, gamma=1 / (2 * s**2)) for pair in ((x, x), (y, y), (x, y)))
        truth += ((xx.sum() - 40) / (40 * 39) + (yy.sum() - 60) / (60 * 59) - 2 * xy.mean()) / 3
    assert made.squared == pytest.approx(truth, rel=1e-9)


def test_medians_of_nothing_and_bandwidths_of_nothing_are_refused():
    with pytest.raises(InputError, match="median distance is 0: give bandwidths"):
        maximum_mean_discrepancy(normal(5, 1), np.zeros((5, 1)))
    for widths in ([], [1.0, 0.0], [math.inf], [math.nan]):
        with pytest.raises(InputError, match="bandwidths must be positive"):
            maximum_mean_discrepancy(normal(5, 1), normal(5, 1), bandwidths=widths)
    large = normal(2500, 1)
    assert median_distance(large) == median_distance(large)
    # |X - X'| of a difference of variance 2; a U-statistic of shares has a deviation of at most 1 / sqrt(n).
    truth = math.sqrt(2) * stats.norm.ppf(0.75)
    density = 2 * float(stats.norm.pdf(truth, scale=math.sqrt(2)))
    assert median_distance(large) == pytest.approx(truth, abs=4 / (density * math.sqrt(2000)))


def positive(d: int, seed: int) -> np.ndarray:
    root = normal(d, d, seed=seed)
    return root @ root.T + 0.1 * np.eye(d)


def test_the_wasserstein_distance_of_an_optimal_map():
    """A map by a symmetric positive matrix is the gradient of a convex function, so that no assignment is better."""
    x, a, b = normal(60, 4), positive(4, 1), normal(4, seed=2)
    y = x @ a + b
    truth = math.sqrt(((y - x) ** 2).sum(1).mean())
    shuffled = np.random.default_rng(3).permutation(y)
    assert wasserstein_distance(x, shuffled) == pytest.approx(truth, rel=1e-12)
    assert wasserstein_distance(x, np.random.default_rng(3).permutation(x)) == 0


def test_wasserstein_distances_are_those_of_pot():
    ot = pytest.importorskip("ot")
    x, y = normal(50, 3), normal(50, 3, seed=1) * [1, 2, 0.5] + 1
    assert wasserstein_distance(x, y) ** 2 == pytest.approx(ot.emd2([], [], ot.dist(x, y)), rel=1e-10)
    directions = wasserstein._directions(torch.from_numpy(x), 40, 0).numpy()
    made = sliced_wasserstein(x, y, projections=40)
    assert made.mean == pytest.approx(ot.sliced_wasserstein_distance(x, y, projections=directions), rel=1e-12)
    assert made.largest == pytest.approx(ot.max_sliced_wasserstein_distance(x, y, projections=directions), rel=1e-12)


def test_sliced_distances_of_a_shift():
    """Along e it is |e . m|: its square is |m|^2 times a Beta(1/2, (D - 1)/2) variable, |m|^2 / D on the mean."""
    d, count = 5, 4000
    x, m = normal(10, d), np.array([3.0, 0, 4, 0, 0])
    made = sliced_wasserstein(x, x + m, projections=count)
    error = math.sqrt(2 * (d - 1) / (d**2 * (d + 2)) / count)
    assert made.mean**2 / 25 == pytest.approx(1 / d, abs=4 * error)
    # The chance that 4000 squares all stay below this quantile is e^-10.
    assert stats.beta.ppf(1 - 10 / count, 0.5, (d - 1) / 2) < made.largest**2 / 25 <= 1
    assert sliced_wasserstein(x, x + m, seed=1) == sliced_wasserstein(x, x + m, seed=1)
    assert sliced_wasserstein(x, x + m, seed=1) != sliced_wasserstein(x, x + m, seed=2)


def test_unequal_counts_are_refused_where_equality_is_needed():
    for metric in (wasserstein_distance, sliced_wasserstein):
        with pytest.raises(InputError, match="got 5 rows of generated and 6 rows of real: leave out the surplus"):
            metric(normal(5, 2), normal(6, 2))
    with pytest.raises(InputError, match="projections must be at least 1"):
        sliced_wasserstein(normal(5, 2), normal(5, 2), projections=0)


def gaussian(d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(normal(d, seed=seed)), torch.from_numpy(positive(d, seed + 100))


def test_the_frechet_distance_is_that_of_matrix_roots_of_scipy():
    (m, a), (n, b) = gaussian(12, 0), gaussian(12, 1)
    root: Any = linalg.sqrtm(a.numpy() @ b.numpy())
    truth = ((m - n) ** 2).sum().item() + (a + b).trace().item() - 2 * np.trace(root).real
    assert frechet_distance(m, a, n, b) == pytest.approx(truth, rel=1e-11)
    assert frechet_distance(n, b, m, a) == pytest.approx(truth, rel=1e-11)


@pytest.mark.parametrize("least", [1.0, 1e-6, 1e-12, 0.0])
def test_the_frechet_distance_of_commuting_covariances(least: float):
    """In the basis that both share it is that of the deviations, whatever the condition."""
    basis = torch.linalg.qr(torch.from_numpy(normal(6, 6))).Q
    a, b = torch.tensor([9.0, 4, 1, 1, least, 0]).double(), torch.tensor([1.0, 4, 0.25, least, 1, least]).double()
    m, n = torch.from_numpy(normal(6, seed=1)), torch.from_numpy(normal(6, seed=2))
    truth = ((m - n).square().sum() + (a.sqrt() - b.sqrt()).square().sum()).item()
    made = frechet_distance(m, (basis * a) @ basis.T, n, (basis * b) @ basis.T)
    # A root of an eigenvalue near 0 is known to the root of the rounding.
    assert made == pytest.approx(truth, rel=1e-12 if least == 1 else 1e-7)


def test_the_frechet_distance_of_a_gaussian_to_itself_is_nothing_though_its_trace_is_large():
    m, a = gaussian(20, 0)
    assert 0 <= frechet_distance(m, 1e8 * a, m, 1e8 * a) < 1e-8


def test_the_frechet_distance_of_samples_of_an_affine_map():
    """Of y = A x + b, A positive: |mean y - mean x|^2 + tr (A - 1) C (A - 1), also where C is singular."""
    a, b = positive(8, 1), normal(8, seed=2)
    for count in (100, 5):
        x = normal(count, 8)
        y, c = x @ a + b, np.cov(x.T)
        truth = ((y.mean(0) - x.mean(0)) ** 2).sum() + np.trace((a - np.eye(8)) @ c @ (a - np.eye(8)))
        assert frechet_between_samples(x, y) == pytest.approx(truth, rel=1e-10)


def test_the_frechet_distance_of_samples_is_that_of_torchmetrics():
    class Same(nn.Module):
        num_features = 6

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows

    x, y = torch.from_numpy(normal(80, 6)), torch.from_numpy(normal(50, 6, seed=1) @ positive(6, 3))
    peer = FrechetInceptionDistance(Same()).set_dtype(torch.float64)
    peer.update(x, real=False)
    peer.update(y, real=True)
    assert frechet_between_samples(x, y) == pytest.approx(peer.compute().item(), rel=1e-10)


def test_the_bias_of_the_frechet_distance_falls_as_one_over_n():
    def bias(n: int) -> float:
        made = [frechet_between_samples(normal(n, 2, seed=s), normal(n, 2, seed=s + 9999)) for s in range(600)]
        return sum(made) / len(made)

    slope = math.log(bias(40) / bias(160)) / math.log(4)
    assert slope == pytest.approx(1, abs=0.1)


def test_what_is_no_gaussian_is_refused():
    m, a = gaussian(3, 0)
    with pytest.raises(InputError, match="a mean"):
        frechet_distance(m, a[:2], m, a)
    with pytest.raises(InputError, match="symmetric"):
        frechet_distance(m, a + torch.triu(a, 1), m, a)
    with pytest.raises(InputError, match="no eigenvalue below 0"):
        frechet_distance(m, a - 10 * torch.eye(3), m, a)
    with pytest.raises(InputError, match="of 3 and 2 numbers"):
        frechet_distance(m, a, *gaussian(2, 0))
