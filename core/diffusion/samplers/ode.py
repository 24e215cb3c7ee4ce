"""Any method of ``solve_ode`` as a sampler."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising, ProbabilityFlow
from integrand.core.diffusion.samplers.grid import Callback, Grid
from integrand.core.numerics.methods.registry import ADAPTIVE
from integrand.core.numerics.solve_ode import solve_ode


def ode(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
    solver: str = "dopri5",
    rtol: float = 1e-4,
    atol: float = 1e-4,
    **options: Any,
) -> Tensor:
    """Solve the probability flow by a method of ``solve_ode``, from the first time to the last.

    Adaptive methods choose their steps by their tolerances and take of the times the ends alone; the others take one
    step from each time to the next. The flow has no value at t = 0: where the times end there, it is solved to the time
    before and the denoiser's mean is the answer.

    Args:
        field, x, times, args, callback: see ``ddim``. ``args`` are a tensor or nested structure of tensors (B, ...).
            With a callback an adaptive method also tells the states at the times between.
        solver: a name in ``METHODS``, the method of ``solve_ode``.
        rtol, atol: tolerances of adaptive methods.
        options: others of ``solve_ode``.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim`` and ``solve_ode``.
        SolveError: the solver could not reach the last time.

    Source: Song, Sohl-Dickstein, Kingma, Kumar, Ermon and Poole (2021), Score-based generative modeling through
    stochastic differential equations, Section 4.3.
    """
    grid = Grid.of(field.process, times, x)
    last = grid.steps - (grid.at[-1] == 0)
    if last:
        told = range(last + 1) if callback is not None or solver not in ADAPTIVE else (0, last)
        at = torch.stack([grid.t[i] for i in told])
        flow = ProbabilityFlow(field.process, field.denoise)
        states = solve_ode(flow, x, at, args=args, method=solver, rtol=rtol, atol=atol, **options).states
        x = states[:, -1]
        if callback is not None:
            for i in range(1, last + 1):
                callback(i, grid.at[i], states[:, i])
    if last < grid.steps:
        x = field.denoise(grid.t[last], x, args)
        if callback is not None:
            callback(grid.steps, 0.0, x)
    return x
