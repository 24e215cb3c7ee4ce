"""Drifts and diffusions of every kind of noise."""

import torch
from torch import Tensor

from integrand.core.numerics.stochastic.schemes import SCHEMES

ADAPTIVE_CASES = [
    (method, noise, calculus)
    for method, scheme in SCHEMES.items()
    for noise in scheme.adaptive
    for calculus in scheme.calculus
]
"""Method, noise and calculus wherever a method may choose its steps."""


def column(t: Tensor, y: Tensor) -> Tensor:
    return t if t.dim() == 0 else t.view(-1, *(1,) * (y.dim() - 1))


def drift(t: Tensor, y: Tensor) -> Tensor:
    return (1 + column(t, y)).cos() * y - y**3 / 4


def diffusion_of(noise: str):
    """A diffusion that is what the noise says, for states (B, D), D up to 3."""
    b = torch.tensor([[1.0, 0.3, -0.5, 0.1], [0.2, -0.7, 0.4, 0.0], [0.3, 0.1, 0.9, 0.4]], dtype=torch.float64)

    def diffusion(t: Tensor, y: Tensor) -> Tensor:
        matrix = b[: y.shape[-1], : y.shape[-1] + 1].to(y)
        own = 0.4 + 0.2 * (y + column(t, y)).sin()
        if noise == "diagonal":
            return own
        if noise == "scalar":
            return own.unsqueeze(-1)
        if noise == "commutative":
            return torch.diag_embed(own)
        scale = 0.3 * (1 + column(t, y)).unsqueeze(-1)
        if noise == "additive":
            return (scale * matrix).expand(len(y), -1, -1)
        return scale * matrix * (1 + 0.3 * y.roll(1, -1).tanh()).unsqueeze(-1)

    return diffusion
