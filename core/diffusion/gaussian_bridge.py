"""The Schrodinger bridge between two normal distributions, in closed form."""

import math

import torch
from torch import Tensor

from integrand.core.diffusion.bridge import SchrodingerBridge
from integrand.core.diffusion.process import lift
from integrand.core.errors import InputError


class GaussianBridge(SchrodingerBridge):
    """The bridge between N(m_0, s_0^2 I) at t = 0 and N(m_1, s_1^2 I) at t = 1 with Brownian motion of rate sigma.

    Its ends are jointly normal with the covariance c of each component, and x_t is normal with variance V(t):

        c = (sqrt(4 s_0^2 s_1^2 + sigma^4) - sigma^2) / 2
        V = (1 - t)^2 s_0^2 + t^2 s_1^2 + t (1 - t) (2 c + sigma^2)

    so that both fields are linear in x. With s_0 = s_1 = 1, V = (1 - t)^2 + t^2 + t (1 - t) sqrt(4 + sigma^4). It is
    what a learned bridge is measured by.

    Args:
        mean_0, mean_1: m_0 and m_1, of the shape of a sample, or a number for all components.
        scale_0, scale_1: s_0 and s_1.
        sigma: rate of the Brownian motion.

    Raises:
        InputError: a scale or rate that is not positive.

    Example:
        >>> bridge = GaussianBridge(-1.0, 1.0)
        >>> bridge.mean(torch.tensor(0.5)).item(), round(bridge.variance(torch.tensor(0.5)).item(), 4)
        (0.0, 1.059)

    Source: Bunne, Hsieh, Cuturi and Krause (2023), The Schrodinger bridge between Gaussian measures has a closed form.
    """

    def __init__(
        self,
        mean_0: Tensor | float,
        mean_1: Tensor | float,
        *,
        scale_0: float = 1.0,
        scale_1: float = 1.0,
        sigma: float = 1.0,
    ) -> None:
        if not (0 < scale_0 < math.inf and 0 < scale_1 < math.inf):
            raise InputError(f"the scales of a bridge must be positive, got {scale_0:g} and {scale_1:g}.")
        super().__init__(self._flow, self._score, sigma)
        self.scale_0, self.scale_1 = scale_0, scale_1
        self.covariance = (math.sqrt(4 * (scale_0 * scale_1) ** 2 + sigma**4) - sigma**2) / 2
        self.register_buffer("mean_0", torch.as_tensor(mean_0))
        self.register_buffer("mean_1", torch.as_tensor(mean_1))

    def mean(self, t: Tensor) -> Tensor:
        """Return the mean of x_t at a time t, a scalar, of the shape of the means."""
        start, way = self._means()
        return start + t * way

    def variance(self, t: Tensor) -> Tensor:
        """Return the variance of each component of x_t, of the shape of t."""
        inner = 2 * self.covariance + self.sigma**2
        return (1 - t).square() * self.scale_0**2 + t.square() * self.scale_1**2 + t * (1 - t) * inner

    def _means(self) -> tuple[Tensor, Tensor]:
        first, last = self.get_buffer("mean_0"), self.get_buffer("mean_1")
        return first, last - first

    def _from_mean(self, t: Tensor, x: Tensor) -> Tensor:
        start, way = self._means()
        return x - start.to(x.dtype) - lift(t, x) * way.to(x.dtype)

    def _flow(self, t: Tensor, x: Tensor) -> Tensor:
        # The covariance of x_1 - x_0 with x_t, over V, is how far the one is told by the other.
        told = (1 - t) * (self.covariance - self.scale_0**2) + t * (self.scale_1**2 - self.covariance)
        return self._means()[1].to(x.dtype) + lift(told / self.variance(t), x) * self._from_mean(t, x)

    def _score(self, t: Tensor, x: Tensor) -> Tensor:
        return -self._from_mean(t, x) / lift(self.variance(t), x)
