"""An equation that a model solves on the way to its answers, taken out of the solve itself.

Dimension letters: B solutions, T times, D state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from integrand.core.numerics import SolverProblem, solve_ode
from integrand.core.numerics.field_call import apply

TIMES = 201
"""Times at which solutions are looked at."""
TOLERANCE = 1e-8
"""Of these solutions, in float64."""
SAMPLES = 64
"""Solutions that are followed, at most."""


@dataclass(frozen=True)
class Flow:
    """dy/dt = f(t, y) and solutions of it, in float64.

    Attributes:
        of: what it is, in a few words that follow "solutions of".
        driven: f, called as its model calls it, with ``args`` where it has any.
        args: of each sample, None where nothing drives it.
        states: (B, T, D).
        times: (T,).
        channels: D names.
        clock: what ``times`` are.
    """

    of: str
    driven: Callable[..., Tensor]
    args: Any
    states: Tensor
    times: Tensor
    channels: Sequence[str]
    clock: str = "time"

    def field(self, t: Tensor, y: Tensor) -> Tensor:
        """Return f(t, y), driven for every state as the first sample is."""
        if self.args is None:
            return self.driven(t, y)
        return self.driven(t, y, apply(self.args, lambda one: one[:1].expand(len(y), *one.shape[1:])))

    @property
    def autonomous(self) -> bool:
        """Whether the field is the same at the first time and at the last."""
        with torch.no_grad():
            first, last = (self.field(t, self.states[:, 0]) for t in (self.times[0], self.times[-1]))
        return torch.allclose(first, last, rtol=1e-9, atol=1e-12)

    def thinned(self, products: int) -> "Flow":
        """Return fewer of its states, evenly, so that as many products with the Jacobian make theirs."""
        batch, count, dim = self.states.shape
        side = max(2, int((products / dim) ** 0.5))
        rows = torch.linspace(0, batch - 1, min(batch, max(1, products // dim // min(count, side)))).long()
        when = torch.linspace(0, count - 1, min(count, side)).long()
        args = apply(self.args, lambda one: one[rows.to(one.device)])
        return replace(self, args=args, states=self.states[rows][:, when], times=self.times[when])


def flow_of(problem: SolverProblem, *, of: str, channels: Sequence[str] = ()) -> Flow | None:
    """Return the equation of a solve with solutions over the same span; None where its state is no vector.

    Args:
        problem: as a model posed it, in float64.
        of: see ``Flow``.
        channels: names of the state's components; numbered where there are none.
    """
    if problem.y0.dim() != 2 or problem.y0.shape[-1] < 2 or problem.y0.is_complex():
        return None
    first, last = float(problem.times[..., 0].min()), float(problem.times[..., -1].max())
    y0 = problem.y0.detach()
    times = torch.linspace(first, last, TIMES, dtype=y0.dtype, device=y0.device)
    args = apply(problem.args, lambda one: one.detach())
    return solved(problem.field, y0, times, args=args, of=of, channels=channels)


def solved(
    field: Callable[..., Tensor],
    y0: Tensor,
    times: Tensor,
    *,
    of: str,
    channels: Sequence[str] = (),
    args: Any = None,
    tolerance: float = TOLERANCE,
) -> Flow | None:
    """Return an equation with its solutions from y0 (B, D), in float64; those that cease to be finite are left out.

    Args:
        field, args: see ``solve_ode``.
        y0: starts, of which the first ``SAMPLES`` are followed.
        times: (T,).
        of, channels: see ``flow_of``.
        tolerance: relative and absolute.
    """
    y0, args = y0[:SAMPLES], apply(args, lambda one: one[:SAMPLES])
    with torch.no_grad():
        states = solve_ode(
            field, y0, times, args=args, rtol=tolerance, atol=tolerance, on_failure="nan", max_steps=20_000
        ).states
    whole = torch.isfinite(states).flatten(1).all(-1)
    if not bool(whole.any()):
        return None
    names = list(channels) or [f"state {n + 1}" for n in range(y0.shape[-1])]
    return Flow(of, field, apply(args, lambda one: one[whole]), states[whole], times, names)
