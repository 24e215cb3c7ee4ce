"""A denoiser of small digits, and how far its samples are from the data: for experiments on sampling."""

from functools import cache

import torch
from fitting import Fitted, fit
from torch import Tensor, nn

from integrand.core.diffusion.denoiser import PreconditionedDenoiser
from integrand.core.diffusion.noise_levels import NoiseLevels
from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.processes import VP
from integrand.core.diffusion.samplers.noise import initial_noise
from integrand.core.diffusion.schedule import Spacing
from integrand.core.fields.mlp import MLP

PROCESS, PIXELS = VP(), 64
WIDTHS, STEPS, BATCH, RATE = (256, 256, 256), 1500, 128, 2e-3
TRAIN, VALIDATION = 1000, 397
SAMPLES = 2048
SPACINGS: tuple[Spacing, ...] = ("karras", "log_snr", "time", "quadratic")
STARTS = (PROCESS.start, 0.02, 0.1, 0.3)
"""Last times of a sampler before 0, with noise of 0.01, 0.08, 0.3 and 1.2: few steps cannot go down far."""


class Network(nn.Module):
    """What the preconditioning stands around: a perceptron of the picture, the noise and that of a second time.

    Without a second time it is told the first again: a jump from a time to itself is what a denoiser makes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.field = MLP(PIXELS, WIDTHS, activation="gelu", control=2)

    def forward(self, x: Tensor, noise: Tensor, condition: None = None, until: Tensor | None = None) -> Tensor:
        """Return the network's answer, (B, PIXELS)."""
        return self.field(noise, x, torch.stack([noise, noise if until is None else until], dim=1))


@cache
def digits(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return scikit-learn's digits for training, validation and test, (N, PIXELS), split by a seed.

    Pixels have mean 0 and variance 1, all together.
    """
    from sklearn.datasets import load_digits

    images, _ = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(images, dtype=torch.float32)[order]
    x = (x - x[:TRAIN].mean()) / x[:TRAIN].std()
    return x[:TRAIN], x[TRAIN : TRAIN + VALIDATION], x[TRAIN + VALIDATION :]


def denoiser(seed: int, *, steps: int = STEPS) -> Fitted:
    """Train a denoiser."""
    torch.manual_seed(seed)
    data, made = digits(seed)[0], PreconditionedDenoiser(PROCESS, Network())

    def loss() -> Tensor:
        x0 = data[torch.randint(TRAIN, (BATCH,))]
        t = NoiseLevels().times(PROCESS, BATCH)
        error = made(t, PROCESS.mix(x0, torch.randn_like(x0), t)) - x0
        return (error.square().mean(1) / precondition(PROCESS, t).out.square()).mean()

    return fit(made, loss, steps=steps, rate=RATE)


def flow(made: nn.Module) -> ProbabilityFlow:
    """Return the probability flow of a denoiser."""
    return ProbabilityFlow(PROCESS, made)


def noise(part: int, seed: int, count: int = SAMPLES) -> Tensor:
    """Return where samples start, (N, PIXELS); no two parts of an experiment, nor seeds, have one in common."""
    first = (10 * seed + part) * 10**6
    return initial_noise(range(first, first + count), (PIXELS,), PROCESS.prior_scale())


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Return 2 E|x - y| - E|x - x'| - E|y - y'| of samples (N, D) and (M, D), whose mean is 0 for one distribution.

    Being free of bias, it may fall below 0.

    Source: Szekely and Rizzo (2013), Energy statistics: a class of statistics based on distances.
    """
    return float(2 * torch.cdist(x, y).mean() - _within(x) - _within(y))


def _within(x: Tensor) -> Tensor:
    return torch.cdist(x, x).sum() / (len(x) * (len(x) - 1))
