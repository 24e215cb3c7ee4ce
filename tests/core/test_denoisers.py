"""Denoisers, their preconditioning, weightings, noise levels and guidance, against what defines them."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.diffusion.denoiser import PreconditionedDenoiser
from integrand.core.diffusion.guidance import GuidedFlow
from integrand.core.diffusion.histogram_denoiser import HistogramDenoiser
from integrand.core.diffusion.noise_levels import NoiseLevels, stratified, uniform_times
from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import lift
from integrand.core.diffusion.processes import PROCESSES, process
from integrand.core.diffusion.weightings import LearnedLogVariance, weights
from integrand.core.errors import InputError

SCALE = 0.7


def inner_times(name: str, count: int) -> Tensor:
    path = process(name)
    return torch.linspace(path.start, path.end, count + 2, dtype=torch.float64)[1:-1]


@pytest.mark.parametrize("name", PROCESSES)
def test_inputs_and_targets_have_unit_variance_and_are_uncorrelated(name: str):
    """By the moments of x: Var(c_in x) = Var((x_0 - c_skip x) / c_out) = 1 and Cov((x_0 - c_skip x) / c_out, x) = 0."""
    path, t = process(name), inner_times(name, 9)
    c = precondition(path, t, SCALE)
    alpha, sigma = path.alpha(t), path.sigma(t)
    variance = (alpha * SCALE).square() + sigma.square()
    one = torch.ones_like(t)
    torch.testing.assert_close(c.inside.square() * variance, one)
    of_data, of_noise = (1 - c.skip * alpha) * SCALE / c.out, -c.skip * sigma / c.out
    torch.testing.assert_close(of_data.square() + of_noise.square(), one)
    covariance = of_data * alpha * SCALE + of_noise * sigma
    torch.testing.assert_close(covariance, torch.zeros_like(t), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PROCESSES)
def test_an_untrained_denoiser_is_the_best_linear_one(name: str):
    """With F = 0 it is that of normal data, and the edm weighting gives it the loss 1 at every noise."""
    path, t = process(name), inner_times(name, 5)
    zero = PreconditionedDenoiser(path, lambda x, noise, condition: torch.zeros_like(x), data_scale=SCALE)  # pyright: ignore[reportArgumentType]
    alpha, sigma = path.alpha(t), path.sigma(t)
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    posterior = lift(alpha * SCALE**2 / ((alpha * SCALE).square() + sigma.square()), x) * x
    torch.testing.assert_close(zero(t, x), posterior)
    error = SCALE**2 * sigma.square() / ((alpha * SCALE).square() + sigma.square())
    torch.testing.assert_close(weights(path, t, "edm", data_scale=SCALE) * error, torch.ones_like(t))


@pytest.mark.parametrize("name", ["edm", "vp", "linear_flow"])
@pytest.mark.parametrize("each", [False, True])
def test_the_histograms_denoiser_is_the_posterior_mean_by_quadrature(name: str, each: bool):
    path, t = process(name), inner_times(name, 3)
    edges = torch.linspace(-1, 1, 6, dtype=torch.float64)
    shares = torch.tensor([[0.1, 0.0, 0.4, 0.3, 0.2], [0.5, 0.1, 0.1, 0.1, 0.2]], dtype=torch.float64)
    denoiser = HistogramDenoiser(path, edges, shares)
    grid = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 100_000 - 1  # midpoints; edges fall between them
    cell = torch.bucketize(grid, edges) - 1
    for i in range(3):
        alpha, sigma = path.alpha(t[i]), path.sigma(t[i])
        x = alpha * torch.tensor([[0.3, -0.9], [1.2, 0.0]], dtype=torch.float64) + 0.4 * sigma
        found = denoiser(t[i].expand(2) if each else t[i], x)
        for row in range(2):
            for column in range(2):
                density = shares[column][cell] * torch.exp(-0.5 * ((x[row, column] - alpha * grid) / sigma) ** 2)
                exact = (density * grid).sum() / density.sum()
                assert abs(float(found[row, column] - exact)) < 1e-7


def test_the_histogram_is_counted_from_training_values_and_far_states_stay_finite():
    denoiser = HistogramDenoiser(process("edm"), torch.linspace(-1, 1, 4), torch.full((2, 3), 1 / 3))
    denoiser.fit(torch.tensor([[0, 2], [0, 2], [0, 1]]), floor=0.0)
    t = torch.tensor(0.01)
    torch.testing.assert_close(denoiser(t, torch.tensor([[-0.7, 0.7]])), torch.tensor([[-0.7, 0.7]]), atol=1e-3, rtol=0)
    far = denoiser(t, torch.tensor([[5.0, -5.0]]))
    assert bool(far.isfinite().all())
    assert float(far.abs().max()) <= 1 + 1e-5


@pytest.mark.parametrize(
    ("edges", "shares", "message"),
    [
        ([0.0, 0.0, 1.0], [[0.5, 0.5]], "edges must be"),
        ([0.0, 0.5, 1.0], [[0.5, 0.6]], "each row with sum 1"),
        ([0.0, 0.5, 1.0], [[1.5, -0.5]], "must not be negative"),
    ],
)
def test_a_histogram_that_is_none_is_refused(edges: list[float], shares: list[list[float]], message: str):
    with pytest.raises(InputError, match=message):
        HistogramDenoiser(process("edm"), torch.tensor(edges), torch.tensor(shares))


@pytest.mark.parametrize("name", PROCESSES)
def test_levels_are_drawn_from_their_distribution(name: str):
    """A half uniform in l and a half normal, by the distribution function at a few places."""
    path, levels = process(name), NoiseLevels(mean=-0.3, deviation=0.8, uniform=0.4)
    torch.manual_seed(0)
    t = levels.times(path, 20_000).double()
    l = -path.half_log_snr(t)  # noqa: E741
    ends = -path.half_log_snr(torch.tensor([path.start, path.end], dtype=torch.float64)).clamp(-13.8, 13.8)
    for place in (-1.5, -0.3, 0.5):
        uniform = (place - float(ends[0])) / float(ends[1] - ends[0])
        normal = 0.5 * (1 + math.erf((place + 0.3) / (0.8 * math.sqrt(2))))
        exact = 0.4 * uniform + 0.6 * normal
        # Stratified: the count below a place is within a few of the exact one.
        assert abs(float((l < place).double().mean()) - exact) < 2e-3
    assert float(t.min()) >= path.start
    assert float(t.max()) <= path.end


def test_stratified_numbers_are_one_in_each_part():
    found = stratified(50)
    assert sorted((found * 50).floor().int().tolist()) == list(range(50))
    ends = uniform_times(process("edm"), torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.002, 80.0], dtype=torch.float64))


def test_weights_by_name():
    path, t = process("vp"), inner_times("vp", 5)
    snr = (path.alpha(t) / path.sigma(t)).square()
    torch.testing.assert_close(weights(path, t, "likelihood"), snr)
    torch.testing.assert_close(weights(path, t, "min_snr", gamma=2.0), snr.clamp(max=2.0))
    torch.testing.assert_close(weights(path, t, "uniform"), torch.ones_like(t))
    with pytest.raises(InputError, match="unknown weighting 'min_srn': did you mean 'min_snr'"):
        weights(path, t, "min_srn")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="gamma=0"):
        weights(path, t, "min_snr", gamma=0.0)


def test_the_learned_variance_finds_the_logarithm_of_the_mean_error():
    torch.manual_seed(0)
    learned = LearnedLogVariance()
    optimizer = torch.optim.Adam(learned.parameters(), 0.03)
    noise = torch.linspace(-1, 1, 64)
    error = torch.exp(1.5 * noise + 0.3)
    for _ in range(400):
        optimizer.zero_grad()
        learned(error, noise).mean().backward()
        optimizer.step()
    torch.testing.assert_close(learned(error, noise), 1 + 1.5 * noise + 0.3, atol=0.05, rtol=0)


class Classes(nn.Module):
    """The denoiser of N(c, 1) for class c of two, and of their mixture for no class, 2; the time is sigma."""

    centres = torch.tensor([-2.0, 2.0], dtype=torch.float64)

    def forward(self, t: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        variance = 1 + t**2
        shares = (-(x - self.centres).square() / (2 * variance)).softmax(1)
        means = torch.where((labels == 2)[:, None], shares @ self.centres[:, None], self.centres[labels % 2][:, None])
        return (x - means) / variance + means


def test_guidance_leans_as_the_scores_do():
    """D_w has the score (1 - w) s_nothing + w s_c."""
    path, t = process("edm"), torch.tensor(1.2, dtype=torch.float64)
    flow = ProbabilityFlow(path, Classes())
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    own, nothing = torch.ones(7, dtype=torch.int64), torch.full((7,), 2)
    guided = GuidedFlow(flow, torch.tensor([2]), 3.0)
    expected = -2 * flow.score(t, x, nothing) + 3 * flow.score(t, x, own)
    torch.testing.assert_close(guided.score(t, x, own), expected)
    torch.testing.assert_close(GuidedFlow(flow, nothing, 1.0).denoise(t, x, own), flow.denoise(t, x, own))
    torch.testing.assert_close(GuidedFlow(flow, nothing, 0.0).denoise(t, x, own), flow.denoise(t, x, nothing))
    outside = GuidedFlow(flow, nothing, 3.0, low=2.0, high=5.0)
    torch.testing.assert_close(outside.denoise(t, x, own), flow.denoise(t, x, own))
    inside = GuidedFlow(flow, nothing, 3.0, low=1.0, high=5.0)
    torch.testing.assert_close(inside.denoise(t, x, own), guided.denoise(t, x, own))


def test_guidance_refuses_what_it_cannot_do():
    flow = ProbabilityFlow(process("edm"), Classes())
    with pytest.raises(InputError, match="guidance scale=-1"):
        GuidedFlow(flow, torch.tensor([2]), -1.0)
    with pytest.raises(InputError, match="low < high"):
        GuidedFlow(flow, torch.tensor([2]), 2.0, low=3.0, high=1.0)
    with pytest.raises(InputError, match="needs a condition"):
        GuidedFlow(flow, torch.tensor([2]), 2.0).denoise(torch.tensor(1.0), torch.zeros(1, 1))
