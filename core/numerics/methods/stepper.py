"""What a one-step method is to the drivers that walk with it."""

from typing import NamedTuple, Protocol

from torch import Tensor

from integrand.core.numerics.field_call import BoundField


class Step(NamedTuple):
    """One step tried, from (t, y) to t + h.

    Attributes:
        y: the state at t + h, (B, ...).
        error: estimate of the local error, (B, ...); None where the method has none.
        slopes: the stages' slopes k_i, each (B, ...), of which dense output is made. They may lie in memory that the
            method's next step overwrites.
        last: f(t + h, y), where the method has it for nothing; the next step starts with it.
        failed: (B,), True where an implicit equation was not solved, so that the step must be tried shorter; None for
            explicit methods.
        first: f(t, y) at the step's start, where the method evaluated it; the same step tried shorter starts with it.
        damping: a second, larger estimate of the local error, which tempers the first; see ``ErrorNorm``.
    """

    y: Tensor
    error: Tensor | None
    slopes: tuple[Tensor, ...]
    last: Tensor | None = None
    failed: Tensor | None = None
    first: Tensor | None = None
    damping: Tensor | None = None


class Stepper(Protocol):
    """A one-step method, made anew for each solve.

    Attributes:
        order: order of global convergence.
        error_order: order p of the error estimate, which is O(h^{p+1}) and sets how fast steps grow; None without one.
        stages: field evaluations in a step of an explicit method, 0 for an implicit one, which needs as many as it
            takes.
    """

    order: int
    error_order: int | None
    stages: int

    def step(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, first: Tensor | None) -> Step:
        """Try one step; t and h are scalar tensors or (B,), ``first`` is f(t, y) where it is known."""
        ...

    def complete(self, field: BoundField, t: Tensor, h: Tensor, y: Tensor, step: Step) -> Step:
        """Add the slopes that dense output needs beyond those of the step itself."""
        ...

    def weights(self, theta: Tensor) -> Tensor | None:
        """Return the weights b_i(theta) of dense output y(t + theta h) = y + h sum_i b_i(theta) k_i.

        theta has any shape (...), the result (..., stages); None where the method has no dense output.
        """
        ...
