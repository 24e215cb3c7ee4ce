"""Metrics of fields against closed forms, numpy and one another."""

import math

import numpy as np
import pytest
import torch

from integrand.apps.physics.field_metrics import (
    band_errors,
    correlation,
    correlation_time,
    divergence,
    invariant_drift,
    nrmse,
    vrmse,
)
from integrand.apps.physics.resampling import resampled
from integrand.apps.training.paired_scores import compared
from integrand.core.errors import InputError
from integrand.core.losses import relative_l2

DOUBLE = torch.float64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def circle(n: int) -> torch.Tensor:
    return torch.arange(n, dtype=DOUBLE) * (2 * math.pi / n)


def test_nrmse_at_one_time_is_the_relative_l2_error():
    p, u = random(3, 1, 2, 8), random(3, 1, 2, 8, seed=1)
    torch.testing.assert_close(nrmse(p, u, dims=1), relative_l2(p, u, dims=1)[:, 0], rtol=1e-14, atol=0)


def test_nrmse_weighs_times_by_their_size():
    """Errors of 1 and 0 on truths of size 3 and 4: 1 / sqrt(9 + 16)."""
    u = torch.stack([torch.full((1, 6), 3.0), torch.full((1, 6), 4.0)])[None].to(DOUBLE)
    p = u.clone()
    p[:, 0] += 1
    assert nrmse(p, u, dims=1).item() == pytest.approx(1 / 5, rel=1e-14)


def test_vrmse_of_the_mean_is_one_but_for_the_floor():
    u = random(4, 9, 9)
    mean = u.mean((1, 2), keepdim=True).expand_as(u)
    variance = u.var((1, 2), unbiased=False)
    torch.testing.assert_close(vrmse(mean, u, dims=2), (variance / (variance + 1e-7)).sqrt(), rtol=1e-13, atol=0)


def test_band_errors_make_up_the_relative_l2_error():
    p, u = random(2, 3, 16, 12), random(2, 3, 16, 12, seed=1)
    made = band_errors(p, u, dims=2).square().sum(-1).sqrt()
    torch.testing.assert_close(made, relative_l2(p, u, dims=2), rtol=1e-13, atol=0)


def test_correlation_is_that_of_numpy_and_knows_no_units():
    p, u = random(5, 20), random(5, 20, seed=1)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(p.numpy(), u.numpy(), strict=True)]
    np.testing.assert_allclose(correlation(p, u, dims=1).numpy(), expected, rtol=1e-12)
    torch.testing.assert_close(correlation(3 * u - 7, u, dims=1), torch.ones(5, dtype=DOUBLE), rtol=1e-13, atol=0)
    assert correlation(torch.full((1, 20), math.nan, dtype=DOUBLE), u[:1], dims=1).item() == 0
    assert correlation(torch.ones(1, 20, dtype=DOUBLE), u[:1], dims=1).item() == 0


def test_correlation_time_is_where_a_line_crosses():
    times = torch.linspace(2, 12, 6, dtype=DOUBLE)
    falling = 1 - 0.05 * (times - 2)  # 0.8 after 4, 0.95 after 1
    assert correlation_time(falling[None], times, 0.8).item() == pytest.approx(4, rel=1e-12)
    assert correlation_time(falling[None], times, 0.95).item() == pytest.approx(1, rel=1e-12)


def test_correlation_time_ends_at_the_first_fall_or_with_the_span():
    times = torch.arange(4, dtype=DOUBLE)
    rows = torch.tensor([[1, 0.5, 1, 1], [1, 1, 1, 0.9], [0.2, 1, 1, 1]], dtype=DOUBLE)
    torch.testing.assert_close(correlation_time(rows, times, 0.75), torch.tensor([0.5, 3.0, 0.0], dtype=DOUBLE))


def test_drift_is_counted_from_the_start():
    values = torch.tensor([[1.0, 1.5, 0.0], [2.0, 2.0, 2.0]])
    torch.testing.assert_close(invariant_drift(values, scale=0.5), torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]))


def test_a_curl_has_no_divergence_and_a_gradient_of_a_wave_has_all():
    """v = (d_y psi, -d_x psi) is solenoidal; of grad sin(x) sin(y) the divergence is -2 sin sin: share sqrt(2)."""
    x, y = circle(16)[:, None], circle(12)[None]
    box = {"lengths": (2 * math.pi, 2 * math.pi), "periodic": (True, True)}
    curl = torch.stack([x.sin() * (2 * y).cos() * 2, -(x.cos() * (2 * y).sin())])
    assert divergence(curl, **box).item() < 1e-14
    slopes = torch.stack([x.cos() * y.sin(), x.sin() * y.cos()])
    # <(2 s s)^2> = 1; <sum (d_i v_j)^2> = 2 <s^2 s^2> + 2 <c^2 c^2> = 1
    assert divergence(slopes, **box).item() == pytest.approx(1.0, rel=1e-12)


def test_divergence_between_walls_is_exact_for_quadratics():
    x = torch.linspace(0, 1, 9, dtype=DOUBLE)[:, None].expand(9, 7)
    y = torch.linspace(0, 2, 7, dtype=DOUBLE)[None].expand(9, 7)
    velocity = torch.stack([x**2, -2 * x * y])
    assert divergence(velocity, lengths=(1.0, 2.0), periodic=(False, False)).item() < 1e-13
    with pytest.raises(InputError, match="no divergence"):
        divergence(velocity[:1], lengths=(1.0, 2.0), periodic=(False, False))


def test_waves_are_resampled_exactly_and_lines_between_walls():
    x = {n: circle(n) for n in (12, 20, 31)}
    for n in (20, 31):
        made = resampled((3 * x[12]).sin()[None], (n,), periodic=(True,))
        torch.testing.assert_close(made, (3 * x[n]).sin()[None], rtol=0, atol=1e-13)
        torch.testing.assert_close(
            resampled(made, (12,), periodic=(True,)), (3 * x[12]).sin()[None], rtol=0, atol=1e-13
        )
    line = torch.linspace(0, 5, 6, dtype=DOUBLE)
    plane = line[:, None] + 2 * x[12].cos()[None]
    fine = torch.linspace(0, 5, 21, dtype=DOUBLE)[:, None] + 2 * x[20].cos()[None]
    torch.testing.assert_close(resampled(plane, (21, 20), periodic=(False, True)), fine, rtol=0, atol=1e-13)


def test_gains_are_of_pairs():
    """Where one is half the other sample by sample, the gain is a half in every resample, however they scatter."""
    theirs = np.random.default_rng(0).lognormal(size=40)
    made = compared("a", {"a": {"e": theirs / 2, "t": theirs}, "b": {"e": theirs, "t": theirs / 2}},
                    metrics=["e", "t"], higher=("t",))  # fmt: skip
    for gain in made["gains"]["b"].values():
        assert gain["low"] <= gain["gain"] <= gain["high"]
    assert made["gains"]["b"]["e"] == pytest.approx({"gain": 0.5, "low": 0.5, "high": 0.5}, rel=1e-12)
    assert made["gains"]["b"]["t"] == pytest.approx({"gain": 1.0, "low": 1.0, "high": 1.0}, rel=1e-12)
    low, high = made["intervals"]["a"]["e"]
    assert low < made["metrics"]["a"]["e"] < high
