"""The probability flow of a denoiser: the field that samplers and likelihoods integrate."""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from integrand.core.diffusion.parameterizations import coefficients
from integrand.core.diffusion.process import Process, lift


class Denoising(Protocol):
    """What samplers ask of a field: its process, and the mean of the clean data."""

    process: Process

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return E[x_0 | x_t = x], (B, ...), for a time t, a scalar or (B,)."""
        ...


class ProbabilityFlow(nn.Module):
    """The field dx/dt = alpha'(t) D(x, t) + sigma'(t) (x - alpha(t) D(x, t)) / sigma(t) of a denoiser D.

    With D = E[x_0 | x_t = x] its solutions have the marginals of the process at every time, so that solving it from
    ``end`` to ``start`` turns noise into data, and data into noise the other way, with the likelihood of ``log_prob``.
    It is a field as ``solve_ode`` takes it; samplers that are exact in the linear part ask for ``denoise`` alone.

    Its place on the map: model level; the ordinary equation of a diffusion, a flow whose field is known in closed form
    but for one conditional mean.

    Args:
        process: the path.
        denoiser: D, called ``denoiser(t, x)``, or ``denoiser(t, x, args)`` where ``args`` are given; t is a scalar or
            (B,), x (B, ...). A module is registered, so that its parameters are the field's.

    Shapes:
        ``field(t, x, args)``: t scalar or (B,), x (B, ...); returns (B, ...).

    Example:
        >>> import torch
        >>> from integrand.core.diffusion.processes import EDM
        >>> field = ProbabilityFlow(EDM(), lambda t, x: x / (1 + t**2))  # of standard normal data
        >>> field(torch.tensor(1.0), torch.tensor([[2.0]]))
        tensor([[1.]])

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Eq. 13; with a denoiser Karras, Aittala, Aila and Laine (2022), Elucidating the
    design space of diffusion-based generative models, Eq. 4.
    """

    def __init__(self, process: Process, denoiser: Callable[..., Tensor]) -> None:
        super().__init__()
        self.process, self.denoiser = process, denoiser

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return D(x, t), (B, ...)."""
        return self.denoiser(t, x) if args is None else self.denoiser(t, x, args)

    def score(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return grad log p_t(x) = (alpha D - x) / sigma^2, (B, ...)."""
        return self._at("score", t, x, args)

    def forward(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return the velocity, (B, ...)."""
        return self._at("velocity", t, x, args)

    def _at(self, kind: str, t: Tensor, x: Tensor, args: Any) -> Tensor:
        a, b = coefficients(self.process, kind, t)
        return lift(a, x) * x + lift(b, x) * self.denoise(t, x, args)
