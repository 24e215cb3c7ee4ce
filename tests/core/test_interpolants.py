"""Interpolants against finite differences, processes and normal distributions, whose mean fields are known."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from integrand.core.diffusion.interpolants import (
    INTERPOLANTS,
    BrownianBridge,
    Interpolant,
    LinearInterpolant,
    TrigonometricInterpolant,
    interpolant,
)
from integrand.core.diffusion.matching import bridge_matching_loss, flow_matching_loss, score_matching_loss
from integrand.core.diffusion.parameterizations import convert
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.processes import LinearFlow, TrigonometricFlow
from integrand.core.errors import InputError
from integrand.core.numerics.solve_ode import solve_ode

DTYPE = torch.float64
ROUNDING = 1e-12
ONE = torch.ones(1, 1)
ALL: list[Interpolant] = [
    LinearInterpolant(),
    LinearInterpolant(bump="sqrt", scale=0.7),
    LinearInterpolant(bump="sine", scale=0.4),
    TrigonometricInterpolant(),
    TrigonometricInterpolant(bump="sqrt"),
    TrigonometricInterpolant(bump="sine", scale=1.3),
    BrownianBridge(0.8),
]
NOISY = [each for each in ALL if each.noisy]
MEAN_0, SCALE_0, MEAN_1, SCALE_1 = -1.0, 0.5, 2.0, 1.5


def draw(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Independent normal data and source, and noise, (B, 1) each."""
    drawn = torch.randn(3, count, 1, dtype=DTYPE, generator=torch.Generator().manual_seed(seed))
    return MEAN_0 + SCALE_0 * drawn[0], MEAN_1 + SCALE_1 * drawn[1], drawn[2]


