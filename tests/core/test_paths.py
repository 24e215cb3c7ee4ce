"""Paths against scipy, numpy and torchcde, on full, missing, irregular and padded data; what they know ahead."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline, CubicSpline
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from integrand.core.errors import InputError
from integrand.core.paths import (
    HermitePath,
    LinearPath,
    NaturalCubicPath,
    Path,
    RectilinearPath,
    forward_fill,
    hermite_coefficients,
    linear_coefficients,
    linear_fill,
    merge_knots,
    natural_cubic_coefficients,
    pad_times,
    rectilinear_coefficients,
)
from integrand.core.paths.tridiagonal import solve_tridiagonal

torch64 = torch.float64
NAN = float("nan")
B, L, C = 3, 12, 2

KINDS = {
    "linear": (linear_coefficients, LinearPath),
    "hermite": (hermite_coefficients, HermitePath),
    "natural_cubic": (natural_cubic_coefficients, NaturalCubicPath),
}
kinds = pytest.mark.parametrize("kind", KINDS)

# Values of size one on intervals of length 0.1 to 1: a slope is a few divisions and a well-conditioned solve away from
# the data, so it errs by some hundred roundings of numbers of size ten.
ROUNDING = {"rtol": 0, "atol": 1e-12}


def data(*, missing: float = 0.0, own_times: bool = False) -> tuple[Tensor, Tensor]:
    """Draw values (B, L, C) and irregular times."""
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(B, L, C, generator=generator, dtype=torch64)
    steps = 0.1 + 0.9 * torch.rand(B, L, generator=generator, dtype=torch64)
    values[torch.rand(values.shape, generator=generator) < missing] = NAN
    times = steps.cumsum(1)
    return values, times if own_times else times[0]


def make(kind: str, values: Tensor, times: Tensor, mask: Tensor | None = None) -> Path:
    coefficients, path = KINDS[kind]
    return path(coefficients(values, times, mask=mask), times)


def oracle(kind: str, times: np.ndarray, values: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one channel's path and its derivative by numpy and scipy."""
    differences = np.diff(values) / np.diff(times)
    if kind == "linear":
        right = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
        return np.interp(t, times, values), differences[right]
    if kind == "hermite":
        spline = CubicHermiteSpline(times, values, np.concatenate([differences[:1], differences]))
    else:
        spline = CubicSpline(times, values, bc_type="natural")
    return spline(t), spline(t, 1)


@kinds
@pytest.mark.parametrize("own_times", [False, True])
def test_paths_are_those_of_numpy_and_scipy(kind: str, own_times: bool):
    values, times = data(own_times=own_times)
    path = make(kind, values, times)
    asked = torch.linspace(0, 1, 57, dtype=torch64)
    t = times[..., :1] + asked * (times[..., -1:] - times[..., :1])
    found, slope = path.evaluate(t), path.derivative(t)
    assert found.shape == slope.shape == (B, 57, C)
    for b in range(B):
        knots, at = (times[b], t[b]) if own_times else (times, t)
        for c in range(C):
            expected = oracle(kind, knots.numpy(), values[b, :, c].numpy(), at.numpy())
            torch.testing.assert_close(found[b, :, c], torch.from_numpy(expected[0]), **ROUNDING)
            torch.testing.assert_close(slope[b, :, c], torch.from_numpy(expected[1]), **ROUNDING)


@kinds
def test_a_path_with_missing_values_is_that_of_the_observed_ones(kind: str):
    """Between a channel's first and last observation; before and after, the nearest one is held.

    Hermite slopes are differences over the filled values, so that kind has its filled values as its oracle's data.
    """
    values, times = data(missing=0.4)
    values[0, 0, 0] = values[1, -2:, 1] = NAN
    values[2, :, 1] = NAN  # never observed
    path = make(kind, values, times)
    t = torch.linspace(float(times[0]), float(times[-1]), 101, dtype=torch64)
    found, slope = path.evaluate(t), path.derivative(t)
    for b in range(B):
        for c in range(C):
            series = values[b, :, c].numpy()
            seen = np.flatnonzero(~np.isnan(series))
            if not len(seen):
                assert found[b, :, c].abs().max() == slope[b, :, c].abs().max() == 0
                continue
            held = series.copy()
            held[: seen[0]], held[seen[-1] :] = series[seen[0]], series[seen[-1]]
            if kind == "hermite":
                held = np.interp(times.numpy(), times[seen].numpy(), series[seen])
            knots = ~np.isnan(held)
            expected = oracle(kind, times[knots].numpy(), held[knots], t.numpy())
            torch.testing.assert_close(found[b, :, c], torch.from_numpy(expected[0]), **ROUNDING)
            # Where a linear path passes a missing value, its two halves round their common slope differently.
            torch.testing.assert_close(slope[b, :, c], torch.from_numpy(expected[1]), **ROUNDING)


