"""DPM-Solver++ in several steps: exponential Adams-Bashforth in lambda, of the clean data."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.grid import Callback, Grid, ratio


def dpmpp_2m(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by the two-step method DPM-Solver++ 2M, order 2, one evaluation a step.

        x_j = sigma_j / sigma_i x_i + (alpha_j - alpha_i sigma_j / sigma_i) ((1 + 1/(2r)) D_i - 1/(2r) D_{i-1})

    with r = h_{i-1} / h_i the ratio of the steps in lambda. The first step, and one that ends in clean data, is that of
    ``ddim``. Arguments as those of ``ddim``.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Algorithm 2.
    """
    grid = Grid.of(field.process, times, x)
    before: Tensor | None = None
    for i in range(grid.steps):
        clean = field.denoise(grid.t[i], x, args)
        kept, given = grid.kept(i, i + 1), grid.given(i, i + 1)
        x = (
            torch.add(x * kept, clean, alpha=given)
            if before is None or grid.is_clean(i + 1)
            else _two(x, clean, before, kept, given, 0.5 / ratio(grid.h(i - 1, i), grid.h(i, i + 1)))
        )
        before = clean
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _two(x: Tensor, clean: Tensor, before: Tensor, kept: float, given: float, lean: float) -> Tensor:
    moved = torch.add(x * kept, clean, alpha=given * (1 + lean))
    return moved.sub_(before, alpha=given * lean)
