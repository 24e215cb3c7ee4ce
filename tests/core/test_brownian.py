"""Brownian paths: their numbers, their law, and that they are functions of seed and time alone."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic import brownian
from integrand.core.numerics.stochastic.brownian import BrownianPath, draw_increments
from integrand.core.numerics.stochastic.counter_normals import _hash, counter_normals, stream_keys

torch64 = torch.float64
RARE = 1e-6
"""Probability with which a right generator would fail one of the tests below; the seeds are fixed, so it fails never
or always."""


def assert_standard_normal(x: Tensor) -> None:
    """Kolmogorov and Smirnov's distance, and the two first moments."""
    values, n = x.flatten().double().numpy(), x.numel()
    assert stats.kstest(values, "norm").pvalue > RARE
    bound = stats.norm.isf(RARE / 2)
    assert abs(values.mean()) < bound / n**0.5
    assert abs(values.var() - 1) < bound * (2 / n) ** 0.5


def assert_uncorrelated(a: Tensor, b: Tensor) -> None:
    """The product of independent standard numbers has mean 0 and variance 1."""
    a, b = ((x.flatten() - x.mean()) / x.std() for x in (a, b))
    assert abs((a * b).mean()) < stats.norm.isf(RARE / 2) / a.numel() ** 0.5


def path(
    samples: int, shape: Any = 1, start: Any = 0.0, end: Any = 1.0, dtype: torch.dtype = torch64, **options: Any
) -> BrownianPath:
    return BrownianPath(torch.arange(samples), shape, start, end, dtype=dtype, **options)


# Numbers


def test_the_hash_is_splitmix64():
    """The first outputs for the seed 1234567, as published with other implementations."""
    known = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    counter = 1234567 + torch.arange(5) * -0x61C8864680B583EB
    assert [int(bits) % 2**64 for bits in _hash(counter)] == known


def bits(seed: Tensor, node: Tensor) -> Tensor:
    """The whole hash, as its module states it, for the second channel."""
    return _hash(stream_keys(seed.flatten(), 2)[:, 1].view_as(seed) ^ _hash(node))


@pytest.mark.parametrize("coordinate", ["seed", "node"])
def test_each_bit_of_a_coordinate_flips_half_of_the_output(coordinate: str):
    places, n = torch.arange(64), 2000
    x, other = torch.arange(n).unsqueeze(-1), torch.zeros(n, 64, dtype=torch.int64)
    flipped = x ^ (torch.ones(64, dtype=torch.int64) << places)
    if coordinate == "seed":
        change = bits(flipped, other) ^ bits(x.expand_as(flipped), other)
    else:
        change = bits(other, flipped) ^ bits(other, x)
    share = ((change.unsqueeze(-1) >> places) & 1).double().mean(0)
    # 4096 shares of n fair coins, each with standard deviation 0.5 / sqrt(n).
    assert (share - 0.5).abs().max() < stats.norm.isf(RARE / 2 / 4096) * 0.5 / n**0.5


def test_numbers_are_normal_and_independent_along_every_coordinate():
    seeds, channels, nodes = 40, 30, 200
    keys = stream_keys(torch.arange(seeds), channels).unsqueeze(1)
    first, second = counter_normals(keys, torch.arange(nodes).unsqueeze(-1))  # (seeds, nodes, channels)
    for z in (first, second):
        assert_standard_normal(z)
        for dim in range(3):
            here, next_one = z.narrow(dim, 0, z.shape[dim] - 1), z.narrow(dim, 1, z.shape[dim] - 1)
            assert_uncorrelated(here, next_one)
            assert_uncorrelated(here**2, next_one**2)
            # Sums along one coordinate add up variances only where its numbers are independent.
            assert_standard_normal(z.sum(dim) / z.shape[dim] ** 0.5)
    assert_uncorrelated(first, second)
    assert_uncorrelated(first**2, second**2)


def test_large_and_negative_seeds_are_as_good_and_all_differ():
    seeds = torch.cat([torch.arange(-500, 500), 2**62 + torch.arange(1000), torch.arange(1000) << 40])
    z, _ = counter_normals(stream_keys(seeds, 1), torch.tensor(0))
    assert_standard_normal(z)
    assert len(z.unique()) == len(seeds.unique())


