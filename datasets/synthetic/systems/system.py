"""Systems of ordinary differential equations as simulators.

Dimension letters: N samples, T times, D state (the channels).
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.numerics import solve_ode
from integrand.datasets.synthetic.simulator import Parameters, Simulator, Start


class System(Simulator):
    """dy/dt = f(t, y) with parameters; solved with fixed steps of ``method``.

    Class attributes beside those of ``Simulator``:

    Attributes:
        method: of ``solve_ode``.
        canonical: whether the state is [q, p], positions before their momenta.
        angles: channels that are angles, whose values a turn apart are the same.
        time_scale: what a user counts time in, such as a period; 1 where there is none.
        lyapunov: the largest exponent, per unit of time, with the default parameters; 0 where it is not chaotic.
    """

    method: ClassVar[str] = "dopri8"
    canonical: ClassVar[bool] = False
    angles: ClassVar[tuple[int, ...]] = ()
    time_scale: ClassVar[float] = 1.0
    lyapunov: ClassVar[float] = 0.0

    @abstractmethod
    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt (N, D) of states (N, D); t is a scalar or (N,), parameters are (N,)."""

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...] = (),
        step_size: float | None,
    ) -> Tensor:
        """Solve by the system's method; see ``Simulator``."""
        solution = solve_ode(
            lambda t, y, args: self.field(t, y, args),
            start.states,
            times,
            args=dict(parameters),
            method=self.method,
            step_size=step_size,
            on_failure="nan",
        )
        return solution.states

    def derivatives(self, values: Tensor, times: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt (N, T, D) along solutions (N, T, D)."""
        rows = values.shape[1]
        own = {name: each.repeat_interleave(rows) for name, each in parameters.items()}
        t = times.to(values).repeat(len(values))
        return self.field(t, values.flatten(0, 1), own).view_as(values)


def state(*numbers: float) -> Start:
    """Return a start of one sample."""
    return Start(torch.tensor(numbers, dtype=torch.float64))