@kinds
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_paths_are_those_of_torchcde_between_knots(kind: str, missing: float):
    """At a knot torchcde takes the slope of the interval before; it holds ends as we do."""
    torchcde = pytest.importorskip("torchcde")
    values, times = data(missing=missing)
    theirs = {
        "linear": (torchcde.linear_interpolation_coeffs, torchcde.LinearInterpolation),
        "hermite": (torchcde.hermite_cubic_coefficients_with_backward_differences, torchcde.CubicSpline),
        "natural_cubic": (torchcde.natural_cubic_coeffs, torchcde.CubicSpline),
    }[kind]
    other = theirs[1](theirs[0](values, times), times)
    path = make(kind, values, times)
    t = (times[:-1, None] + times.diff()[:, None] * torch.tensor([0.1, 0.5, 0.9], dtype=torch64)).flatten()
    torch.testing.assert_close(path.evaluate(t), other.evaluate(t), **ROUNDING)
    torch.testing.assert_close(path.derivative(t), other.derivative(t), **ROUNDING)


@kinds
def test_a_mask_is_as_good_as_nan(kind: str):
    values, times = data(missing=0.3)
    mask = ~values.isnan()
    ours = KINDS[kind][0](values.nan_to_num(nan=99.0), times, mask=mask)
    assert torch.equal(ours, KINDS[kind][0](values, times))


@kinds
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_padding_changes_nothing(kind: str, missing: float):
    """A sample in a padded batch is the sample alone, with values, slopes and gradients finite and the same."""
    values, times = data(missing=missing, own_times=True)
    lengths = torch.tensor([L, 7, 2])
    padded = pad_times(times, lengths)
    values.requires_grad_()
    t = padded[:, :1] + torch.linspace(0, 1, 23, dtype=torch64) * (padded[:, -1:] - padded[:, :1])

    def seen(values: Tensor, times: Tensor, t: Tensor) -> Tensor:
        path = make(kind, values, times)
        return torch.cat(
            [path.evaluate(t), path.derivative(t), path.derivative(times)[:, :2], path.initial[:, None]], 1
        )

    together = seen(values, padded, t)
    (gradient,) = torch.autograd.grad(together.square().sum(), values)
    for b, length in enumerate(lengths.tolist()):
        own = values[b : b + 1, :length]
        alone = seen(own, times[b, :length], t[b : b + 1])
        torch.testing.assert_close(together[b : b + 1], alone, **ROUNDING)
        (expected,) = torch.autograd.grad(alone.square().sum(), own)
        torch.testing.assert_close(gradient[b : b + 1, :length], expected, rtol=1e-11, atol=1e-11)
        assert (gradient[b, length:] == 0).all()
    # Whatever stands in the padding is not looked at.
    spoiled = values.detach().clone()
    spoiled[1, 7:], spoiled[2, 2:] = 1e6, NAN
    assert torch.equal(seen(spoiled, padded, t), together)


def test_a_sample_of_one_observation_stands_still():
    values, times = data()
    padded = pad_times(times, torch.tensor([L, 1, L]))
    for kind in KINDS:
        path = make(kind, values, padded)
        assert torch.equal(path.evaluate(padded)[1], values[1, :1].expand(L, C))
        assert (path.derivative(padded)[1] == 0).all()


@kinds
def test_at_a_knot_the_derivative_is_that_of_the_interval_asked_for(kind: str):
    """By one-sided differences inside the interval, of an order high enough for a cubic: exact but for rounding."""
    values, times = data()
    path = make(kind, values, times)
    index = torch.tensor([3, 4])
    ends = times[4].expand(2)  # the end of interval 3, the start of interval 4
    assert path.locate(ends, side="left").tolist() == [3, 3]
    assert path.locate(ends).tolist() == [4, 4]
    step = 0.02 * torch.tensor([-1.0, 1.0], dtype=torch64)
    points = [path.evaluate(ends + k * step, interval=index) for k in range(4)]
    weights = (-11 / 6, 3, -3 / 2, 1 / 3)  # the third-order forward difference
    expected = sum(w * p for w, p in zip(weights, points, strict=True)) / step.view(1, 2, 1)
    torch.testing.assert_close(path.derivative(ends, interval=index), expected, rtol=0, atol=1e-11)
    jump = (expected[:, 1] - expected[:, 0]).abs().max()
    assert (jump > 0.1) if path.kinks else (jump < 1e-11)


@kinds
def test_shared_and_own_times_mix(kind: str):
    values, times = data()
    shared, own = make(kind, values, times), make(kind, values, times.expand(B, L))
    t = torch.linspace(float(times[0]), float(times[-1]), 9, dtype=torch64)
    for path in (shared, own):
        for asked in (t, t.expand(B, 9)):
            assert torch.equal(path.evaluate(asked), shared.evaluate(t))
            assert torch.equal(path.derivative(asked), shared.derivative(t))


