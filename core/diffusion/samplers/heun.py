"""Heun's method on the probability flow, as EDM samples."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.euler import Velocity
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine


def heun(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by Heun's method in t, order 2, two evaluations a step.

        x' = x_i + (t_j - t_i) v(t_i, x_i),     x_j = x_i + (t_j - t_i) (v(t_i, x_i) + v(t_j, x')) / 2

    A step to t = 0 is one of ``euler``, so that S steps with ``final="denoise"`` cost 2 S - 1 evaluations. Arguments as
    those of ``ddim``.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Algorithm 1.
    """
    grid = Grid.of(field.process, times, x)
    flow = Velocity.of(field.process, grid.at)
    for i in range(grid.steps):
        ends = (grid.at[i], grid.at[i + 1])
        x = heun_step(field, x, ends, (grid.t[i], grid.t[i + 1]), (flow.a[i], flow.a[i + 1]), flow.b[i : i + 2], args)
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def heun_step(
    field: Denoising,
    x: Tensor,
    at: Sequence[float],
    t: Sequence[Tensor],
    a: Sequence[float],
    b: Sequence[float],
    args: Any,
) -> Tensor:
    """Return the state after one step.

    Args:
        field: what denoises.
        x: states, (B, ...).
        at: the times at both ends.
        t: the same as tensors ().
        a, b: of the velocity a x + b D at both ends, not used at t = 0.
        args: conditions.
    """
    step, first = at[1] - at[0], field.denoise(t[0], x, args)
    if at[1] == 0:
        return combine(x, 0.0, (1.0, first))
    # Both slopes are linear in x and two answers, so that the step is one sum of three terms.
    kept, given = 1 + step * a[0], step * b[0]
    second = field.denoise(t[1], combine(x, kept, (given, first)), args)
    half = step / 2
    return combine(x, 1 + half * (a[0] + a[1] * kept), (half * (b[0] + a[1] * given), first), (half * b[1], second))
