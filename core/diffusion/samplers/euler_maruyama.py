"""The Euler-Maruyama method on the reverse stochastic equation, in the process's own time."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.samplers.ancestral import ancestral_factors
from integrand.core.diffusion.samplers.euler import Velocity
from integrand.core.diffusion.samplers.grid import Callback, Factors, Grid, combine
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.errors import InputError


def euler_maruyama(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Walk the reverse stochastic equation by the Euler-Maruyama method in t, order 1 in law, one evaluation a step.

        dx = (f x - (1 + eta)/2 g^2 grad log p_t(x)) dt + sqrt(eta) g dW,     t running backwards,

    whose marginals are those of the process for every eta: at 1 it is the reversal of the process, at 0 the probability
    flow, and the sampler ``euler``. A step that begins in pure noise, where f and g are infinite, is that of
    ``ancestral``; a step to t = 0 answers with the denoiser's mean.

    Args:
        field, x, times, args, callback: see ``ddim``.
        noise: what draws dW, see ``SampleNoise``; draw i belongs to step i.
        eta: amount of noise, at least 0.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; eta out of range.

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Eq. 6; for other eta Karras, Aittala, Aila and Laine (2022), Elucidating the
    design space of diffusion-based generative models, Eq. 6.
    """
    if not eta >= 0:
        raise InputError(f"eta={eta:g} is out of range: it must not be negative.")
    grid = Grid.of(field.process, times, x)
    for i, (kept, given, amount) in enumerate(_factors(field.process, grid, eta)):
        answer = field.denoise(grid.t[i], x, args)
        x = combine(x, kept, (given, answer), *([(amount, noise(i, x))] if amount else []))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _factors(process: Process, grid: Grid, eta: float) -> list[Factors]:
    """Return the factors of every step.

    With the velocity a x + b D, d lambda / dt is b / alpha and g^2 is -2 sigma^2 d lambda / dt.
    """
    flow, found = Velocity.of(process, grid.at), []
    for i in range(grid.steps):
        step, a, b, alpha = grid.at[i + 1] - grid.at[i], flow.a[i], flow.b[i], grid.alpha[i]
        if grid.at[i + 1] == 0:
            found.append(Factors(0.0, grid.alpha[i + 1], 0.0))
        elif eta and alpha == 0:
            found.append(ancestral_factors(grid, i, 1.0))
        elif eta:
            amount = grid.sigma[i] * math.sqrt(2 * eta * step * b / alpha)
            found.append(Factors(1 + step * (a - eta * b / alpha), step * (1 + eta) * b, amount))
        else:
            found.append(Factors(1 + step * a, step * b, 0.0))
    return found
