"""Data whose denoiser is known in closed form, and what samplers make of normal data without any sampling error."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import ProbabilityFlow
from integrand.core.diffusion.process import Process, lift

RADIUS, SPREAD = 4 / 1.414, 0.5 / 1.414


def ring(process: Process) -> ProbabilityFlow:
    """Eight Gaussians on a ring."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    centres = RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)

    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma = process.alpha(t), process.sigma(t)
        variance = (alpha * SPREAD).square() + sigma.square()
        # All centres are as far from 0, so that their squares drop out.
        chances = torch.softmax(lift(alpha / variance, x) * (x @ centres.to(x.dtype).T), dim=1)
        share = lift(alpha * SPREAD**2 / variance, x)
        return share * x + (1 - share * lift(alpha, x)) * (chances @ centres.to(x.dtype))

    return ProbabilityFlow(process, denoiser)


def normal(process: Process, mean: float = 0.7, scale: float = 0.6) -> ProbabilityFlow:
    """Data N(mean, scale^2) in every component, of any shape."""

    def denoiser(t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma = process.alpha(t), process.sigma(t)
        share = alpha * scale**2 / ((alpha * scale).square() + sigma.square())
        return mean + lift(share, x) * (x - lift(alpha * mean, x))

    return ProbabilityFlow(process, denoiser)


class Law(NamedTuple):
    """Mean and variance."""

    mean: float
    variance: float


def normal_law(process: Process, t: float, mean: float = 0.7, scale: float = 0.6) -> Law:
    """Those of x_t."""
    at = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = float(process.alpha(at)), float(process.sigma(at))
    return Law(alpha * mean, (alpha * scale) ** 2 + sigma**2)


class Impulses:
    """In place of noise, draw n is 1 for row n + 2 and 0 for all others."""

    def __call__(self, draw: int, x: Tensor) -> Tensor:
        """Return the draw."""
        z = torch.zeros_like(x)
        z[draw + 2] = 1
        return z


def sampled_law(sampler: Callable[..., Tensor], process: Process, times: Tensor, draws: int = 1, **options: Any) -> Law:
    """Mean and variance of what a sampler makes of normal data, exactly.

    With a denoiser linear in x a sampler is linear in its start and its noise: rows answer to nothing, to the start and
    to each draw alone, and the variance is the sum of the squares of the answers.
    """
    x = torch.zeros(2 + draws * (len(times) - 1), 1, dtype=torch.float64)
    x[1] = 1
    y = sampler(normal(process), x, times, noise=Impulses(), **options)[:, 0]
    start, answers = normal_law(process, float(times[0])), y[1:] - y[0]
    weights = torch.ones_like(answers)
    weights[0] = start.variance
    return Law(float(y[0] + answers[0] * start.mean), float((weights * answers.square()).sum()))
