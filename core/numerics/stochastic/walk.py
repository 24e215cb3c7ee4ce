"""The native engine for stochastic differential equations: a walk in fixed steps."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.stochastic.brownian import Increments
from integrand.core.numerics.stochastic.equation import Equation
from integrand.core.numerics.stochastic.schemes import Moved, Noise, Scheme


class Grid(NamedTuple):
    """The steps of a walk.

    Attributes:
        times: where steps begin and the last ends, (S + 1,) shared or (B, S + 1) per sample.
        h: their lengths, (S,) or (B, S), negative where time runs backwards.
        substeps: how many of them make an output interval.
    """

    times: Tensor
    h: Tensor
    substeps: int

    @classmethod
    def divide(cls, times: Tensor, substeps: int) -> "Grid":
        """Divide every interval between output times into equal steps."""
        h = times.diff(dim=-1) / substeps
        if substeps == 1:
            return cls(times, h, 1)
        begun = times[..., :-1, None] + h[..., None] * torch.arange(substeps, dtype=h.dtype, device=h.device)
        return cls(
            torch.cat([begun.flatten(-2), times[..., -1:]], dim=-1), h.repeat_interleave(substeps, dim=-1), substeps
        )


class Walked(NamedTuple):
    """Where a walk stands after a step.

    Attributes:
        y: the state.
        kl: path KL since the start, (B,); None where there is no prior.
        moved: the step.
    """

    y: Tensor
    kl: Tensor | None
    moved: Moved


class Path(NamedTuple):
    """States (B, T, ...) at the output times and the path KL there, (B, T) or None."""

    states: Tensor
    kl: Tensor | None


def walk(sde: Equation, scheme: Scheme, y: Tensor, grid: Grid, noise: Increments) -> Iterator[Walked]:
    """Yield the state after every step.

    The path KL is integrated by the rule of left points, with which it is exactly the KL of the two chains of Euler
    steps, and of first order otherwise.
    """
    kl = y.new_zeros(y.shape[0]) if sde.has_prior else None
    areas = [None] * len(noise.w) if noise.area is None else noise.area.unbind(0)
    carry = None
    for t, h, w, area in zip(grid.times.unbind(-1), grid.h.unbind(-1), noise.w.unbind(0), areas, strict=False):
        moved = scheme.step(sde, t, h, y, Noise(w, area), carry)
        if kl is not None:
            kl = kl + h.abs() * sde.kl_rate(t, y if carry is None else carry[0], moved.drift, moved.diffusion)
        y, carry = moved.y, moved.carry
        yield Walked(y, kl, moved)


def solve_direct(sde: Equation, scheme: Scheme, y0: Tensor, grid: Grid, noise: Increments) -> Path:
    """Walk, leaving the steps to autograd."""
    states, kls = [y0], [y0.new_zeros(y0.shape[0])]
    for step, walked in enumerate(walk(sde, scheme, y0, grid, noise), start=1):
        if step % grid.substeps == 0:
            states.append(walked.y)
            if walked.kl is not None:
                kls.append(walked.kl)
    return Path(torch.stack(states, dim=1), torch.stack(kls, dim=1) if sde.has_prior else None)
