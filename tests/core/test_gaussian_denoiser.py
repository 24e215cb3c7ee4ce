"""The denoiser of normal data, against the gradient of the density of its states and the density of its data."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from integrand.core.diffusion.denoiser import PreconditionedDenoiser
from integrand.core.diffusion.gaussian_denoiser import GaussianDenoiser
from integrand.core.diffusion.likelihood import log_prob
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.processes import PROCESSES, process
from integrand.core.errors import InputError

MEAN = torch.tensor([0.5, -1.0, 0.2, 2.0], dtype=torch.float64)
ROOT = torch.tensor(  # of rank 3, so that one direction never changes
    [[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.9, 0.1], [0.5, 1.4, 0.1]], dtype=torch.float64
)
COVARIANCE = ROOT @ ROOT.T


def states(count: int) -> Tensor:
    return 3 * torch.randn(count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("each", [False, True])
def test_it_is_the_posterior_mean_by_the_score_of_the_states(name: str, each: bool):
    """Tweedie: alpha D = x + sigma^2 grad log p_t(x), where p_t is normal, as torch has it."""
    path = process(name)
    denoiser = GaussianDenoiser(path, MEAN, COVARIANCE)
    for share in (0.1, 0.4, 0.8):
        t = torch.tensor(path.start + share * (path.end - path.start), dtype=torch.float64)
        alpha, sigma = path.alpha(t), path.sigma(t)
        x = states(5).requires_grad_()
        marginal = MultivariateNormal(
            alpha * MEAN, alpha**2 * COVARIANCE + sigma**2 * torch.eye(4, dtype=torch.float64)
        )
        (score,) = torch.autograd.grad(marginal.log_prob(x).sum(), x)
        found = denoiser(t.expand(5) if each else t, x.detach())
        torch.testing.assert_close(alpha * found, x.detach() + sigma**2 * score, rtol=1e-8, atol=1e-8)


def test_its_flow_has_the_density_of_normal_data():
    """Those of the states at the start, where a little noise makes the density proper, against torch's."""
    path = process("edm", start=0.2, end=1e4)
    x = MEAN + torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) @ ROOT.T
    exact = MultivariateNormal(MEAN, COVARIANCE + 0.04 * torch.eye(4, dtype=torch.float64)).log_prob(x)
    found = log_prob(ProbabilityFlow(path, GaussianDenoiser(path, MEAN, COVARIANCE)), x, rtol=1e-7, atol=1e-7)
    # At the end data are taken to be standard normal, which is off by mean . x / end^2, three deviations at most.
    torch.testing.assert_close(found.log_prob, exact, rtol=0, atol=1e-3)


def test_mean_and_covariance_are_those_of_training_samples():
    values = np.random.default_rng(0).normal(size=(50, 2, 3)) @ np.array([[1.0, 0.4, 0], [0, 1, 2], [0, 0, 0.1]])
    flat = values.reshape(50, 6)
    made = GaussianDenoiser(process("vp"), torch.zeros(6, dtype=torch.float64), torch.eye(6))
    made.fit(torch.from_numpy(values))
    expected = GaussianDenoiser(
        process("vp"), torch.from_numpy(flat.mean(0)), torch.from_numpy(np.cov(flat, rowvar=False, bias=True))
    )
    x, t = torch.from_numpy(values[:4]), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(made(t, x), expected(t, x))
    assert made(t, x).shape == (4, 2, 3)


def test_data_in_a_plane_are_kept_in_it():
    """Where no sample differs, the answer is the mean, at any noise and from any state."""
    across = torch.linalg.svd(ROOT, full_matrices=True).U[:, 3]
    path = process("edm")
    for sigma in (0.002, 1.0, 80.0):
        found = GaussianDenoiser(path, MEAN, COVARIANCE)(torch.tensor(sigma, dtype=torch.float64), states(5))
        torch.testing.assert_close((found - MEAN) @ across, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_network_of_nothing_leaves_the_base_and_sees_it():
    path, seen = process("edm"), []
    base = GaussianDenoiser(path, MEAN, COVARIANCE)

    def network(x: Tensor, noise: Tensor, condition: None) -> Tensor:
        seen.append(x)
        return torch.zeros(len(x), 4, dtype=x.dtype)

    x, t = states(3), torch.tensor(0.7, dtype=torch.float64)
    denoiser = PreconditionedDenoiser(path, network, base=base)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(denoiser(t, x), base(t, x))
    torch.testing.assert_close(seen[0][:, 4:], base(t, x))


def test_its_state_is_plain_tensors_that_load_into_another():
    fitted = GaussianDenoiser(process("edm"), MEAN, COVARIANCE)
    fresh = GaussianDenoiser(process("edm"), torch.zeros_like(MEAN), torch.eye(4))
    fresh.load_state_dict(fitted.state_dict())
    x, t = states(3), torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(fresh(t, x), fitted(t, x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        ([0.0], [[1.0, 0.0], [0.0, 1.0]], r"covariance \(D, D\), got \(1,\) and \(2, 2\)"),
        ([0.0, 0.0], [[1.0, 0.5], [0.0, 1.0]], "must be symmetric"),
        ([0.0, 0.0], [[1.0, float("nan")], [float("nan"), 1.0]], "must be symmetric and finite"),
        ([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]], "negative eigenvalue -1"),
    ],
)
def test_what_is_no_covariance_is_refused(mean: list[float], covariance: list[list[float]], message: str):
    with pytest.raises(InputError, match=message):
        GaussianDenoiser(process("edm"), torch.tensor(mean), torch.tensor(covariance))
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        GaussianDenoiser(process("edm"), torch.zeros(2), torch.eye(2)).fit(torch.zeros(1, 2))
