"""DDIM: the exponential Euler step in the clean data."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine


def ddim(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by steps that are exact where the denoiser's answer does not change.

        x_j = sigma_j / sigma_i x_i + (alpha_j - alpha_i sigma_j / sigma_i) D(x_i, t_i)

    Order 1, one evaluation a step. In lambda it is the exponential Euler method; with alpha = 1 it is Euler's method in
    sigma.

    Args:
        field: what denoises, see ``ProbabilityFlow``.
        x: states at ``times[0]``, (B, ...).
        times: (S + 1,), decreasing, see ``step_times``.
        args: conditions, as the field takes them.
        callback: called after every step.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: times that do not decrease or lie outside the process.

    Source: Song, Meng and Ermon (2021), Denoising diffusion implicit models, Eq. 12 with no noise.
    """
    grid = Grid.of(field.process, times, x)
    for i in range(grid.steps):
        x = combine(x, grid.kept_by[i], (grid.given(i, i + 1), field.denoise(grid.t[i], x, args)))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x
