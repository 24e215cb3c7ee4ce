"""The neural stochastic differential equation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, Match
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.errors import InputError
from integrand.core.fields import MLP
from integrand.core.losses import gaussian_nll
from integrand.core.numerics import solve_sde

LEAST = 1e-3
"""Least diffusion, in standardised units: a transition that is told exactly has no likelihood."""


class NeuralSDENetwork(DynamicsNetwork):
    """dy = f(y) dt + g(y) dW with networks for drift and diagonal diffusion, for systems that are driven at random.

    Trained by the likelihood of each transition from one observed state to the next, as one Euler-Maruyama step has it,

        y(t + dt) ~ N(y + f(y) dt, g(y)^2 dt).

    What it predicts is a distribution, from which ``paths`` draws by the same steps; ``predict`` follows the drift
    alone, solved by ``test_method``. Options are those of ``DynamicsNetwork``.

    Source: Dietrich, Makeev, Kevrekidis, Evangelou, Bertalan, Reich and Kevrekidis (2023), Learning effective
    stochastic differential equations from microscopic simulations, for the loss.
    """

    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "tanh",
        method: str = "rk4",
        step_size: float | None = None,
        test_method: str = "dopri8",
        test_tolerance: float = 1e-9,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.keep(
            hidden=hidden,
            activation=activation,
            method=method,
            step_size=step_size,
            test_method=test_method,
            test_tolerance=test_tolerance,
        )

    def build_network(self, task: DynamicsTask) -> None:
        """Make drift and diffusion."""
        self.flow = MLP(task.dim, self.hidden, activation=self.activation)
        self.noise: nn.Module = MLP(task.dim, self.hidden, activation=self.activation, final="softplus")

    def diffusion(self, t: Tensor, y: Tensor) -> Tensor:
        """Return g, (B, D), in standardised units."""
        return self.noise(t, y) + LEAST

    def misfit(self, states: Tensor, slopes: Tensor, times: Tensor, match: Match) -> Tensor:
        """Return the mean negative log-likelihood of the transitions of windows (B, S, D), in nats a channel."""
        if match == "derivatives" or states.shape[1] < 2:
            raise InputError(
                "a neural SDE is trained on transitions: take --model.match states and --data.horizon 1 or more."
            )
        zero = times.new_zeros(())
        y, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
        dt = (times.diff() * self.built_for.rate).repeat(len(states))[:, None]
        mean = y + self.flow(zero, y) * dt
        return gaussian_nll(mean, self.diffusion(zero, y) * dt.sqrt(), after).mean()

    def noise_field(self, y: Tensor) -> Tensor:
        """Return g (B, D) of states (B, D), in the channels' own units and those of time: dy = f dt + g dW."""
        own = self.diffusion(y.new_zeros(()), self.standardised(y))
        return own * self.scale.to(y) * self.built_for.rate**0.5

    def solver_words(self) -> str:
        """Say how ``paths`` solves."""
        return f"Euler-Maruyama with steps of {self.built_for.interval:g}"

    def paths(
        self,
        start: Tensor,
        times: Tensor,
        *,
        seeds: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        step_size: float | None = None,
    ) -> Tensor:
        """Draw a path from each state (B, D) over ``times`` (T,), by Euler-Maruyama; returns (B, T, D).

        A path that ceases to be finite is returned as it is.

        Args:
            start: in the channels' own units.
            times: of the states returned.
            seeds: (B,) of the paths, each of which is then a function of its seed alone.
            generator: where the noise comes from in place of seeds, which is faster; torch's own where None.
            step_size: longest step; the interval of the training part where None.
        """
        task = self.built_for
        with torch.no_grad():
            solution = solve_sde(
                self.flow,
                self.diffusion,
                self.standardised(start),
                times.to(start) * task.rate,
                noise="diagonal",
                method="euler",
                step_size=(step_size or task.interval) * task.rate,
                seeds=seeds,
                generator=generator,
                on_failure="nan",
            )
        return self.physical(solution.states)
