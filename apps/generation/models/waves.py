"""Coordinates of a noisy state as waves, the finer of which die out in the noise."""

import math

import torch
from torch import Tensor, nn


class Waves(nn.Module):
    """The numbers exp(-(w_k s)^2 / 2) [cos w_k y, sin w_k y] of every component y = x / alpha of a noisy state.

    They are the means of cos and sin of w_k (y + s e) over normal e: waves finer than the noise s = sigma / alpha die
    out, as they do in a density that has it. The frequencies w_k = 2^k pi / 4, k from 0 to K - 1, begin with a period
    of 8 deviations of the data. From y alone a perceptron learns details the later the finer they are; linear maps of
    its waves have them at once.

    Args:
        count: K.

    Shapes:
        ``waves(x, noise)``: x (B, D), states divided by their deviation (alpha^2 + sigma^2)^(1/2), and noise (B,), a
        quarter of log s; returns (B, 2 D K).

    Example:
        >>> Waves(4)(torch.zeros(3, 2), torch.zeros(3)).shape
        torch.Size([3, 16])

    Source: Tancik, Srinivasan, Mildenhall, Fridovich-Keil, Raghavan, Singhal, Ramamoorthi, Barron and Ng (2020),
    Fourier features let networks learn high frequency functions in low dimensional domains, Section 6.1, of powers of
    two; that blurred waves die out, Barron, Mildenhall, Tancik, Hedman, Martin-Brualla and Srinivasan (2021), Mip-NeRF,
    Eq. 14, there for the width of a cone in
    place of noise.
    """

    frequencies: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi / 4 * 2.0 ** torch.arange(count), persistent=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Return the waves."""
        level = (4 * noise).exp().unsqueeze(1)
        y = x * (1 + level.square()).sqrt()
        angles = (y.unsqueeze(-1) * self.frequencies).flatten(1)
        strength = torch.exp(-(level * self.frequencies).square() / 2).repeat(1, x.shape[1])
        return torch.cat([strength * angles.cos(), strength * angles.sin()], dim=1)
