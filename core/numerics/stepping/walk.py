"""What an adaptive solve leaves behind: states at the output times, and the steps between them."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.numerics.solution import Status


class SolveError(RuntimeError):
    """A solve that could not reach its last time; the message names the cause and the usual cure."""


class StepTaken(NamedTuple):
    """An accepted step of a batch that shares its steps.

    Attributes:
        start, end: the clock at either end.
        t: time at the start, as the field sees it, a scalar or (B,).
        h: length of the step in time, likewise.
        fresh: whether the method evaluated the slope at the step's start, rather than take the last one's end.
        has_last: whether it evaluated the slope at the step's end.
        completed: whether slopes for dense output were added to those of the step.
        landed: the output that the step ends on, if any.
        inside: first and last (exclusive) of the outputs that lie inside the step.
        weights: their weights on the step's slopes, times h, (Q, stages); None without such outputs.
        y: state at the start, kept where dense output is asked for afterwards.
        slopes: slopes, kept likewise.
    """

    start: float
    end: float
    t: Tensor
    h: Tensor
    fresh: bool
    has_last: bool
    completed: bool
    landed: int | None
    inside: tuple[int, int]
    weights: Tensor | None
    y: Tensor | None = None
    slopes: tuple[Tensor, ...] = ()


@dataclass
class Walk:
    """Where an adaptive solve of a batch that shares its steps has come to.

    Attributes:
        states: the state at each output time reached so far.
        steps: the steps accepted.
        rejected: how many steps were refused.
        status: how it ended.
        reason: what stood in the way, where it did not end well.
        last: the last state accepted.
    """

    states: list[Tensor]
    last: Tensor
    steps: list[StepTaken] = field(default_factory=list)
    rejected: int = 0
    status: Status = Status.OK
    reason: str = ""

    def stack(self, count: int, on_failure: str) -> Tensor:
        """Return the states as (B, T, ...), those not reached filled with NaN or with the last state."""
        missing = count - len(self.states)
        if missing:
            fill = self.last if on_failure == "last" else torch.full_like(self.last, float("nan"))
            self.states.extend([fill] * missing)
        return torch.stack(self.states, dim=1)