def test_the_tails_are_there():
    """Of a million numbers, the largest is beyond 4 and, with 32 bits, never beyond sqrt(66 log 2) = 6.76."""
    z, other = counter_normals(stream_keys(torch.arange(1000), 500), torch.tensor(3))
    largest = torch.stack([z, other]).abs().max()
    assert 4 < largest < 6.77


# Law


GRID = torch.tensor([0.0, 0.1, 0.33, 0.5, 0.81, 1.0], dtype=torch64) * 3 - 1


def test_increments_are_normal_with_the_variance_of_their_time():
    w, area = path(8000, 2, -1.0, 2.0).increments(GRID, area=True)
    assert area is not None
    root = GRID.diff().sqrt().view(-1, 1, 1)
    z = torch.cat([w / root, area / root * 12**0.5])
    for each in z:
        assert_standard_normal(each)
    # Increments and areas of all steps, and the two channels, are independent.
    rows = z.permute(0, 2, 1).flatten(0, 1)
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < stats.norm.isf(RARE / 2) / 8000**0.5


@pytest.mark.parametrize(("left", "middle", "right"), [(0.25, 0.5, 0.75), (0.1, 0.3, 0.7), (0.0, 1 / 3, 1.0)])
def test_the_bridge_has_its_conditional_law(left: float, middle: float, right: float):
    """Given both ends, W(m) is normal about the chord, with variance (m - l) (r - m) / (r - l)."""
    a, m, b = path(20_000)(torch.tensor([left, middle, right], dtype=torch64)).unbind(1)
    gap = m - (a * (right - middle) + b * (middle - left)) / (right - left)
    assert_standard_normal(gap / ((middle - left) * (right - middle) / (right - left)) ** 0.5)
    assert_uncorrelated(gap, b - a)
    if left > 0:
        assert_uncorrelated(gap, a)


def test_quadratic_variation_is_time():
    """The sum of n squares of variance h each has mean n h and standard deviation h sqrt(2 n)."""
    n = 2**14
    w = path(4).increments(torch.linspace(0, 1, n + 1, dtype=torch64)).w[..., 0]
    assert (w.square().sum(0) - 1).abs().max() < stats.norm.isf(RARE / 8) * (2 / n) ** 0.5


def test_the_area_is_the_mean_height_over_the_chord():
    """Against the trapezoidal rule on n points, which errs by W's own fluctuation, sqrt(h / 12) / n."""
    samples, n = 50, 2**12
    asked = path(samples, 1, 2.0, 5.0)
    fine = torch.linspace(2.3, 4.6, n + 1, dtype=torch64)
    w, h = asked(fine)[..., 0], 2.3
    rise = w - w[:, :1]
    height = torch.trapezoid(rise, fine, dim=1) / h - rise[:, -1] / 2
    _, area = asked.increments(fine[[0, -1]], area=True)
    assert area is not None
    assert (area[0, :, 0] - height).abs().max() < 5 * (h / 12) ** 0.5 / n


# A function of seed and time


def test_refinement_adds_up():
    """W(s, t) = W(s, u) + W(u, t), and the same for the integrals h (W / 2 + H), to rounding of the path's values."""
    asked = path(30, 3)
    coarse = torch.tensor([0.07, 0.4, 0.93], dtype=torch64)
    fine = torch.cat([torch.linspace(0.07, 0.4, 12, dtype=torch64), torch.linspace(0.4, 0.93, 7, dtype=torch64)[1:]])
    w, area = asked.increments(coarse, area=True)
    parts_w, parts_area = asked.increments(fine, area=True)
    assert area is not None
    assert parts_area is not None
    start = 0
    for step, count in enumerate((11, 6)):
        steps = slice(start, start + count)
        torch.testing.assert_close(parts_w[steps].sum(0), w[step], rtol=0, atol=1e-14)
        h = fine.diff()[steps].view(-1, 1, 1)
        risen = parts_w[steps].cumsum(0) - parts_w[steps]
        integral = (h * (risen + parts_w[steps] / 2 + parts_area[steps])).sum(0)
        span = coarse[step + 1] - coarse[step]
        torch.testing.assert_close(integral, span * (w[step] / 2 + area[step]), rtol=0, atol=1e-14)
        start += count


