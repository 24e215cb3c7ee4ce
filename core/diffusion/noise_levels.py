"""Times at which a denoiser is trained."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.process import Process
from integrand.core.diffusion.schedule import half_log_snr_span
from integrand.core.errors import InputError


class NoiseLevels(NamedTuple):
    """A distribution of l = log(sigma / alpha): a share of it uniform over the path, the rest normal.

    The normal part is where a denoiser has most to learn, at noise somewhat below the data's own scale; the uniform
    part keeps what is rarely drawn from there, as likelihoods weigh all l alike.

    Attributes:
        mean, deviation: of the normal part; Karras's are -1.2 and 1.2 for data of deviation 0.5, hence -0.5 for 1.
        uniform: the share of the uniform part, 0 to 1.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Table 1, for the normal part; of the uniform one Kingma, Salimans, Poole and Ho (2021), Variational diffusion
    models.
    """

    mean: float = -0.5
    deviation: float = 1.2
    uniform: float = 0.5

    def check(self) -> None:
        """Refuse what is no distribution.

        Raises:
            InputError: a deviation or share out of range.
        """
        if not self.deviation > 0 or not 0 <= self.uniform <= 1:
            raise InputError(
                f"noise deviation={self.deviation:g} must be positive and uniform={self.uniform:g} lie in [0, 1]."
            )

    def times(self, process: Process, count: int, *, device: torch.device | str | None = None) -> Tensor:
        """Draw the times of a batch, (B,), spread evenly over the distribution's quantiles and in random order.

        Example:
            >>> from integrand.core.diffusion.processes import EDM
            >>> drawn = NoiseLevels().times(EDM(), 8)
            >>> drawn.shape, bool((drawn >= 0.002).all())
            (torch.Size([8]), True)
        """
        first, last = half_log_snr_span(process)  # lambda at the start, and at the end
        share = stratified(count, device=device)
        flat = share < self.uniform
        if self.uniform > 0:
            level = torch.where(flat, -first + (first - last) * share / self.uniform, torch.zeros_like(share))
        else:
            level = torch.zeros_like(share)
        if self.uniform < 1:
            rest = ((share - self.uniform) / (1 - self.uniform)).clamp(1e-6, 1 - 1e-6)
            normal = self.mean + self.deviation * math.sqrt(2) * torch.erfinv(2 * rest - 1)
            level = torch.where(flat, level, normal.clamp(-first, -last))
        return process.time(-level).clamp(process.start, process.end)


def stratified(
    count: int, *, device: torch.device | str | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return uniform numbers (B,), one in each B-th of [0, 1), in random order: means over them vary less."""
    order = torch.randperm(count, device=device, generator=generator)
    return (order + torch.rand(count, device=device, generator=generator)) / count


def uniform_times(process: Process, share: Tensor) -> Tensor:
    """Return the times whose l lies at a share of the path, 0 at its start and 1 at its end."""
    first, last = half_log_snr_span(process)
    return process.time(first + (last - first) * share).clamp(process.start, process.end)
