"""Fixed steps: from each output time to the next in equal parts."""

import math

import torch
from torch import Tensor

from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.compiled import BLOCK, CompiledRungeKutta
from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.stepping.walk import SolveError, StepTaken


def walk_fixed(
    field: BoundField, y0: Tensor, times: Tensor, stepper: Stepper, substeps: int
) -> tuple[list[Tensor], list[StepTaken]]:
    """Take ``substeps`` equal steps from each output time to the next; return the states at them, and the steps.

    Nothing here makes the host wait for the device, except to ask an implicit method whether it succeeded.

    Args:
        field: the right-hand side, with its arguments bound.
        y0: (B, ...).
        times: (T,) or (B, T).
        stepper: the method.
        substeps: steps in each interval.
    """
    if isinstance(stepper, CompiledRungeKutta):
        return _walk_blocks(field, y0, times, stepper, substeps)
    starts, widths = times.unbind(-1), (times.diff(dim=-1) / substeps).unbind(-1)
    y, states, steps = y0, [y0], []
    for i, (start, h) in enumerate(zip(starts, widths, strict=False)):
        for j in range(substeps):
            t = torch.add(start, h, alpha=j) if j else start
            step = stepper.step(field, t, h, y, None)
            if step.failed is not None and bool(step.failed.any()):
                raise SolveError(
                    f"step {len(steps) + 1}, from time {_number(start)}: the implicit equation of sample "
                    f"{int(step.failed.nonzero()[0])} was not solved: take shorter steps, or an adaptive method."
                )
            y = step.y
            landed = i + 1 if j == substeps - 1 else None
            steps.append(StepTaken(0.0, 0.0, t, h, True, False, False, landed, (0, 0), None))
        states.append(y)
    return states, steps


def _walk_blocks(
    field: BoundField, y0: Tensor, times: Tensor, stepper: CompiledRungeKutta, substeps: int
) -> tuple[list[Tensor], list[StepTaken]]:
    """Walk in blocks of steps that are compiled as one."""
    starts, h = times[..., :-1].unsqueeze(-1), (times.diff(dim=-1) / substeps).unsqueeze(-1)
    count = torch.arange(substeps, dtype=times.dtype, device=times.device)
    # Steps first, each with one time or one a sample.
    t_S = (starts + count * h).flatten(-2).movedim(-1, 0)
    h_S = h.expand(*h.shape[:-1], substeps).flatten(-2).movedim(-1, 0)
    y, reached = y0, []
    for t_block, h_block in zip(t_S.split(BLOCK), h_S.split(BLOCK), strict=True):
        reached.extend(stepper.steps(field, t_block, h_block, y))
        y = reached[-1]
    landed = range(substeps - 1, len(reached), substeps)
    return [y0, *(reached[i] for i in landed)], []


def count_substeps(times: Tensor, step_size: float) -> int:
    """Return the least number of equal steps in every interval with which none is longer than ``step_size``.

    An interval may seem longer than meant by the rounding of its two times, which adds no step. Reading the times makes
    the host wait for the device, once a solve.
    """
    if times.numel() == 0:
        return 1
    rounding = torch.finfo(times.dtype).eps * float(times.detach().abs().max())
    longest = float(times.detach().diff(dim=-1).abs().max()) - rounding
    return max(1, math.ceil(longest / step_size * (1 - 1e-9)))


def _number(time: Tensor) -> str:
    return f"{float(time.detach().flatten()[0]):g}"