def test_reversal_turns_the_sign_of_increments_and_keeps_areas():
    there, back = (
        path(5).increments(GRID / 3 + 1 / 3, area=True),
        path(5).increments((GRID / 3 + 1 / 3).flip(0), area=True),
    )
    assert there.area is not None
    assert back.area is not None
    assert torch.equal(back.w.flip(0), -there.w)
    torch.testing.assert_close(back.area.flip(0), there.area, rtol=0, atol=1e-14)


def test_a_sample_is_the_same_in_every_batch_and_order():
    seeds = torch.tensor([5, 17, -3, 2**40])
    times = torch.linspace(0, 1, 13, dtype=torch64)
    whole = BrownianPath(seeds, 3, 0.0, 1.0, dtype=torch64)(times)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(BrownianPath(seeds[order], 3, 0.0, 1.0, dtype=torch64)(times), whole[order])
    for i, seed in enumerate(seeds.tolist()):
        assert torch.equal(BrownianPath([seed], 3, 0.0, 1.0, dtype=torch64)(times)[0], whole[i])


def test_a_time_is_the_same_in_every_query():
    asked = path(4, 2)
    times = torch.rand(37, dtype=torch64, generator=torch.Generator().manual_seed(0))
    together = asked(times)
    shuffled = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    assert torch.equal(asked(times[shuffled]), together[:, shuffled])
    for i in range(37):
        assert torch.equal(asked(times[i : i + 1])[:, 0], together[:, i])
    own = torch.stack([times, times.flip(0), times, times])
    expected = torch.stack([together[0], together[1].flip(0), together[2], together[3]])
    assert torch.equal(asked(own), expected)


def test_channels_keep_their_paths_when_others_join():
    times = torch.tensor([0.2, 0.9], dtype=torch64)
    six = path(3, 6)(times)
    assert torch.equal(path(3, 4)(times), six[..., :4])
    assert torch.equal(path(3, (2, 3))(times), six.unflatten(-1, (2, 3)))


def test_spans_of_the_samples_own():
    starts, ends = torch.tensor([0.0, -1.0, 2.0]), torch.tensor([1.0, 3.0, 2.5])
    share = torch.tensor([0.0, 0.3, 1.0])
    times = starts.unsqueeze(-1) + share * (ends - starts).unsqueeze(-1)
    together = path(3, 2, starts, ends)(times)
    for i in range(3):
        alone = BrownianPath([i], 2, float(starts[i]), float(ends[i]), dtype=torch64)(times[i])
        assert torch.equal(alone[0], together[i])
    # Brownian scaling: over a span of length T the path is sqrt(T) times the one over the unit span.
    unit = path(3, 2)(torch.tensor([0.0, 1.0]))[:, 1]
    torch.testing.assert_close(together[:, -1], unit * (ends - starts).double().sqrt().unsqueeze(-1))


def test_depth_adds_detail_and_changes_nothing_else():
    coarse, fine = path(200, depth=6), path(200, depth=20)
    ticks = torch.arange(65, dtype=torch64) / 64
    torch.testing.assert_close(coarse(ticks), fine(ticks), rtol=0, atol=1e-14)
    between = ticks[:-1] + 1 / 128
    missing = (fine(between) - coarse(between)).flatten() / (1 / 64) ** 0.5
    # Given W and H the middle of an interval of length h is left a variance of h / 16.
    assert_standard_normal(missing * 4)


def test_single_precision_is_the_rounded_double():
    times = torch.linspace(0, 1, 50)
    w, area = path(20, 3, dtype=torch.float32).increments(times, area=True)
    exact_w, exact_area = path(20, 3).increments(times, area=True)
    assert area is not None
    assert exact_area is not None
    assert w.dtype == area.dtype == torch.float32
    assert torch.equal(w, exact_w.float())
    assert torch.equal(area, exact_area.float())


