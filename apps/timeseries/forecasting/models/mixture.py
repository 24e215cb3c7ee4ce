"""Forecasts of several sample paths as one: which starts are drawn, and the Gaussian that stands for them all."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean and standard deviation, of one shape."""

    mean: Tensor
    std: Tensor


def stratified_draws(samples: int, dim: int, *, like: Tensor) -> Tensor:
    """Return S standard normal vectors (S, D), the same at every call: each number of a column a quantile of its own.

    Args:
        samples: S.
        dim: D.
        like: whose device and precision they are to have.

    Example:
        >>> draws = stratified_draws(4, 2, like=torch.zeros(()))
        >>> draws.sort(dim=0).values[:, 1].tolist() == draws.sort(dim=0).values[:, 0].tolist()
        True
    """
    shares = torch.linspace(0.5 / samples, 1 - 0.5 / samples, samples, device=like.device)
    quantiles = torch.special.ndtri(shares)
    generator = torch.Generator().manual_seed(0)
    shuffled = [torch.randperm(samples, generator=generator) for _ in range(dim)]
    return quantiles[torch.stack(shuffled, dim=1).to(like.device)].to(like.dtype)


def mixture(mean: Tensor, std: Tensor) -> Moments:
    """Return mean and standard deviation of S equally likely Gaussians, (S, ...) each; those (...).

    The variance is the mean of theirs and the variance of their means.

    Example:
        >>> mixture(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 0.0])).std.item()
        1.0
    """
    return Moments(mean.mean(0), ((std**2).mean(0) + mean.var(0, correction=0)).sqrt())
