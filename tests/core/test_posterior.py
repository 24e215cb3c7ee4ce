"""Posterior sampling of linear inverse problems, against the closed form of normal data."""

import pytest
import torch
from torch import Tensor

from integrand.core.diffusion.posterior import PosteriorFlow, masked
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import lift
from integrand.core.diffusion.processes import process
from integrand.core.errors import InputError

DIM, SCALE, NOISE = 4, 1.5, 0.3
MATRIX = torch.tensor([[1.0, 0.5, 0.0, -0.2], [0.0, 1.0, 2.0, 0.3]], dtype=torch.float64)


def normal_flow(name: str) -> ProbabilityFlow:
    """The flow of N(0, SCALE^2 I)."""
    path = process(name)

    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        return lift(alpha * SCALE**2 / ((alpha * SCALE).square() + sigma.square()), x) * x

    return ProbabilityFlow(path, denoiser)


@pytest.mark.parametrize("name", ["edm", "vp", "linear_flow"])
@pytest.mark.parametrize("each", [False, True])
def test_the_denoiser_given_a_measurement_is_the_gaussian_posterior_mean(name: str, each: bool):
    """Given x_t = alpha x_0 + sigma eps and y = A x_0 + n, two independent observations of x_0."""
    flow = normal_flow(name)
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(6, n, dtype=torch.float64, generator=generator) for n in (DIM, 2))
    t = torch.full((6,) if each else (), 0.37, dtype=torch.float64)
    given = PosteriorFlow(flow, lambda u: u @ MATRIX.T, y, noise=NOISE, data_scale=SCALE, iterations=4, tolerance=1e-12)
    alpha, sigma = flow.process.alpha(t.flatten()[:1]), flow.process.sigma(t.flatten()[:1])
    eye = torch.eye(DIM, dtype=torch.float64)
    precision = eye * (1 / SCALE**2 + (alpha / sigma) ** 2) + MATRIX.T @ MATRIX / NOISE**2
    exact = torch.linalg.solve(precision, (alpha / sigma**2 * x + y @ MATRIX / NOISE**2).T).T
    torch.testing.assert_close(given.denoise(t, x), exact, rtol=1e-9, atol=1e-9)


def test_a_mask_needs_one_step_and_keeps_what_is_known():
    flow = normal_flow("edm")
    known = torch.tensor([True, False, True, False])
    truth = torch.randn(5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    operator = masked(known)
    given = PosteriorFlow(flow, operator, operator(truth), data_scale=SCALE)
    x = torch.randn(5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    clean = given.denoise(torch.tensor(1.3, dtype=torch.float64), x)
    torch.testing.assert_close(clean[:, known], truth[:, known], rtol=1e-10, atol=1e-10)
    free = flow.denoise(torch.tensor(1.3, dtype=torch.float64), x)
    torch.testing.assert_close(clean[:, ~known], free[:, ~known])


def test_it_works_where_gradients_are_off_and_is_differentiable_where_they_are_on():
    flow = normal_flow("edm")
    operator = masked(torch.tensor([True, False, True, False]))
    given = PosteriorFlow(flow, operator, torch.zeros(2, DIM, dtype=torch.float64), data_scale=SCALE)
    t = torch.tensor(0.5, dtype=torch.float64)
    with torch.inference_mode():
        found = given.denoise(t, torch.ones(2, DIM, dtype=torch.float64))
    assert not found.requires_grad
    x = torch.ones(2, DIM, dtype=torch.float64, requires_grad=True)
    given.denoise(t, x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad[:, 1].ne(0).all())


def test_faults_are_told():
    flow = normal_flow("edm")
    with pytest.raises(InputError, match="noise=-1"):
        PosteriorFlow(flow, lambda u: u, torch.zeros(1, DIM), noise=-1.0)
    given = PosteriorFlow(flow, lambda u: u[:, :2], torch.zeros(1, DIM))
    with pytest.raises(InputError, match=r"the operator gives \(1, 2\) and the measurement is \(1, 4\)"):
        given.denoise(torch.tensor(1.0), torch.zeros(1, DIM))