def edited(values: Tensor, place: int) -> Tensor:
    other = values.clone()
    other[:, place:] += 5.0
    return other


@pytest.mark.parametrize("missing", [0.0, 0.4])
@kinds
def test_what_paths_know_of_the_future(kind: str, missing: float):
    """Edit all observations from the 6th on; up to the 5th, the past of a causal path must not move."""
    values, times = data(missing=missing)
    if missing and kind != "natural_cubic":
        values = forward_fill(values, times)
    one, other = make(kind, values, times), make(kind, edited(values, 6), times)
    past = torch.linspace(float(times[0]), float(times[5]), 40, dtype=torch64)
    kept = torch.equal(one.evaluate(past), other.evaluate(past))
    inside = times[5:6] + 0.5 * (times[6] - times[5])
    assert kept == (one.causality == "knots")
    assert not torch.equal(one.evaluate(inside), other.evaluate(inside))


def test_filling_on_straight_lines_looks_ahead_inside_a_gap():
    """Why the docstrings send those who need causality to ``forward_fill``."""
    values, times = data()
    values[:, 4:6] = NAN
    for kind in ("linear", "hermite"):
        found = [make(kind, v, times).evaluate(times[4:5]) for v in (values, edited(values, 6))]
        assert not torch.equal(found[0], found[1])
        found = [make(kind, forward_fill(v, times), times).evaluate(times[4:5]) for v in (values, edited(values, 6))]
        assert torch.equal(found[0], found[1])


def test_a_rectilinear_path_never_looks_ahead():
    values, times = data(missing=0.4)
    one, other = (RectilinearPath(rectilinear_coefficients(v, times)) for v in (values, edited(values, 6)))
    past = torch.linspace(float(times[0]), float(times[6]) - 1e-9, 60, dtype=torch64)
    assert one.causality == "continuous"
    assert torch.equal(one.parameter(past), other.parameter(past))
    assert torch.equal(one.evaluate(one.parameter(past)), other.evaluate(other.parameter(past)))
    now = one.parameter(times[6:7])
    assert not torch.equal(one.evaluate(now), other.evaluate(now))


def test_a_rectilinear_path_moves_in_time_and_then_in_value():
    values = torch.tensor([[[1.0, NAN], [NAN, 5.0], [3.0, 6.0], [9.0, 9.0]]], dtype=torch64)
    times = torch.tensor([[0.0, 1.0, 3.0, 3.0]], dtype=torch64)  # the last is padding
    path = RectilinearPath(rectilinear_coefficients(values, times, initial=-1.0))
    corners = [[0, 1, -1], [1, 1, -1], [1, 1, 5], [3, 1, 5], [3, 3, 6], [3, 3, 6], [3, 3, 6]]
    assert path.evaluate(path.times)[0].tolist() == corners
    assert path.channels == 3
    for i, t in enumerate([0.0, 0.25, 1.0, 2.0, 3.0]):
        place = path.parameter(torch.tensor([t], dtype=torch64))
        assert place.item() == [0.0, 0.25, 2.0, 2.5, 4.0][i]
        assert path.evaluate(place)[0, 0, 0] == t


def test_rectilinear_corners_are_those_of_torchcde():
    torchcde = pytest.importorskip("torchcde")
    values, times = data()
    channels = torch.cat([times.view(1, -1, 1).expand(B, L, 1), values], dim=-1)
    theirs = torchcde.linear_interpolation_coeffs(channels, rectilinear=0)
    assert torch.equal(rectilinear_coefficients(values, times), theirs)


def test_filling():
    values = torch.tensor([[[NAN, 1.0], [2.0, NAN], [NAN, NAN], [5.0, 4.0], [NAN, NAN]]], dtype=torch64)
    times = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0], dtype=torch64)
    assert linear_fill(values, times)[0].T.tolist() == [[2, 2, 3, 5, 5], [1, 1.75, 2.5, 4, 4]]
    assert forward_fill(values, times)[0].T.tolist() == [[0, 2, 2, 5, 5], [1, 1, 1, 4, 4]]
    padded = torch.tensor([0.0, 1.0, 2.0, 4.0, 4.0], dtype=torch64)
    values[0, 4] = 7.0
    assert linear_fill(values, padded)[0, 4].tolist() == forward_fill(values, padded)[0, 4].tolist() == [5, 4]


