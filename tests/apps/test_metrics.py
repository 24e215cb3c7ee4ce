"""Sums of scores against direct means, and intervals against the standard error of a mean."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from integrand.apps.timeseries.scores import METRICS, ScoreSums, block_bootstrap, relative_gain

WINDOWS, QUERIES, CHANNELS, BLOCKS, LEADS = 40, 6, 3, 5, 4
STEPS = np.array([0.5, 1.0, 3.0])


@pytest.fixture
def scored() -> dict[str, np.ndarray | ScoreSums]:
    """Random forecasts, added in two batches."""
    rng = np.random.default_rng(0)
    shape = (WINDOWS, QUERIES, CHANNELS)
    mean, target, std = rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.3, 2, shape)
    mask = rng.random(shape) < 0.6
    block, lead = np.sort(rng.integers(0, BLOCKS, WINDOWS)), rng.integers(0, LEADS, (WINDOWS, QUERIES))
    target[~mask] = 1e6  # must not matter
    sums = ScoreSums((BLOCKS, LEADS, CHANNELS), STEPS)
    for part in (slice(0, 25), slice(25, WINDOWS)):
        m, s, t, seen = (torch.from_numpy(x[part]) for x in (mean, std, target, mask))
        sums.add(m, s, t, seen, block[part], np.broadcast_to(lead[part][..., None], m.shape))
    return {"mean": mean, "std": std, "target": target, "mask": mask, "block": block, "lead": lead, "sums": sums}


def direct(scored) -> dict[str, np.ndarray]:
    """The scores of every element, from scipy and from what the words mean."""
    error = scored["mean"] - scored["target"]
    normal = stats.norm(scored["mean"], scored["std"])
    low, high = normal.interval(0.9)
    return {
        "mae": np.abs(error),
        "mse": error**2,
        "mase": np.abs(error) / STEPS,
        "nll": -stats.norm.logpdf(scored["target"], scored["mean"], scored["std"]),
        "coverage": (low <= scored["target"]) & (scored["target"] <= high),
        "width": high - low,
    }


def test_pooled_means_are_means_over_what_was_observed(scored):
    pooled = scored["sums"].mean()
    assert set(pooled) == set(METRICS)
    for name, values in direct(scored).items():
        np.testing.assert_allclose(pooled[name], values[scored["mask"]].mean(), rtol=1e-12)
    assert scored["sums"].sums["count"].sum() == scored["mask"].sum()


def test_the_crps_is_the_integral_it_stands_for(scored):
    # CRPS = int (F(x) - 1[x >= y])^2 dx, on a few elements.
    n, q, k = (index[:8] for index in np.nonzero(scored["mask"]))
    expected = []
    for mean, std, y in zip(*(scored[name][n, q, k] for name in ("mean", "std", "target")), strict=True):
        normal = stats.norm(mean, std)
        below = integrate.quad(lambda x, normal=normal: normal.cdf(x) ** 2, -40, y, epsabs=1e-10)[0]
        above = integrate.quad(lambda x, normal=normal: normal.sf(x) ** 2, y, 40, epsabs=1e-10)[0]
        expected.append(below + above)
    one = ScoreSums((1, 1, 1), np.ones(1))
    m, s, t, seen = (
        torch.from_numpy(scored[name][n, q, k].reshape(-1, 1, 1)) for name in ("mean", "std", "target", "mask")
    )
    one.add(m, s, t, seen, np.zeros(8, dtype=int), np.zeros((8, 1, 1), dtype=int))
    np.testing.assert_allclose(one.mean()["crps"], np.mean(expected), atol=1e-7)


def test_means_by_block_lead_and_channel(scored):
    mae = np.where(scored["mask"], direct(scored)["mae"], 0)
    by_channel = scored["sums"].mean((0, 1))["mae"]
    np.testing.assert_allclose(by_channel, mae.sum((0, 1)) / scored["mask"].sum((0, 1)), rtol=1e-12)
    by_lead = scored["sums"].mean((0, 2))["mae"]
    for lead in range(LEADS):
        chosen = scored["mask"] & (scored["lead"] == lead)[..., None]
        np.testing.assert_allclose(by_lead[lead], mae[chosen].mean(), rtol=1e-12)
    by_block = scored["sums"].mean((1, 2))["mae"]
    for block in range(BLOCKS):
        chosen = scored["mask"] & (scored["block"] == block)[:, None, None]
        np.testing.assert_allclose(by_block[block], mae[chosen].mean(), rtol=1e-12)


def test_a_cell_without_observations_is_not_a_number():
    assert np.isnan(ScoreSums((1, 1, 2), np.ones(2)).mean((0, 1))["mae"]).all()


def of_blocks(means: np.ndarray) -> ScoreSums:
    """Scores whose block g has the mean absolute error ``means[g]``, over ten elements each."""
    one = ScoreSums((len(means), 1, 1), np.ones(1))
    one.sums["mae"][:, 0, 0], one.sums["count"][:] = 10 * means, 10
    return one


def test_the_bootstrap_interval_is_that_of_a_mean_of_independent_blocks():
    blocks = 400
    means = 2 + np.random.default_rng(1).exponential(0.5, blocks)
    low, high = block_bootstrap({"one": of_blocks(means)}, "mae", resamples=4000)["one"]
    # The standard error of the mean, and 1.96 of it to each side. The bootstrap's own noise at 4,000 resamples is 3 %
    # of the half-width, and the skewness of the mean, 2 / sqrt(400) / 6 of a deviation, another 2 %.
    error = means.std(ddof=1) / np.sqrt(blocks)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert (high + low) / 2 == pytest.approx(means.mean(), abs=0.15 * error)
    half, _ = np.array(block_bootstrap({"one": of_blocks(means)}, "mae", resamples=4000, level=0.5)["one"])
    assert means.mean() - half == pytest.approx(0.6745 * error, rel=0.12)


def test_whole_blocks_are_drawn_so_what_is_alike_within_a_block_does_not_narrow_the_interval():
    means = np.random.default_rng(2).normal(3, 1, 60)
    short, long = of_blocks(means), of_blocks(means)
    for name in ("mae", "count"):
        long.sums[name] = long.sums[name] * 1000  # a thousand times the elements, in as many blocks
    assert block_bootstrap({"one": short}, "mae")["one"] == pytest.approx(block_bootstrap({"one": long}, "mae")["one"])


def test_equal_forecasters_have_no_gain(scored):
    same = {"a": scored["sums"], "b": scored["sums"]}
    assert relative_gain(same, "crps", "a", "b") == (0.0, 0.0, 0.0)


def test_a_gain_is_paired():
    # Block by block a tenth better: certain, however much the blocks differ.
    means = np.random.default_rng(3).exponential(1, 30)
    gain = relative_gain({"a": of_blocks(0.9 * means), "b": of_blocks(means)}, "mae", "a", "b")
    np.testing.assert_allclose(gain, 0.1, rtol=1e-9)
    loss = relative_gain({"a": of_blocks(means), "b": of_blocks(0.8 * means)}, "mae", "a", "b")
    np.testing.assert_allclose(loss, -0.25, rtol=1e-9)
