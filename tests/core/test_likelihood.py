"""Likelihood by the probability flow, against closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from integrand.core.diffusion.likelihood import bits_per_dimension, dequantize, log_prob, quantize
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import Process, lift
from integrand.core.diffusion.processes import process
from integrand.core.errors import InputError

CENTRES = torch.tensor([[1.0, 0.5], [-1.0, -0.5], [0.5, -1.0], [-0.5, 1.0]], dtype=torch.float64)
DEVIATION = 0.3
PROCESSES: dict[str, Any] = {
    "edm": {"end": 3000.0},
    "vp": {"end": 1.8},
    "sub_vp": {"end": 1.8},
    "ve": {"sigma_max": 3000.0},
    "cosine": {"end": 0.9998},
    "linear_flow": {},
    "trigonometric_flow": {},
}
"""With ends so far that the mixture cannot be told from a normal distribution there."""


class Mixture:
    """Four equal Gaussians about 0, their denoiser and density at every time of a process."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def _parts(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, variance = self.process.alpha(t), self.process.sigma(t).square()
        variance = variance + (alpha * DEVIATION).square()
        apart = x.unsqueeze(1) - lift(alpha, x.unsqueeze(1)) * CENTRES
        scale = variance if variance.dim() == 0 else variance.unsqueeze(1)
        return alpha, variance, -apart.square().sum(-1) / (2 * scale)

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        alpha, variance, logits = self._parts(t, x)
        mean = logits.softmax(1) @ CENTRES
        return lift(alpha * DEVIATION**2 / variance, x) * (x - lift(alpha, x) * mean) + mean

    def log_density(self, t: Tensor, x: Tensor) -> Tensor:
        _, variance, logits = self._parts(t, x)
        return logits.logsumexp(1) - math.log(4) - (2 * math.pi * variance).log()


def drawn(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    which = torch.randint(4, (count,), generator=generator)
    return CENTRES[which] + DEVIATION * torch.randn(count, 2, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_mixture_has_the_density_of_its_closed_form(name: str):
    path = process(name, **PROCESSES[name])
    exact, x = Mixture(path), drawn(32)
    scale = math.hypot(DEVIATION, float(CENTRES.square().mean().sqrt()))
    found = log_prob(ProbabilityFlow(path, exact), x, data_scale=scale, rtol=1e-9, atol=1e-9)
    start = torch.tensor(path.start, dtype=torch.float64)
    assert float((found.log_prob - exact.log_density(start, x)).abs().max()) < 2e-6


def test_the_latent_of_normal_data_is_the_data_in_units_of_their_deviation():
    path = process("edm")
    flow = ProbabilityFlow(path, lambda t, x: 4 * x / (4 + t**2))
    x = 2 * drawn(5)
    found = log_prob(flow, x, data_scale=2.0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.latent, x / math.hypot(2.0, path.start), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("trace", ["rademacher", "gaussian"])
def test_an_estimated_divergence_is_right_in_the_mean(trace: str):
    path = process("linear_flow")
    flow, x = ProbabilityFlow(path, Mixture(path)), drawn(1).expand(4000, 2)
    options: dict[str, Any] = {"data_scale": 0.84, "rtol": 1e-5, "atol": 1e-5}
    exact = log_prob(flow, x[:1], **options).log_prob
    found = log_prob(flow, x, trace=trace, generator=torch.Generator().manual_seed(0), **options).log_prob  # pyright: ignore[reportArgumentType]
    error = float(found.std()) / math.sqrt(len(found))
    assert error > 0
    assert abs(float(found.mean() - exact)) < 4 * error


def test_the_quadrature_tells_what_the_solver_tells():
    path = process("edm", start=0.01, end=50.0)
    flow, x = ProbabilityFlow(path, Mixture(path)), drawn(16)
    options: dict[str, Any] = {"data_scale": 0.84, "rtol": 1e-9, "atol": 1e-9}
    solved, by_nodes = log_prob(flow, x, **options), log_prob(flow, x, nodes=96, **options)
    torch.testing.assert_close(by_nodes.log_prob, solved.log_prob, rtol=0, atol=2e-6)
    torch.testing.assert_close(by_nodes.latent, solved.latent, rtol=1e-7, atol=1e-7)
    few = log_prob(flow, x, nodes=6, **options).log_prob
    assert float((few - solved.log_prob).abs().max()) > 1e-4  # the nodes do decide


def test_bits_of_a_uniform_density_count_the_cells():
    levels, dims = 17, 5
    uniform = torch.full((3,), -dims * math.log(2.0))  # on [-1, 1]
    bits = bits_per_dimension(uniform, dims, cell=2 / levels)
    torch.testing.assert_close(bits, torch.full((3,), math.log2(levels)))


def test_dequantized_values_come_back():
    values = torch.arange(17).repeat(50, 1)
    noisy = dequantize(values, 17, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quantize(noisy, 17), values)
    assert float(noisy.min()) >= -1
    assert float(noisy.max()) < 1
    # In each cell the noise is uniform: mean in the middle, variance that of the cell.
    within = (noisy + 1) * 17 / 2 - values
    assert abs(float(within.mean()) - 0.5) < 4 / math.sqrt(12 * within.numel())
    # The fourth central moment is 1 / 80, so that of N numbers the variance is known to sqrt((1/80 - 1/144) / N).
    assert abs(float(within.var()) - 1 / 12) < 4 / math.sqrt(180 * within.numel())


def test_faults_are_told():
    flow = ProbabilityFlow(process("edm"), lambda t, x: x / (1 + t**2))
    with pytest.raises(InputError, match="unknown trace 'exakt': did you mean 'exact'"):
        log_prob(flow, torch.zeros(1, 2), trace="exakt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="probes=0"):
        log_prob(flow, torch.zeros(1, 2), trace="gaussian", probes=0)
    with pytest.raises(InputError, match="levels=1"):
        dequantize(torch.zeros(2), 1)
    with pytest.raises(InputError, match="dims=0"):
        bits_per_dimension(torch.zeros(2), 0)
