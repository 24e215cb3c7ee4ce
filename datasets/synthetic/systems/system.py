"""Systems of ordinary differential equations as simulators.

Dimension letters: N samples, T times, D state (the channels).
"""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.core.numerics.stepping.step_control import StepControl
from integrand.datasets.synthetic.simulator import Parameters, Simulator, Start


class System(Simulator):
    """dy/dt = f(t, y) with parameters; solved by ``method`` with fixed steps, or within a tolerance.

    Class attributes beside those of ``Simulator``:

    Attributes:
        method: of ``solve_ode``.
        tolerance: where steps of one length do not serve, relative and absolute, at the default ``step_size``: each
            sample then takes steps of its own, none longer than ``step_size``, and the tolerance falls with the
            eighth power of it. None for fixed steps.
        canonical: whether the state is [q, p], positions before their momenta.
        angles: channels that are angles, whose values a turn apart are the same.
        time_scale: what a user counts time in, such as a period; 1 where there is none.
        lyapunov: the largest exponent, per unit of time, with the default parameters; 0 where it is not chaotic, or
            depends on the start.
        transient: time that is solved before the first state that is kept, so that samples begin on the attractor.
        known_parameters: those on which ``known_field`` depends; empty where no part of the field counts as known.
    """

    method: ClassVar[str] = "dopri8"
    tolerance: ClassVar[float | None] = None
    canonical: ClassVar[bool] = False
    angles: ClassVar[tuple[int, ...]] = ()
    time_scale: ClassVar[float] = 1.0
    lyapunov: ClassVar[float] = 0.0
    transient: ClassVar[float] = 0.0
    known_parameters: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return dy/dt (N, D) of states (N, D); t is a scalar or (N,), parameters are (N,)."""

    def known_field(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return the part of dy/dt, (N, D), that a universal differential equation is given; the rest it must learn.

        Of ``parameters`` only ``known_parameters`` are needed; they may require gradients.

        Raises:
            InputError: no part of this system counts as known.
        """
        raise InputError(
            f"{self.name} has no known part to learn a remainder beside: take a system that has known_parameters, such "
            "as lotka_volterra or damped_pendulum."
        )

    def remainder(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return what must be learned, ``field`` less ``known_field``, (N, D)."""
        return self.field(t, y, parameters) - self.known_field(t, y, parameters)

    def taken(self, times: Tensor, step_size: float) -> float:
        """Return the step as given where samples take steps of their own, for then it also sets the tolerance."""
        return super().taken(times, step_size) if self.tolerance is None else step_size

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
        if self.tolerance is None or step_size is None or self.step_size is None:
            steps: dict[str, Any] = {"step_size": step_size}
        else:
            tolerance = self.tolerance * (step_size / self.step_size) ** 8
            steps = {
                "rtol": tolerance,
                "atol": tolerance,
                "stepping": "per_sample",
                "control": StepControl(max_step=step_size),
            }
        solution = solve_ode(
            lambda t, y, args: self.field(t, y, args),
            start.states,
            times,
            args=dict(parameters),
            method=self.method,
            on_failure="nan",
            **steps,
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
