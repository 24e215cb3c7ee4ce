"""EDM's stochastic sampler: some noise is added before every step of Heun's method, which then removes more."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine
from integrand.core.diffusion.samplers.heun import heun_step, heun_steps
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.errors import InputError

MOST = math.sqrt(2) - 1
"""Greatest growth of the noise in a step, beyond which more noise is added than there was."""


def churned(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    churn: float = 40.0,
    churn_min: float = 0.05,
    churn_max: float = 50.0,
    noise_scale: float = 1.003,
) -> Tensor:
    """Walk the probability flow by Heun's method, raising the noise before each step by a factor 1 + gamma.

    With u = sigma / alpha, the noise in the units of the data, a step goes from t to the time s of (1 + gamma) u,

        x_s = alpha_s / alpha_t x_t + alpha_s u sqrt((1 + gamma)^2 - 1) S z,     gamma = min(C / steps, sqrt(2) - 1),

    and from s by a step of ``heun`` to the next time; gamma is 0 outside ``churn_min <= u <= churn_max``. Two
    evaluations a step. With no churn it is ``heun``; with S = 1 its order in law is 2, and other S leave a part of the
    error for any number of steps, which may balance one of the network's. For other processes than ``EDM`` the same
    noise is added to x / alpha, and Heun's method works in their own time.

    Args:
        field, x, times, args, callback: see ``ddim``.
        noise: what draws z, see ``SampleNoise``; draw i belongs to step i.
        churn: C, at least 0, EDM's S_churn.
        churn_min, churn_max: where the noise is raised, S_tmin and S_tmax.
        noise_scale: S of the noise added, S_noise.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; an option out of range.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Algorithm 2, with its Table 5's values for ImageNet.
    """
    if not churn >= 0 or not noise_scale >= 0:
        raise InputError(f"churn={churn:g} and noise_scale={noise_scale:g} must not be negative.")
    if not 0 <= churn_min <= churn_max:
        raise InputError(f"0 <= churn_min <= churn_max must hold, got {churn_min:g} and {churn_max:g}.")
    grid = Grid.of(field.process, times, x)
    raised = _raise(field.process, grid, churn, (churn_min, churn_max), x)
    for i, step in enumerate(heun_steps(field.process, raised.at, grid.at[1:], x)):
        if raised.amount[i]:
            x = combine(x, raised.kept[i], (raised.amount[i] * noise_scale, noise(i, x)))
        x = heun_step(field, x, (raised.t[i], grid.t[i + 1]), step, args)
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


class _Raised(NamedTuple):
    """The times that steps start from after noise was added, and the factors of x and of the noise."""

    at: list[float]
    t: list[Tensor]
    kept: list[float]
    amount: list[float]


def _raise(process: Process, grid: Grid, churn: float, between: tuple[float, float], x: Tensor) -> _Raised:
    gamma = min(churn / grid.steps, MOST)
    at = torch.tensor(grid.at[:-1], dtype=torch.float64, device="cpu")
    level = torch.tensor(grid.half_log_snr[:-1], dtype=torch.float64, device="cpu")
    u = (-level).exp()  # infinite in pure noise, which cannot be raised
    chosen = (u >= between[0]) & (u <= between[1]) & u.isfinite() & (gamma > 0)
    found = torch.where(chosen, process.time(torch.where(chosen, level, 0.0) - math.log1p(gamma)), at)
    alpha = process.alpha(found)
    kept = torch.where(chosen, alpha / process.alpha(at), 1.0)
    amount = torch.where(chosen, alpha * u * math.sqrt((1 + gamma) ** 2 - 1), 0.0)
    t = found.to(dtype=x.dtype).to(x.device, non_blocking=True).unbind()
    return _Raised(found.tolist(), list(t), kept.tolist(), amount.tolist())