def test_rounded_times_give_nearly_the_same_path():
    """Times off by d = 2^-25 move W by normal numbers of deviation sqrt(d): 1000 of them, at most five of it."""
    times = torch.rand(50, dtype=torch64, generator=torch.Generator().manual_seed(0))
    asked = path(20)
    assert (asked(times) - asked(times.float())).abs().max() < 5 * 2**-12.5


def test_a_span_of_length_nothing_holds_nothing():
    """Samples whose padded times are all one."""
    asked = BrownianPath([0, 1], 2, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]))
    w, area = asked.increments(torch.tensor([[0.0, 0.5, 0.5], [1.0, 1.0, 1.0]]), area=True)
    assert area is not None
    assert (w[0, 0] != 0).all()
    assert (w[1] == 0).all()
    assert (w[:, 1] == 0).all()
    assert torch.isfinite(area).all()
    assert (area[1] == 0).all()


# Fresh increments


@pytest.mark.parametrize("own", [False, True])
def test_a_grid_is_drawn_in_one_call(monkeypatch: pytest.MonkeyPatch, own: bool):
    calls = []
    randn = torch.randn
    monkeypatch.setattr(brownian.torch, "randn", lambda *a, **k: calls.append(a) or randn(*a, **k))
    grid = GRID.expand(4000, -1) * (torch.rand(4000, 1) + 0.5) if own else GRID
    w, area = draw_increments(grid, 4000, (3, 2), area=True)
    assert len(calls) == 1
    assert area is not None
    assert w.shape == area.shape == (5, 4000, 3, 2)
    root = grid.diff(dim=-1).sqrt()
    root = root.T.view(5, -1, 1, 1) if own else root.view(5, 1, 1, 1)
    for step in range(5):
        assert_standard_normal((w / root)[step])
        assert_standard_normal((area / root)[step] * 12**0.5)
    assert_uncorrelated(w / root, area / root)


def test_fresh_increments_obey_the_seed_or_the_generator():
    torch.manual_seed(3)
    first = draw_increments(GRID, 4, (2,)).w
    torch.manual_seed(3)
    assert torch.equal(draw_increments(GRID, 4, (2,)).w, first)
    assert not torch.equal(draw_increments(GRID, 4, (2,)).w, first)
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(draw_increments(GRID, 4, (2,), generator=generator).w, first)
    # For decreasing times the variance is the length all the same.
    torch.manual_seed(3)
    z = torch.randn(5, 4, 2, dtype=torch64)
    torch.manual_seed(3)
    backward = draw_increments(GRID.flip(0), 4, (2,)).w
    assert torch.equal(backward, z * GRID.flip(0).diff().abs().sqrt().view(-1, 1, 1))


# Refusals


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda: BrownianPath(torch.tensor([0.5]), 1, 0.0, 1.0), r"seeds must be whole numbers.*float32 \(1,\)"),
        (lambda: BrownianPath(torch.tensor(3), 1, 0.0, 1.0), r"one a sample \(B,\)"),
        (lambda: path(1, 1, 1.0, 0.0), "must end after its start, got 1.0 to 0.0"),
        (lambda: path(3, 1, torch.zeros(2), torch.ones(2)), r"a number or one a sample \(3,\)"),
        (lambda: path(1, depth=60), "depth must be between 0 and 52 halvings, got 60"),
        (lambda: path(1)(torch.tensor([1.01])), "outside the span"),
        (lambda: path(1)(torch.tensor([-0.01])), "outside the span"),
        (lambda: path(1)(torch.tensor([0.5], requires_grad=True)), "no derivative in time: detach"),
    ],
)
def test_mistakes_are_told(call, pattern: str):
    with pytest.raises(InputError) as caught:
        call()
    assert re.search(pattern, str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_rounding_at_the_ends_is_forgiven():
    asked = path(3)
    nudged = torch.tensor([-1e-8, np.nextafter(np.float32(1), np.float32(2))], dtype=torch64)
    torch.testing.assert_close(asked(nudged), asked(torch.tensor([0.0, 1.0])), rtol=0, atol=0)
