"""Heun's method on the probability flow, as EDM samples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.samplers.euler import Velocity
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine, scalars


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
    steps = heun_steps(field.process, grid.at[:-1], grid.at[1:], x)
    for i, step in enumerate(steps):
        x = heun_step(field, x, (grid.t[i], grid.t[i + 1]), step, args)
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


class HeunStep(NamedTuple):
    """A step x' = kept x + given D, x_j = mixed x + first D + second D', of the answers D at x and D' at x'.

    Both slopes are linear in x and the two answers, so that each state is one sum.
    """

    kept: Tensor
    given: float
    mixed: Tensor
    first: float
    second: float


def heun_steps(process: Process, starts: Sequence[float], ends: Sequence[float], x: Tensor) -> list[HeunStep | None]:
    """Return the factors of every step, None where one ends at t = 0.

    Args:
        process: the path.
        starts, ends: times of each step, (S) of both.
        x: the states that will be walked.
    """
    flow, count = Velocity.of(process, [*starts, *ends]), len(starts)
    kept, given, mixed, answers = [], [], [], []
    slopes = zip(flow.a[:count], flow.b[:count], flow.a[count:], flow.b[count:], strict=True)
    for t, s, (a, b, c, d) in zip(starts, ends, slopes, strict=True):
        step, half = s - t, (s - t) / 2
        kept.append(1 + step * a)
        given.append(step * b)
        mixed.append(1 + half * (a + c * kept[-1]))
        answers.append((half * (b + c * given[-1]), half * d))
    factors = zip(scalars(kept, x), given, scalars(mixed, x), answers, strict=True)
    return [HeunStep(k, g, m, *pair) if s else None for s, (k, g, m, pair) in zip(ends, factors, strict=True)]


def heun_step(field: Denoising, x: Tensor, t: tuple[Tensor, Tensor], step: HeunStep | None, args: Any) -> Tensor:
    """Return the state after one step.

    Args:
        field: what denoises.
        x: states, (B, ...).
        t: the times at both ends, tensors ().
        step: its factors, None where it ends at t = 0.
        args: conditions.
    """
    first = field.denoise(t[0], x, args)
    if step is None:
        return combine(x, 0.0, (1.0, first))
    second = field.denoise(t[1], combine(x, step.kept, (step.given, first)), args)
    return combine(x, step.mixed, (step.first, first), (step.second, second))
