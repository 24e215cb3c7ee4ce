"""A plain network as the right-hand side."""

from itertools import pairwise

from torch import nn

from integrand.apps.physics.dynamics.models.angles import Turning, TurningField
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, turns
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.fields import MLP
from integrand.core.fields.mlp import ACTIVATIONS


class NeuralODENetwork(DynamicsNetwork):
    """The neural ODE dy/dt = f(y) with a multilayer perceptron f, which knows nothing of mechanics.

    Angles go in as sine and cosine. Options are those of ``DynamicsNetwork``.

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations.
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
        """Make the field."""
        if not task.angles:
            self.flow = MLP(task.dim, self.hidden, activation=self.activation)
            return
        turning = Turning(task.dim, turns(task))
        widths = (turning.width, *self.hidden)
        layers: list[nn.Module] = []
        MLP(task.dim, self.hidden, activation=self.activation)  # names an option that is not right
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[self.activation]()]
        self.flow = TurningField(turning, nn.Sequential(*layers, nn.Linear(widths[-1], task.dim)))
