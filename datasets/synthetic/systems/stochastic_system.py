"""Systems of stochastic differential equations as simulators.

Dimension letters: N samples, T times, D state (the channels).
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_sde
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start
from integrand.datasets.synthetic.systems.system import System


class StochasticSystem(System):
    """A system driven at random, dy = f(t, y) dt + g(t, y) dW in Ito's calculus, every channel by a W of its own.

    A path is a function of its start, of the seed drawn with the start, and of the first and last time: it does not
    depend on how many are drawn, on the times kept between, nor, but for the error of the step, on the step. So
    ``time_step_error`` is a distance of paths. ``field`` is the drift f. The noise begins with the first state that is
    kept: there is no transient.
    """

    method: ClassVar[str] = "srk"
    solver = "srk with fixed steps"

    @abstractmethod
    def diffusion(self, t: Tensor, y: Tensor, parameters: Parameters) -> Tensor:
        """Return g (N, D) of states (N, D), each component of its own channel; t is a scalar or (N,)."""

    @abstractmethod
    def place(self, generator: Generator) -> Tensor:
        """Draw where one sample begins, (D,), in float64."""

    def log_density(self, states: Tensor, parameters: Parameters) -> Tensor | None:
        """Return the logarithm (N,) of the stationary density at states (N, D), up to a constant; None if unknown."""
        return None

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw where one sample begins, and the seed of its path."""
        place = self.place(generator)
        return Start(place, seeds=torch.tensor(int(generator.integers(2**63 - 1))))

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...] = (),
        step_size: float | None,
    ) -> Tensor:
        """Solve along the paths of the start's seeds; see ``Simulator``.

        Raises:
            InputError: the start has no seeds.
        """
        if start.seeds is None:
            raise InputError(f"{self.name} is driven at random: give Start the seeds of its paths.")
        return solve_sde(
            lambda t, y, args: self.field(t, y, args),
            lambda t, y, args: self.diffusion(t, y, args),
            start.states,
            times,
            args=dict(parameters),
            noise="diagonal",
            method=self.method,
            step_size=step_size,
            seeds=start.seeds,
            on_failure="nan",
        ).states
