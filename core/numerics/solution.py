"""What a solver returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor

from integrand.core.numerics.stepping.event import EventLog


class Status(IntEnum):
    """How the solve of one sample ended; at a terminal event it ended well, too.

    UNSOLVED: the equation of an implicit step was not solved, however short the step.
    """

    OK = 0
    NONFINITE = 1
    MAX_STEPS = 2
    STEP_TOO_SMALL = 3
    EVENT = 4
    UNSOLVED = 5


@dataclass(frozen=True)
class SolverStats:
    """Work done, per sample.

    Attributes:
        evaluations: field evaluations, (B,).
        accepted: steps taken, (B,).
        rejected: steps tried and refused by the error control, (B,).
    """

    evaluations: Tensor
    accepted: Tensor
    rejected: Tensor

    @classmethod
    def shared(
        cls, batch: int, device: torch.device, *, evaluations: int, accepted: int, rejected: int
    ) -> "SolverStats":
        """Build the counts of a batch whose samples all took the same steps."""

        def full(count: int) -> Tensor:
            return torch.full((batch,), count, dtype=torch.int64, device=device)

        return cls(full(evaluations), full(accepted), full(rejected))


@dataclass(frozen=True)
class Solution:
    """The solution of an initial value problem at the times asked for, and between them.

    Attributes:
        times: (T,) shared or (B, T) per sample.
        states: (B, T, ...), batch first.
        stats: evaluations and steps, per sample.
        outcome: ``Status`` as the solver found it, (B,); None where it did not look.
        event_times: time of the terminal event of each sample, (B,), infinite where none happened; None where none was
            asked for.
        event_states: the state there, (B, ...), NaN where none happened; None likewise.
        events: all events met, terminal or not; None likewise.
    """

    times: Tensor
    states: Tensor
    stats: SolverStats
    outcome: Tensor | None = None
    event_times: Tensor | None = None
    event_states: Tensor | None = None
    events: EventLog | None = None
    _slope: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, repr=False, compare=False)
    _dense: Callable[[Tensor], Tensor] | None = field(default=None, repr=False, compare=False)

    @property
    def status(self) -> Tensor:
        """``Status`` of each sample, (B,): NONFINITE, too, where a returned state is infinite or not a number."""
        finite_B = torch.isfinite(self.states).flatten(1).all(1)
        status_B = torch.where(finite_B, int(Status.OK), int(Status.NONFINITE))
        return status_B if self.outcome is None else torch.where(self.outcome == 0, status_B, self.outcome)

    def interpolate(self, t: Tensor) -> Tensor:
        """Evaluate the solution between its output times.

        A solve with ``dense=True`` answers with the polynomials of its steps, of the method's own order. Any other
        interpolates between outputs by cubics: on the interval [t_i, t_{i+1}] of length h, with s = (t - t_i) / h,

            y(t) = (1+2s)(1-s)^2 y_i + s(1-s)^2 h f_i + s^2(3-2s) y_{i+1} + s^2(s-1) h f_{i+1}

        which is fourth-order accurate in the distance of the outputs. All slopes f_i come from one evaluation of the
        field. Times outside the solved interval are extrapolated from the nearest one; an interval of length 0 keeps
        its state.

        Args:
            t: (Q,) shared or (B, Q) per sample.

        Returns:
            States, (B, Q, ...).

        Source: Hairer, Norsett and Wanner (1993), Solving ODEs I, section II.6.
        """
        if self._dense is not None:
            return self._dense(t.to(self.times).expand(self.states.shape[0], t.shape[-1]))
        if self._slope is None:
            raise ValueError("this solution has no field to interpolate with: ask the solver for these times instead")
        batch, count = self.states.shape[:2]
        times_BT = self.times.expand(batch, count)
        t_BQ = t.to(times_BT).expand(batch, t.shape[-1]).contiguous()
        slopes = self._slope(times_BT.flatten(), self.states.flatten(0, 1)).view_as(self.states)

        # Turned to increase; the first interval alone may be empty and not tell the direction.
        sign_B1 = torch.sign(times_BT[:, -1:] - times_BT[:, :1])
        left_BQ = torch.searchsorted((times_BT * sign_B1).contiguous(), t_BQ * sign_B1, right=True) - 1
        left_BQ = left_BQ.clamp(0, max(count - 2, 0))
        right_BQ = (left_BQ + 1).clamp(max=count - 1)

        def rows(index_BQ: Tensor, of: Tensor) -> Tensor:
            shape = index_BQ.shape + (1,) * (of.dim() - 2)
            return of.gather(1, index_BQ.view(shape).expand(*index_BQ.shape, *of.shape[2:]))

        t_left, t_right = times_BT.gather(1, left_BQ), times_BT.gather(1, right_BQ)
        shape = t_BQ.shape + (1,) * (self.states.dim() - 2)
        h_BQ = t_right - t_left
        h = h_BQ.view(shape)
        s = ((t_BQ - t_left) / torch.where(h_BQ == 0, 1, h_BQ)).view(shape)
        return (
            (1 + 2 * s) * (1 - s) ** 2 * rows(left_BQ, self.states)
            + s * (1 - s) ** 2 * h * rows(left_BQ, slopes)
            + s**2 * (3 - 2 * s) * rows(right_BQ, self.states)
            + s**2 * (s - 1) * h * rows(right_BQ, slopes)
        )
