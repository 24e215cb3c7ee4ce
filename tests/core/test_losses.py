"""Losses against quadrature of their definitions and against scipy and torch.distributions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from integrand.core.losses import gaussian_crps, gaussian_kl, gaussian_nll

CASES = [(0.0, 1.0, 0.0), (0.3, 0.2, 0.5), (-2.0, 3.0, 4.0), (1.0, 0.5, -3.0), (100.0, 10.0, 101.0), (0.0, 1e-2, 1.0)]


def double(*numbers: float) -> list[torch.Tensor]:
    return [torch.tensor(number, dtype=torch.float64) for number in numbers]


@pytest.mark.parametrize(("mean", "std", "observed"), CASES)
def test_crps_is_the_integral_that_defines_it(mean: float, std: float, observed: float):
    """CRPS = integral of (F(x) - 1{x >= y})^2: F^2 up to the observation, (1 - F)^2 beyond."""
    reach = 12 * std  # further out F is 0 or 1 in double precision
    low, high = min(mean - reach, observed), max(mean + reach, observed)
    breaks = sorted({low, *np.clip([mean - 3 * std, mean, mean + 3 * std, observed], low, high), high})
    total = bound = 0.0
    for left, right in pairwise(breaks):
        tail = stats.norm.cdf if right <= observed else stats.norm.sf
        part, error = quad(lambda x, tail=tail: tail(x, mean, std) ** 2, left, right, epsabs=1e-14, epsrel=1e-12)
        total, bound = total + part, bound + error
    assert gaussian_crps(*double(mean, std, observed)).item() == pytest.approx(total, abs=bound + 1e-12 * total + 1e-14)


def test_crps_tends_to_the_absolute_error():
    """For |z| large the score is |error| - std / sqrt(pi), so the gap to |error| shrinks with std."""
    observed = torch.tensor([-3.0, 0.5, 20.0], dtype=torch.float64)
    for std in (1e-2, 1e-4, 1e-6):
        score = gaussian_crps(torch.zeros(3).double(), torch.full((3,), std).double(), observed)
        torch.testing.assert_close(
            observed.abs() - score, torch.full_like(score, std / np.pi**0.5), rtol=1e-6, atol=1e-14
        )


def test_crps_grows_linearly_with_an_outlier_and_in_its_units():
    (score,) = gaussian_crps(*double(0.0, 1.0, 1e6)).view(1)
    assert score.item() == pytest.approx(1e6 - np.pi**-0.5, rel=1e-14)
    one, other = gaussian_crps(*double(0.3, 0.2, 0.5)), gaussian_crps(*double(300.0, 200.0, 500.0))
    assert other.item() == pytest.approx(1000 * one.item(), rel=1e-14)


@pytest.mark.parametrize("score", [gaussian_crps, gaussian_nll])
def test_scores_are_proper(score):
    """The expected score under N(0.4, 0.7^2), by Gauss-Hermite quadrature, is least where the forecast is the truth."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    observed = torch.tensor(0.4 + 0.7 * nodes)
    weight = torch.tensor(weights / weights.sum())

    def expected(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        return (weight * score(mean.expand_as(observed), std.expand_as(observed), observed)).sum()

    mean, std = (tensor.requires_grad_() for tensor in double(0.4, 0.7))
    gradient = torch.autograd.grad(expected(mean, std), (mean, std))
    torch.testing.assert_close(torch.stack(gradient), torch.zeros(2).double(), rtol=0, atol=1e-10)
    best = expected(mean, std).item()
    for shift, factor in ((0.1, 1.0), (-0.1, 1.0), (0.0, 0.8), (0.0, 1.25), (0.05, 1.1)):
        assert expected(*double(0.4 + shift, 0.7 * factor)).item() > best + 1e-4


def test_nll_is_that_of_scipy():
    mean, std, observed = torch.tensor(CASES, dtype=torch.float64).unbind(1)
    expected = -stats.norm.logpdf(observed.numpy(), mean.numpy(), std.numpy())
    np.testing.assert_allclose(gaussian_nll(mean, std, observed).numpy(), expected, rtol=1e-14)


def test_kl_is_the_integral_that_defines_it_and_that_of_torch():
    mean = torch.tensor([[0.0, 0.7, -1.5], [2.0, -0.1, 0.3]], dtype=torch.float64)
    std = torch.tensor([[1.0, 0.4, 1.6], [0.2, 1.1, 2.0]], dtype=torch.float64)
    forecast, prior = torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(
        gaussian_kl(mean, std), torch.distributions.kl_divergence(forecast, prior).sum(-1), rtol=1e-14, atol=1e-15
    )

    def integral(m: float, s: float) -> tuple[float, float]:
        def integrand(x: float) -> float:
            return float(stats.norm.pdf(x, m, s) * (stats.norm.logpdf(x, m, s) - stats.norm.logpdf(x)))

        return quad(integrand, m - 12 * s, m + 12 * s, points=[m], epsabs=1e-13)

    for i in range(2):
        parts = [integral(m, s) for m, s in zip(mean[i].tolist(), std[i].tolist(), strict=True)]
        total, error = (sum(column) for column in zip(*parts, strict=True))
        assert gaussian_kl(mean, std)[i].item() == pytest.approx(total, abs=error + 1e-12)


@pytest.mark.parametrize("loss", [gaussian_crps, gaussian_nll])
def test_losses_are_differentiable(loss):
    inputs = tuple(tensor.requires_grad_() for tensor in torch.tensor(CASES[:4], dtype=torch.float64).unbind(1))
    assert torch.autograd.gradcheck(loss, inputs)


def test_kl_is_differentiable():
    mean, std = torch.randn(2, 3).double().requires_grad_(), (torch.rand(2, 3).double() + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_kl, (mean, std))


def test_single_precision_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    mean, observed = torch.randn(2, 1000, generator=generator)
    std = torch.rand(1000, generator=generator) + 0.1
    exact = gaussian_crps(mean.double(), std.double(), observed.double())
    # A few roundings of terms no greater than |error| + std.
    bound = 8 * torch.finfo(torch.float32).eps * ((observed - mean).abs() + std).double()
    assert ((gaussian_crps(mean, std, observed).double() - exact).abs() <= bound).all()
