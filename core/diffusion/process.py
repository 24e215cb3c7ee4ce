"""A path from data to noise: what every diffusion and every flow with Gaussian noise is described by."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError

FARTHEST = 13.8
"""Most that |log(sigma / alpha)| is taken for where it must be finite, as where a path ends in noise alone: a ratio of
a million. Steps, likelihoods and what a network is told of the noise share it, so that none goes where another does
not."""


class Process(ABC):
    """The Gaussian path x_t = alpha(t) x_0 + sigma(t) eps, eps ~ N(0, I), from data at t = 0 to noise at t = ``end``.

    Its marginals p_t are those of a stochastic equation and of an ordinary one, the probability flow,

        dx = f(t) x dt + g(t) dW,                          f = alpha' / alpha,  g^2 = 2 sigma sigma' - 2 f sigma^2,
        dx/dt = f(t) x - g^2(t)/2 grad log p_t(x) = alpha'(t) E[x_0 | x_t = x] + sigma'(t) E[eps | x_t = x].

    A process is no more than its two functions and their slopes; all else follows from them. Half the logarithm of the
    signal-to-noise ratio, lambda = log(alpha / sigma), falls strictly along it and is the clock in which two processes
    differ by a factor alone.

    Its place on the map: model level; the stochastic equation whose reversal generates, and the path of densities that
    a flow learns to follow.

    Class attributes that a subclass sets, or its ``__init__``:

    Attributes:
        name: what recipes and commands call it.
        start: the least time that samplers go down to and training draws; above 0, as sigma(0) = 0.
        end: the time of noise.

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Eq. 5 and 13; Kingma, Salimans, Poole and Ho (2021), Variational diffusion
    models, Eq. 3; of flows Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Eq. 10.
    """

    name: ClassVar[str]
    start: float
    end: float

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the share of the data at times of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise."""

    @abstractmethod
    def alpha_slope(self, t: Tensor) -> Tensor:
        """Return d alpha / dt."""

    @abstractmethod
    def sigma_slope(self, t: Tensor) -> Tensor:
        """Return d sigma / dt."""

    @abstractmethod
    def time(self, half_log_snr: Tensor) -> Tensor:
        """Return the times at which log(alpha / sigma) has the values given, the inverse of ``half_log_snr``."""

    def half_log_snr(self, t: Tensor) -> Tensor:
        """Return lambda(t) = log(alpha / sigma)."""
        return self.alpha(t).log() - self.sigma(t).log()

    def drift(self, t: Tensor) -> Tensor:
        """Return f(t) of the stochastic equation, in units of 1 / t."""
        return self.alpha_slope(t) / self.alpha(t)

    def squared_diffusion(self, t: Tensor) -> Tensor:
        """Return g(t)^2 of the stochastic equation."""
        sigma = self.sigma(t)
        return 2 * sigma * (self.sigma_slope(t) - self.drift(t) * sigma)

    def prior_scale(self, data_scale: float = 1.0) -> float:
        """Return the standard deviation of x_end for data of a standard deviation, as samplers begin with."""
        end = torch.tensor(self.end, dtype=torch.float64, device="cpu")
        return float((self.alpha(end).square() * data_scale**2 + self.sigma(end).square()).sqrt())

    def mix(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of data x0 (B, ...) and noise (B, ...) at times t, a scalar or (B,)."""
        return lift(self.alpha(t), x0) * x0 + lift(self.sigma(t), x0) * noise

    def _set_span(self, start: float, end: float, most: float) -> None:
        if not 0 < start < end <= most:
            bound = f" <= {most:g}" if most < float("inf") else ""
            raise InputError(f"{self.name}: 0 < start < end{bound} must hold, got start={start:g}, end={end:g}.")
        self.start, self.end = start, end

    def __repr__(self) -> str:
        """Say what it was made with."""
        told = ", ".join(f"{name}={value:g}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({told})"


def lift(factor: Tensor, like: Tensor) -> Tensor:
    """Return a factor, a scalar or (B,), shaped to multiply ``like`` (B, ...), in its precision."""
    factor = factor.to(like.dtype)
    return factor if factor.dim() == 0 else factor.view(-1, *[1] * (like.dim() - 1))
