"""Euler's method on the probability flow, in the process's own time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.parameterizations import coefficients
from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine


class Velocity(NamedTuple):
    """The velocity dx/dt = a x + b D at some times, as plain numbers; infinite at t = 0."""

    a: list[float]
    b: list[float]

    @classmethod
    def of(cls, process: Process, at: Sequence[float]) -> "Velocity":
        """Make it at the times given."""
        a, b = coefficients(process, "velocity", torch.tensor(at, dtype=torch.float64, device="cpu"))
        return cls(a.tolist(), b.tolist())


def euler(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by Euler's method in t, order 1, one evaluation a step.

        x_j = x_i + (t_j - t_i) dx/dt(t_i, x_i)

    A step to t = 0 answers with the denoiser's mean, which for ``EDM`` and ``LinearFlow`` is Euler's method itself;
    with these two, whose alpha and sigma are linear in t, every step is that of ``ddim``. Arguments as those of
    ``ddim``.

    Source: Euler (1768), Institutionum calculi integralis; for the flow Song, Sohl-Dickstein, Kingma, Kumar, Ermon and
    Poole (2021), Score-based generative modeling through stochastic differential equations, Eq. 13.
    """
    grid = Grid.of(field.process, times, x)
    flow = Velocity.of(field.process, grid.at)
    for i in range(grid.steps):
        answer, step = field.denoise(grid.t[i], x, args), grid.at[i + 1] - grid.at[i]
        if grid.at[i + 1] == 0:
            kept, given = 0.0, grid.alpha[i + 1]
        else:
            kept, given = 1 + step * flow.a[i], step * flow.b[i]
        x = combine(x, kept, (given, answer))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x
