"""Exponential Runge-Kutta methods in lambda: one step at a time, of order 2, 3 and 4."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.process import Process
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine
from integrand.core.numerics.exponential.phi_functions import phi
from integrand.core.numerics.exponential.tableau import ETDRK3, KROGSTAD4, ExponentialTableau

MIDPOINT = ExponentialTableau(
    "exponential_midpoint",
    ((), (1 / 2 * phi(1, 1 / 2),)),
    (phi(1) - 2 * phi(2), 2 * phi(2)),
    (0.0, 1 / 2),
    2,
    "Hochbruck and Ostermann (2010), Exponential integrators, Section 2.3 with c_2 = 1/2",
)


def exponential_rk2(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by an exponential Runge-Kutta method of order 2, two evaluations a step.

    The second is made halfway in lambda; the line through both answers is integrated exactly against e^lambda. A step
    that begins in pure noise or ends in clean data is that of ``ddim``. Arguments as those of ``ddim``.

    Source: Hochbruck and Ostermann (2010), Exponential integrators, Section 2.3; for diffusion Zhang, Song and Chen
    (2023), Improved order analysis and design of exponential integrator for diffusion models sampling.
    """
    return walk_table(MIDPOINT, field, x, times, args, callback)


def exponential_rk3(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by the exponential Runge-Kutta method ETDRK3, order 3, three evaluations a step.

    They are made at the start, halfway and at the end in lambda, and the parabola through them is integrated exactly.
    Steps with an infinite end, and arguments, as those of ``exponential_rk2``.

    Source: Cox and Matthews (2002), Exponential time differencing for stiff systems, Eqs. 23 to 25.
    """
    return walk_table(ETDRK3, field, x, times, args, callback)


def exponential_rk4(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by Krogstad's exponential Runge-Kutta method, order 4, four evaluations a step.

    Steps with an infinite end, and arguments, as those of ``exponential_rk2``.

    Source: Krogstad (2005), Generalized integrating factor methods for stiff PDEs, ETDRK4-B.
    """
    return walk_table(KROGSTAD4, field, x, times, args, callback)


class _Stage(NamedTuple):
    """State s of a step: kept times x plus the answers so far times their weights, met at the time t."""

    t: Tensor
    kept: float
    weights: list[float]


def walk_table(
    table: ExponentialTableau,
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    args: Any,
    callback: Callback | None,
) -> Tensor:
    """Walk the probability flow by a table, as the equation dy/dlambda = -y + D of y = x / alpha.

    Between its ends a step of h in lambda is that of the table with L = -1, whatever the process, and

        x_j = sigma_j / sigma_i x_i + alpha_j h sum_s b_s(-h) D_s.
    """
    grid = Grid.of(field.process, times, x)
    finite = [i for i in range(grid.steps) if grid.is_finite(i, i + 1)]
    made = dict(zip(finite, _stages(table, grid, finite, field.process, x), strict=True)) if finite else {}
    for i in range(grid.steps):
        answers = [field.denoise(grid.t[i], x, args)]
        if i in made:
            *inner, last = made[i]
            for stage in inner:
                state = combine(x, stage.kept, *_terms(stage.weights, answers))
                answers.append(field.denoise(stage.t, state, args))
            x = combine(x, last.kept, *_terms(last.weights, answers))
        else:
            x = combine(x, grid.kept_by[i], (grid.given(i, i + 1), answers[0]))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _terms(weights: list[float], answers: list[Tensor]) -> list[tuple[float, Tensor]]:
    return [(weight, answer) for weight, answer in zip(weights, answers, strict=True) if weight]


def _stages(table: ExponentialTableau, grid: Grid, steps: list[int], process: Process, x: Tensor) -> list[list[_Stage]]:
    """Return for each of the steps its stages after the first and its end, all from one evaluation of the table."""
    level = torch.tensor(grid.half_log_snr, dtype=torch.float64, device="cpu")
    chosen = torch.tensor(steps, device="cpu")
    h = level[chosen + 1] - level[chosen]
    weights = table.weights(-h, h)
    sigma_S = torch.tensor(grid.sigma, dtype=torch.float64, device="cpu")[chosen]
    columns = []  # a stage each, of all steps
    for c, row in zip((*table.c[1:], 1.0), weights.rows[1:], strict=True):
        t = process.time(level[chosen] + c * h)
        t[t > grid.at[0]] = grid.at[0]
        alpha, kept = process.alpha(t), process.sigma(t) / sigma_S
        factors = [h * 0 if weight is None else alpha * weight for weight in row]
        columns.append((t.to(dtype=x.dtype).to(x.device, non_blocking=True).unbind(), kept, factors))
    return [
        [_Stage(t[n], kept[n].item(), [factor[n].item() for factor in factors]) for t, kept, factors in columns]
        for n in range(len(steps))
    ]
