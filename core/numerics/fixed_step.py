"""The native engine for explicit Runge-Kutta methods with fixed steps."""

import math

import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.solution import Solution, SolverStats
from integrand.core.numerics.tableau import Tableau


def solve_fixed(field: BoundField, y0: Tensor, times: Tensor, tableau: Tableau, step_size: float | None) -> Solution:
    """Walk from each output time to the next in equal steps.

    Without ``step_size`` each interval is one step. With it, every interval is divided into the same whole number of
    steps, the least with which none is longer than ``step_size``; finding that number reads the times once, which on
    an accelerator is this function's only wait for the device.

    Args:
        field: the right-hand side, with its arguments bound.
        y0: (B, ...).
        times: (T,) or (B, T).
        tableau: the method.
        step_size: longest step allowed, in the units of ``times``.
    """
    intervals = times.shape[-1] - 1
    substeps = 1 if step_size is None else count_substeps(times, step_size)
    shape = (-1,) + (1,) * (y0.dim() - 1)

    y, states = y0, [y0]
    for i in range(intervals):
        start = times[..., i]
        h = (times[..., i + 1] - start) / substeps
        h_y = h if h.dim() == 0 else h.view(shape)
        for j in range(substeps):
            y = _step(field, start + j * h if j else start, y, h, h_y, tableau)
        states.append(y)

    steps = intervals * substeps
    stats = SolverStats.shared(y0.shape[0], y0.device, evaluations=steps * tableau.stages, accepted=steps, rejected=0)
    return Solution(times, torch.stack(states, dim=1), stats, _slope=field)


def count_substeps(times: Tensor, step_size: float) -> int:
    """Return the least number of equal steps in every interval with which none is longer than ``step_size``.

    An interval may seem longer than meant by the rounding of its two times, which adds no step.
    """
    if times.numel() == 0:
        return 1
    rounding = torch.finfo(times.dtype).eps * float(times.detach().abs().max())
    longest = float(times.detach().diff(dim=-1).abs().max()) - rounding
    return max(1, math.ceil(longest / step_size * (1 - 1e-9)))


def _step(field: BoundField, t: Tensor, y: Tensor, h: Tensor, h_y: Tensor, tableau: Tableau) -> Tensor:
    """Take one step; ``h_y`` is ``h`` shaped to multiply states."""
    slopes: list[Tensor] = []
    for c, row in zip(tableau.c, tableau.a, strict=True):
        slopes.append(field(t + c * h if c else t, _combine(y, h_y, row, slopes)))
    return _combine(y, h_y, tableau.b, slopes)


def _combine(y: Tensor, h: Tensor, weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    """Return y + h sum_i w_i k_i, leaving out the zero weights."""
    total = None
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            total = weight * slope if total is None else torch.add(total, slope, alpha=weight)
    return y if total is None else torch.addcmul(y, h, total)
