"""Predictor and corrector: an ancestral step, and Langevin dynamics at the noise it arrives at."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.ancestral import ancestral_factors
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.errors import InputError


def predictor_corrector(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    snr: float = 0.16,
    corrections: int = 1,
) -> Tensor:
    """Walk from noise to data by steps of ``ancestral``, each followed by M steps of Langevin dynamics at its end.

        x <- x + e grad log p_t(x) + sqrt(2 e) z,     e = 2 (r sigma)^2,     grad log p_t = (alpha D - x) / sigma^2

    The dynamics have p_t as their limit as e falls, so that they repair what the steps did to the law. r is the ratio
    of the norms of the score's part and of the noise's, as its authors set it, except that both norms are taken at what
    they are on average for noise, sqrt(dim) / sigma and sqrt(dim): a step then does not depend on the other samples,
    nor on the state, which would bend the law. Its own error, about r^2 of the noise's share of the variance, does not
    fall with the number of steps. 1 + M evaluations a step; none is corrected at t = 0.

    Args:
        field, x, times, args, callback: see ``ddim``.
        noise: what draws z, see ``SampleNoise``; draw (1 + M) i + k belongs to step i.
        snr: r, above 0 and below 1.
        corrections: M, at least 0.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; an option out of range.

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Algorithms 1, 4 and 5.
    """
    if not 0 < snr < 1:
        raise InputError(f"snr={snr:g} is out of range: it must lie between 0 and 1, usually 0.05 to 0.2.")
    if corrections < 0:
        raise InputError(f"corrections={corrections} is out of range: it must not be negative.")
    grid, draws = Grid.of(field.process, times, x), 1 + corrections
    for i in range(grid.steps):
        answer = field.denoise(grid.t[i], x, args)
        kept, given, amount = ancestral_factors(grid, i, 1.0)
        x = combine(x, kept, (given, answer), *([(amount, noise(draws * i, x))] if amount else []))
        for k in range(corrections if grid.at[i + 1] > 0 else 0):
            answer = field.denoise(grid.t[i + 1], x, args)
            pull, push = 2 * snr**2, 2 * snr * grid.sigma[i + 1]
            x = combine(x, 1 - pull, (pull * grid.alpha[i + 1], answer), (push, noise(draws * i + k + 1, x)))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x
