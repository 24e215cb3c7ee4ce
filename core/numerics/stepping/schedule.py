"""How a solve chooses its steps, as one thing to hand to what walks the same way again, or back."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from integrand.core.numerics.arithmetic import shift
from integrand.core.numerics.field_call import BoundField
from integrand.core.numerics.methods.explicit import ExplicitRungeKutta
from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.stepping.fixed_step import walk_fixed
from integrand.core.numerics.stepping.shared_steps import RowClock, SharedClock, walk_shared
from integrand.core.numerics.stepping.step_control import ErrorNorm, StepControl
from integrand.core.numerics.stepping.walk import Walk


@dataclass(frozen=True)
class EqualSteps:
    """So many equal steps from each output time to the next."""

    substeps: int
    adaptive = False

    def walk(self, field: BoundField, y0: Tensor, times: Tensor, stepper: Stepper, *, record: bool = True) -> Walk:
        """Walk over times (T,) or (B, T), noting the steps if a record is asked for."""
        if record:
            states, steps = walk_fixed(field, y0, times, stepper, self.substeps)
            return Walk(states, states[-1], steps)
        y, states = y0, [y0]
        for i in range(times.shape[-1] - 1):
            for j in range(self.substeps):
                y = stepper.step(field, *self.step(times, i, j), y, None).y
            states.append(y)
        return Walk(states, y)

    def step(self, times: Tensor, i: int, j: int) -> tuple[Tensor, Tensor]:
        """Return where step j of interval i starts, and its length."""
        start = times[..., i]
        h = (times[..., i + 1] - start) / self.substeps
        return shift(start, h, j), h


@dataclass(frozen=True)
class SharedSteps:
    """Adaptive steps that the batch shares; the attributes are arguments of ``walk_shared``."""

    norm: ErrorNorm
    control: StepControl
    max_steps: int
    adaptive = True

    def walk(
        self,
        field: BoundField,
        y0: Tensor,
        times: Tensor,
        stepper: Stepper,
        *,
        record: bool = True,
        keep: bool = False,
    ) -> Walk:
        """Walk over times (T,) or (B, T); adaptive steps are always noted, with their slopes if ``keep``."""
        clock = self.clock(times, stepper)
        return walk_shared(field, y0, clock, stepper, self.norm, self.control, max_steps=self.max_steps, keep=keep)

    def clock(self, times: Tensor, stepper: Stepper) -> SharedClock | RowClock:
        """Return what the steps are counted in."""
        if times.dim() == 2:
            return RowClock(times)
        # Between the ends of an implicit step the slopes of a stiff problem say little of the state.
        dense = isinstance(stepper, ExplicitRungeKutta) and stepper.tableau.dense
        return SharedClock(times, lands=not dense, jumps=self.control.jump_times)


Schedule = EqualSteps | SharedSteps


class Solved(NamedTuple):
    """A solve with a derivative of its own making.

    Attributes:
        states: states at the output times, (B, T, ...).
        walk: how an adaptive solve went, without its states; None with equal steps.
    """

    states: Tensor
    walk: Walk | None
