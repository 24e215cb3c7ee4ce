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
            there is none; with a base x has twice the channels. For data (B, D) channels are the D numbers.
        data_scale: standard deviation of the data, whose mean is 0 or nearly so.
        base: B, called ``base(t, x)``, or None.

    Shapes:
        ``denoiser(t, x, condition)``: t scalar or (B,), x (B, C, ...); returns the same.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Eq. 7; the base is integrand's.
    """

    def __init__(
        self, process: Process, network: nn.Module, *, data_scale: float = 1.0, base: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.process, self.network, self.data_scale, self.base = process, network, data_scale, base

    def forward(self, t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        """Return D(x, t)."""
        factors = precondition(self.process, t, self.data_scale)
        inside, base = lift(factors.inside, x) * x, None
        if self.base is not None:
            base = self.base(t, x)
            inside = torch.cat([inside, base], dim=1)
        raw = self.network(inside, factors.noise.to(x.dtype).expand(x.shape[0]), condition)
        start = lift(factors.skip, x) * x if base is None else base
        return start + lift(factors.out, x) * raw.to(x.dtype)
