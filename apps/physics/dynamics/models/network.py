"""What every network of dynamics shares: scales, the equation in them, and how it is solved.

Dimension letters: B batch, T times, D state.
"""

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.numerics import SolverStats, solve_ode

ROUNDING = 50
"""A tolerance below so many roundings is never met, and the steps shrink to nothing."""
Match = Literal["derivatives", "states"]


class Rollout(NamedTuple):
    """Where a network leads: states (B, T, D), and the solver's work."""

    states: Tensor
    stats: SolverStats


class DynamicsNetwork(TaskNetwork[DynamicsTask]):
    """Base of the networks of dynamics: dy/dt = f(y), of which a subclass makes the ``flow`` in ``build_network``.

    The flow is the right-hand side in standardised states and times, see ``DynamicsTask``; a subclass that has an
    energy gives it as ``standard_energy``. Its options are the same for all:

    Args:
        hidden: widths of the hidden layers.
        activation: of ``core.fields.mlp.ACTIVATIONS``.
        method: of ``solve_ode``, with which training predicts states.
        step_size: longest step of it, in the system's units of time; one step an interval where None.
        test_method: of ``solve_ode``, with which trajectories are predicted in validation, test and prediction.
        test_tolerance: relative and absolute tolerance of it where it is adaptive, in standardised states.
    """

    needs_canonical: ClassVar[bool] = False
    symplectic: ClassVar[bool] = False
    """Whether it is stepped by ``method`` in the test, too: the steps are a part of what was learned."""
    penalised: ClassVar[tuple[str, ...]] = ("",)
    """Parameters of the flow that have a prior when it is fitted to trajectories, by how their names begin; all."""
    flow: nn.Module
    location: Tensor
    scale: Tensor
    hidden: tuple[int, ...]
    activation: str
    method: str
    step_size: float | None
    test_method: str
    test_tolerance: float

    def build(self, task: DynamicsTask) -> None:
        """Make the parameters for a task; a second call with the same task does nothing."""
        if self.task is None:
            name = type(self).__name__
            if self.needs_canonical and not task.canonical:
                raise InputError(
                    f"{name} needs positions and their momenta, and the state of {task.system} is not canonical: take "
                    "--model neural_ode or port_hamiltonian."
                )
            if self.step_size is not None and not self.step_size > 0:
                raise InputError(f"model.network.step_size={self.step_size!r} is out of range: it must be positive.")
            if not self.test_tolerance > 0:
                raise InputError(
                    f"model.network.test_tolerance={self.test_tolerance!r} is out of range: it must be positive."
                )
            self.register_buffer("location", torch.tensor(task.location), persistent=False)
            self.register_buffer("scale", torch.tensor(task.scale), persistent=False)
        super().build(task)

    def keep(self, **options: object) -> None:
        """Set the options that all networks share as attributes."""
        for name, value in options.items():
            setattr(self, name, tuple(value) if isinstance(value, (list, tuple)) else value)

    # States

    def standardised(self, y: Tensor) -> Tensor:
        """Return states (..., D) in units of the scales."""
        return (y - self.location.to(y)) / self.scale.to(y)

    def physical(self, y: Tensor) -> Tensor:
        """Return standardised states (..., D) in the channels' own units."""
        return y * self.scale.to(y) + self.location.to(y)

    def standard_slopes(self, dydt: Tensor) -> Tensor:
        """Return dy/dt (..., D) as the derivative of standardised states by standardised time."""
        return dydt / (self.scale.to(dydt) * self.built_for.rate)

    # The equation

    def field(self, y: Tensor) -> Tensor:
        """Return dy/dt (B, D) of states (B, D) in their own units."""
        slopes = self.flow(y.new_zeros(()), self.standardised(y))
        return slopes * self.scale.to(y) * self.built_for.rate

    def standard_energy(self, y: Tensor) -> Tensor | None:
        """Return the energy (B,) of standardised states (B, D); None where the network has none."""
        return None

    def energy(self, y: Tensor) -> Tensor | None:
        """Return the learned energy (B,) of states (B, D), up to a constant, in the system's units.

        With H' = H / (rate scale_q scale_p); None where the network has no energy.
        """
        value = self.standard_energy(self.standardised(y))
        return None if value is None else value * float(self.energy_unit())

    def energy_unit(self) -> float:
        """Return rate scale_q scale_p."""
        scale = self.built_for.scale
        return self.built_for.rate * scale[0] * scale[-1]

    # Its solutions

    def unroll(self, y: Tensor, times: Tensor) -> Tensor:
        """Predict as training does: from standardised states (B, D) over ``times`` (S,) on; returns (B, S, D)."""
        rate = self.built_for.rate
        step = None if self.step_size is None else self.step_size * rate
        return solve_ode(self.flow, y, times.to(y) * rate, method=self.method, step_size=step).states

    def predict(self, start: Tensor, times: Tensor) -> Rollout:
        """Predict from states (B, D) over ``times`` (T,), in the channels' own units, without gradients.

        A solution that ceases to be finite keeps its last state.
        """
        rate = self.built_for.rate
        with torch.no_grad():
            solution = solve_ode(
                self.flow,
                self.standardised(start),
                times.to(start) * rate,
                on_failure="last",
                max_steps=2_000_000,
                **self._solver(start.dtype),
            )
        return Rollout(self.physical(solution.states), solution.stats)

    def _solver(self, dtype: torch.dtype) -> dict[str, Any]:
        task = self.built_for
        if self.symplectic:
            return {"method": self.method, "step_size": (self.step_size or task.interval) * task.rate}
        tolerance = max(self.test_tolerance, ROUNDING * torch.finfo(dtype).eps)
        return {"method": self.test_method, "rtol": tolerance, "atol": tolerance}

    def solver_words(self) -> str:
        """Say how ``predict`` solves."""
        if self.symplectic:
            return f"{self.method} with steps of {self.step_size or self.built_for.interval:g}"
        return f"{self.test_method} with tolerance {self.test_tolerance:g}"

    # Training

    def misfit(self, states: Tensor, slopes: Tensor, times: Tensor, match: Match) -> Tensor:
        """Return the mean squared error in standardised units, whose scale is the deviation of the data.

        Args:
            states: (B, S, D) standardised.
            slopes: (B, S, D) their standardised derivatives.
            times: (S,).
            match: ``"derivatives"`` of all states, or the ``"states"`` predicted from the first of them.
        """
        if match == "derivatives":
            y = states.flatten(0, 1)
            return (self.flow(y.new_zeros(()), y) - slopes.flatten(0, 1)).square().mean()
        return (self.unroll(states[:, 0], times) - states)[:, 1:].square().mean()


def turns(task: DynamicsTask) -> dict[int, float]:
    """Return for each angle how many radians a unit of its standardised value is."""
    return {channel: task.scale[channel] for channel in task.angles}