def moments(path: Interpolant, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and variance of x_t of these normal distributions, and half their slopes' worth: m, V, m', V' / 2."""
    alpha, beta, da, db = path.alpha(t), path.beta(t), path.alpha_slope(t), path.beta_slope(t)
    mean, slope = alpha * MEAN_0 + beta * MEAN_1, da * MEAN_0 + db * MEAN_1
    variance = (alpha * SCALE_0) ** 2 + (beta * SCALE_1) ** 2 + path.gamma(t) ** 2
    return mean, variance, slope, alpha * da * SCALE_0**2 + beta * db * SCALE_1**2 + path.bump_slope(t)


def mean_velocity(path: Interpolant) -> Callable[[Tensor, Tensor], Tensor]:
    """b(t, x), by the regression of one normal variable on another."""

    def field(t: Tensor, x: Tensor) -> Tensor:
        mean, variance, slope, covariance = moments(path, t)
        return (slope + covariance / variance * (x.squeeze(1) - mean)).unsqueeze(1)

    return field


def score(path: Interpolant) -> Callable[[Tensor, Tensor], Tensor]:
    def field(t: Tensor, x: Tensor) -> Tensor:
        mean, variance, _, _ = moments(path, t)
        return (mean - x.squeeze(1)).unsqueeze(1) / variance.view(-1, 1)

    return field


@pytest.mark.parametrize("path", ALL, ids=repr)
def test_slopes_are_those_of_the_functions(path: Interpolant):
    t, h = torch.linspace(0.05, 0.95, 19, dtype=DTYPE), 1e-5
    for function, slope in (
        (path.alpha, path.alpha_slope),
        (path.beta, path.beta_slope),
        (path.gamma, path.gamma_slope),
    ):
        measured = (function(t + h) - function(t - h)) / (2 * h)
        # The difference quotient errs by h^2 / 6 times a third derivative, below 500 here, and rounding over h.
        assert torch.allclose(slope(t), measured, rtol=0, atol=1e-7)
    assert torch.allclose(path.bump_slope(t), path.gamma(t) * path.gamma_slope(t), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("path", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, DTYPE])
def test_ends_are_the_data_and_the_source(path: Interpolant, dtype: torch.dtype):
    x0, x1, z = (each.to(dtype) for each in draw(5))
    noise = z if path.noisy else None
    rounding = 4 * torch.finfo(dtype).eps
    ends = torch.tensor([0.0, 1.0], dtype=dtype)
    assert torch.allclose(path.mix(x0, x1, ends[0], noise), x0, rtol=rounding, atol=rounding)
    assert torch.allclose(path.mix(x0, x1, ends[1], noise), x1, rtol=rounding, atol=rounding)
    assert path.bump_slope(ends).isfinite().all()


@pytest.mark.parametrize(
    ("path", "process"), [(LinearInterpolant(), LinearFlow()), (TrigonometricInterpolant(), TrigonometricFlow())]
)
def test_a_normal_source_makes_the_process_of_the_same_path(path: Interpolant, process: Process):
    x0, eps, _ = draw(6)
    t = torch.linspace(0.1, 0.9, 6, dtype=DTYPE)
    x = path.mix(x0, eps, t)
    assert torch.allclose(x, process.mix(x0, eps, t), atol=ROUNDING)
    velocity = convert(process, x0, x, t, source="x0", target="velocity")
    assert torch.allclose(path.velocity(x0, eps, t), velocity, atol=ROUNDING)


@pytest.mark.parametrize("path", ALL, ids=repr)
def test_the_mean_velocity_carries_one_normal_distribution_to_the_other(path: Interpolant):
    x1 = torch.linspace(-3, 5, 9, dtype=DTYPE).unsqueeze(1)
    carried = solve_ode(mean_velocity(path), x1, [1.0, 0.0], rtol=1e-10, atol=1e-10).states[:, -1]
    expected = MEAN_0 + SCALE_0 * (x1 - MEAN_1) / SCALE_1
    assert torch.allclose(carried, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("path", ALL, ids=repr)
def test_flow_matching_is_least_at_the_mean_velocity(path: Interpolant):
    """Away from it by d the loss must rise by |d|^2 in the mean: errors of a conditional mean are orthogonal to it."""
    x0, x1, z = draw(40_000)
    noise = z if path.noisy else None
    t = path.draw_times(x0, generator=torch.Generator().manual_seed(1)) * 0.9 + 0.05
    field = mean_velocity(path)
    for away in (lambda t, x: 0 * x + 0.5, lambda t, x: 0.3 * x, lambda t, x: 0.4 * t.unsqueeze(1) * x.sin()):
        shifted = partial(lambda t, x, away: field(t, x) + away(t, x), away=away)
        losses = [flow_matching_loss(each, x0, x1, t, path, noise=noise) for each in (field, shifted)]
        excess = losses[1] - losses[0] - away(t, path.mix(x0, x1, t, noise)).square().squeeze(1)
        assert abs(float(excess.mean())) < 4 * float(excess.std()) / len(excess) ** 0.5


@pytest.mark.parametrize("path", NOISY, ids=repr)
def test_score_matching_is_least_at_the_score(path: Interpolant):
    x0, x1, z = draw(40_000)
    t = path.draw_times(x0, generator=torch.Generator().manual_seed(1))
    field = score(path)
    for away in (lambda t, x: 0 * x + 0.5, lambda t, x: 0.3 * x):
        shifted = partial(lambda t, x, away: field(t, x) + away(t, x), away=away)
        losses = [score_matching_loss(each, x0, x1, t, path, noise=z) for each in (field, shifted)]
        rise = (path.gamma(t).unsqueeze(1) * away(t, path.mix(x0, x1, t, z))).square().squeeze(1)
        excess = losses[1] - losses[0] - rise
        assert abs(float(excess.mean())) < 4 * float(excess.std()) / len(excess) ** 0.5


@pytest.mark.parametrize("path", NOISY, ids=repr)
def test_the_score_target_has_the_score_as_its_mean(path: Interpolant):
    x0, x1, z = draw(40_000)
    t = torch.full((len(x0),), 0.3, dtype=DTYPE)
    x = path.mix(x0, x1, t, z)
    error = path.score_target(t, z) - score(path)(t, x)
    for weight in (torch.ones_like(x), x, x.square()):
        product = (error * weight).squeeze(1)
        assert abs(float(product.mean())) < 4 * float(product.std()) / len(product) ** 0.5


@pytest.mark.parametrize("path", NOISY, ids=repr)
def test_the_antithetic_loss_is_the_mean_of_both_signs_but_for_a_constant(path: Interpolant):
    x0, x1, z = draw(64)
    t = torch.linspace(0.05, 0.95, 64, dtype=DTYPE)
    field = mean_velocity(path)
    both = [flow_matching_loss(field, x0, x1, t, path, noise=sign * z) for sign in (1, -1)]
    constant = (path.gamma_slope(t).unsqueeze(1) * z).square().squeeze(1)
    antithetic = flow_matching_loss(field, x0, x1, t, path, noise=z, antithetic=True)
    assert torch.allclose(antithetic, (both[0] + both[1]) / 2 - constant, atol=1e-11)


def test_the_antithetic_loss_stays_finite_where_the_slope_of_the_noise_does_not():
    """At 1e-10 from an end gamma' is 5e4: plain losses are of its square, antithetic ones of order one."""
    path = BrownianBridge(1.0)
    x0, x1, z = draw(1000)
    t = torch.full((1000,), 1e-10, dtype=DTYPE)
    field = mean_velocity(path)
    assert float(flow_matching_loss(field, x0, x1, t, path, noise=z).mean()) > 1e8
    antithetic = flow_matching_loss(field, x0, x1, t, path, noise=z, antithetic=True)
    # b at t = 0 has slope c = (1/2 - s_0^2) / s_0^2 in x, so that the pull is c z^2, and |b - d|^2 is of order ten.
    assert float(antithetic.abs().mean()) < 100


def test_the_losses_of_a_bridge_are_the_two_regressions():
    path = BrownianBridge(0.8)
    x0, x1, z = draw(10)
    t = torch.linspace(0.1, 0.9, 10, dtype=DTYPE)
    both = bridge_matching_loss(lambda t, x: 2 * x, score(path), x0, x1, t, path, noise=z)
    x = path.mix(x0, x1, t, z)
    assert torch.allclose(both.flow, (2 * x - (x1 - x0)).square().squeeze(1))
    assert torch.allclose(both.score, score_matching_loss(score(path), x0, x1, t, path, noise=z))


def test_losses_are_means_over_components_and_hand_on_conditions():
    path, x0 = LinearInterpolant(), torch.zeros(3, 2, 2, 2)
    x1, t, c = torch.ones_like(x0), torch.rand(3), torch.tensor([0.0, 1.0, 3.0])
    losses = flow_matching_loss(lambda t, x, c: c.view(-1, 1, 1, 1).expand_as(x), x0, x1, t, path, args=c)
    assert losses.tolist() == [1.0, 0.0, 4.0]


def test_times_are_one_in_each_part_of_the_interval():
    path = LinearInterpolant(bump="sqrt", start=0.1)
    t = path.draw_times(torch.zeros(50, 2, dtype=DTYPE), generator=torch.Generator().manual_seed(0))
    parts = ((t - 0.1) / 0.8 * 50).floor().long()
    assert sorted(parts.tolist()) == list(range(50))
    assert parts.tolist() != list(range(50))  # in random order, that no sample is tied to a time


def test_times_are_uniform():
    path = LinearInterpolant(bump="sqrt", start=0.1)
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([path.draw_times(torch.zeros(3, 1, dtype=DTYPE), generator=generator)[0] for _ in range(4000)])
    spread = 0.8 / math.sqrt(12)
    assert abs(float(first.mean()) - 0.5) < 4 * spread / math.sqrt(4000)
    assert abs(float(first.std()) / spread - 1) < 0.04  # the standard error of it is below 1 %


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LinearInterpolant(scale=1.0), "scale=1 needs a bump"),
        (lambda: LinearInterpolant(bump="sqrt", scale=0.0), "scale=0 is out of range"),
        (lambda: interpolant("linear", bump="sqr"), "did you mean 'sqrt'"),
        (lambda: BrownianBridge(-1.0), "scale=-1 is out of range"),
        (lambda: BrownianBridge(start=0.5), "start=0.5 is out of range"),
        (lambda: interpolant("liner"), "did you mean 'linear'"),
        (lambda: interpolant("linear", sigma=1.0), "unknown option of interpolant linear 'sigma'"),
        (lambda: LinearInterpolant().score_target(torch.tensor(0.5), torch.zeros(1, 1)), "no target of the score"),
        (lambda: BrownianBridge().mix(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor(0.5)), "needs noise"),
        (
            lambda: LinearInterpolant().mix(ONE, ONE, torch.tensor(0.5), ONE),
            "takes no noise",
        ),
        (lambda: LinearInterpolant().mix(torch.zeros(2, 1), torch.zeros(1, 1), torch.tensor(0.5)), "of one shape"),
    ],
)
def test_mistakes_are_told_in_one_line(make: Callable[[], object], told: str):
    with pytest.raises(InputError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_registry_makes_each_of_them():
    assert set(INTERPOLANTS) == {"linear", "trigonometric", "brownian_bridge"}
    assert interpolant("brownian_bridge", sigma=2.0).gamma(torch.tensor(0.5)) == 1.0
