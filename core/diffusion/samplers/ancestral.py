"""Ancestral sampling: the chain that the process's own posterior makes, and the family between it and DDIM."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.grid import Callback, Factors, Grid, combine
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.errors import InputError


def ancestral(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Walk from noise to data by draws from q(x_j | x_i, x_0) with the denoiser's mean for x_0, order 1 in law.

        x_j = alpha_j D + sqrt(sigma_j^2 - s^2) (x_i - alpha_i D) / sigma_i + s z,    s = eta sigma_j sqrt(1 - e^{-2h})

    with h the step in lambda and z standard normal. At ``eta=1`` s^2 is the variance of that posterior, the lesser one
    of DDPM; at ``eta=0`` the sampler is ``ddim``. One evaluation a step. A step from pure noise draws
    x_j anew about the mean of the data, and a step to t = 0 answers with the denoiser's mean.

    Args:
        field, x, times, args, callback: see ``ddim``.
        noise: what draws z, see ``SampleNoise``; draw i belongs to step i.
        eta: share of the noise, from 0 to 1.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; eta out of range.

    Source: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, Eq. 6 and 7; Song, Meng and Ermon
    (2021), Denoising diffusion implicit models, Eq. 12 and 16.
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta={eta:g} is out of range: ancestral takes one from 0, which is ddim, to 1.")
    grid = Grid.of(field.process, times, x)
    for i in range(grid.steps):
        answer = field.denoise(grid.t[i], x, args)
        kept, given, amount = ancestral_factors(grid, i, eta)
        x = combine(x, kept, (given, answer), *([(amount, noise(i, x))] if amount else []))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def ancestral_factors(grid: Grid, i: int, eta: float) -> Factors:
    """Return the factors of the step from i."""
    sigma = grid.sigma[i + 1]
    fresh = -math.expm1(-2 * grid.h(i, i + 1))  # the share of the variance at j that is not in x_i
    kept = sigma * math.sqrt(1 - eta**2 * fresh) / grid.sigma[i]
    return Factors(kept, grid.alpha[i + 1] - kept * grid.alpha[i], eta * sigma * math.sqrt(fresh))