@pytest.mark.parametrize("kind", [*KINDS, "rectilinear"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_paths_are_differentiable_in_the_values(kind: str, missing: float):
    values, times = data(missing=missing, own_times=True)
    values, times = values[:2, :6], pad_times(times, torch.tensor([6, 4, 6]))[:2, :6]
    mask = ~values.isnan()

    def seen(x: Tensor) -> Tensor:
        if kind == "rectilinear":
            path: Path = RectilinearPath(rectilinear_coefficients(x, times, mask=mask))
            t = torch.linspace(0, 10, 21, dtype=torch64)
        else:
            path, t = make(kind, x, times, mask), times[:, :1] + torch.linspace(0, 3, 21, dtype=torch64)
        return torch.cat([path.evaluate(t), path.derivative(t)])

    assert torch.autograd.gradcheck(seen, values.nan_to_num().requires_grad_())


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 17])
def test_tridiagonal_systems(length: int):
    """Against a dense solve; a dominant diagonal keeps the condition number below 10."""
    generator = torch.Generator().manual_seed(length)
    lower, upper, right = torch.randn(3, 2, length, generator=generator, dtype=torch64)
    diagonal = lower.abs() + upper.abs() + 1
    matrix = torch.diag_embed(diagonal) + torch.diag_embed(lower[:, 1:], -1) + torch.diag_embed(upper[:, :-1], 1)
    expected = torch.linalg.solve(matrix, right)
    torch.testing.assert_close(solve_tridiagonal(lower, diagonal, upper, right), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("sign", [1, -1])
def test_knots_and_times_asked_for_merge(sign: int):
    """Against numpy's sets, a sample at a time."""
    knots = torch.tensor([[0.0, 1.0, 2.0, 4.0], [0.0, 0.5, 3.0, 3.0]], dtype=torch64)
    asked = torch.tensor([[0.5, 1.0, 1.0, 4.0], [0.0, 1.0, 3.0, 3.0]], dtype=torch64)
    asked = asked if sign > 0 else asked.flip(1)
    grid = merge_knots(knots, asked)
    longest = 0
    for b in range(2):
        ends = np.sort(asked[b, [0, -1]].numpy())
        inner = knots[b][(knots[b] > ends[0]) & (knots[b] < ends[1])]
        expected = np.union1d(inner.numpy(), asked[b].numpy())[::sign]
        longest = max(longest, len(expected))
        assert grid.times[b, : len(expected)].tolist() == expected.tolist()
        assert (grid.times[b, len(expected) :] == asked[b, -1]).all()
        assert torch.equal(grid.times[b, grid.places[b]], asked[b])
        alone = merge_knots(knots[b], asked[b])
        assert alone.times.tolist() == expected.tolist()
    assert grid.times.shape[1] == longest


@kinds
def test_coefficients_pass_through_a_loader_and_paths_through_copies(kind: str):
    values, times = data(missing=0.2)
    coefficients = KINDS[kind][0](values.float(), times)
    assert coefficients.dtype == torch.float32
    (batch,) = next(iter(DataLoader(TensorDataset(coefficients), batch_size=B)))
    path = KINDS[kind][1](batch, times)
    for other in (copy.deepcopy(path), pickle.loads(pickle.dumps(path))):
        assert torch.equal(other.derivative(times), path.derivative(times))
    assert path.derivative(times).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": torch.zeros(2, 3)}, "values must be floating point"),
        ({"values": torch.zeros(2, 1, 3), "times": torch.zeros(1)}, "needs two knots"),
        ({"values": torch.zeros(2, 4, 3, dtype=torch.int64)}, "int64"),
        ({"times": torch.arange(5)}, r"times must be \(4,\) or \(2, 4\)"),
        ({"times": torch.tensor([0.0, 1.0, 1.0, 2.0])}, "merge observations"),
        ({"times": torch.tensor([0.0, 2.0, 1.0, 3.0])}, "sort them"),
        ({"times": torch.tensor([0.0, 1.0, NAN, 3.0])}, "must increase"),
        ({"mask": torch.zeros(2, 4, 3)}, "mask must be bool"),
        ({"mask": torch.zeros(2, 4, dtype=torch.bool)}, "mask must be bool"),
    ],
)
@pytest.mark.parametrize("compute", [*(each for each, _ in KINDS.values()), rectilinear_coefficients])
def test_mistakes_in_data_are_named(compute, change: dict, message: str):
    given = {"values": torch.zeros(2, 4, 3), "times": torch.arange(4.0), "mask": None} | change
    with pytest.raises(InputError, match=message):
        compute(given["values"], given["times"], mask=given["mask"])


def test_coefficients_and_times_must_belong_together():
    with pytest.raises(InputError, match="do not belong together"):
        LinearPath(torch.zeros(2, 4, 3), torch.arange(5))
    with pytest.raises(InputError, match="do not belong together"):
        HermitePath(torch.zeros(2, 4, 4), torch.zeros(3, 4))
    with pytest.raises(InputError, match="values and slopes"):
        NaturalCubicPath(torch.zeros(2, 4, 3), torch.arange(4))
