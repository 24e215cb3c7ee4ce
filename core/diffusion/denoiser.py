"""A trained denoiser: a network inside its preconditioning."""

from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.diffusion.preconditioning import precondition
from integrand.core.diffusion.process import Process, lift


class PreconditionedDenoiser(nn.Module):
    """D(x, t) = c_skip x + c_out F(c_in x, c_noise), or B(x, t) + c_out F([c_in x, B(x, t)], c_noise) about a base B.

    A base is a denoiser in closed form of what is known beforehand, such as ``HistogramDenoiser``: the network sees its
    answer beside the state, as further channels, and adds to it. The factors are formed in float32 or wider, also under
    autocast, where the network alone works in half precision.

    Args:
        process: the path.
        network: F, called ``network(x, noise, condition)`` with x (B, C, ...), noise (B,) and the condition, None where
            there is none; with a base x has twice the channels. For data (B, D) channels are the D numbers. One that
            is to be the mean of a ``FlowMap`` takes the noise of a second time, (B,), as ``until``.
        data_scale: standard deviation of the data, whose mean is 0 or nearly so.
        base: B, called ``base(t, x)``, or None.

    Shapes:
        ``denoiser(t, x, condition, until)``: t scalar or (B,), x (B, C, ...); returns the same. A second time
        ``until``, a scalar or (B,), is handed to the network; None for none.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Eq. 7; the base is integrand's.
    """

    def __init__(
        self, process: Process, network: nn.Module, *, data_scale: float = 1.0, base: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.process, self.network, self.data_scale, self.base = process, network, data_scale, base

    def forward(self, t: Tensor, x: Tensor, condition: Any = None, until: Tensor | None = None) -> Tensor:
        """Return D(x, t), or what a network that knows of a second time makes of it."""
        factors = precondition(self.process, t, self.data_scale)
        inside, base = lift(factors.inside, x) * x, None
        if self.base is not None:
            base = self.base(t, x)
            inside = torch.cat([inside, base], dim=1)
        told = {} if until is None else {"until": self._noise(until, x)}
        raw = self.network(inside, factors.noise.to(x.dtype).expand(x.shape[0]), condition, **told)
        start = lift(factors.skip, x) * x if base is None else base
        return start + lift(factors.out, x) * raw.to(x.dtype)

    def _noise(self, t: Tensor, x: Tensor) -> Tensor:
        return precondition(self.process, t, self.data_scale).noise.to(x.dtype).expand(x.shape[0])
