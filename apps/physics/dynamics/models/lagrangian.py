"""The Lagrangian network."""

import torch
from torch import Tensor

from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.errors import InputError
from integrand.core.fields import Lagrangian


class LagrangianNetwork(DynamicsNetwork):
    """The Euler-Lagrange equations of L = v . M(q) v / 2 - V(q) with a learned mass matrix M and potential V.

    The state must be [q, v] with v = dq/dt, as that of a canonical system with unit masses is. Velocities are counted
    in units of scale_q rate, from zero, so that they are those of the standardised positions. Angles are left as they
    are. Options are those of ``DynamicsNetwork``.

    Source: Cranmer, Greydanus, Hoyer, Battaglia, Spergel and Ho (2020), Lagrangian neural networks; the form of L is
    that of Lutter, Ritter and Peters (2019), Deep Lagrangian networks.
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
        if not task.velocities:
            raise InputError(
                f"LagrangianNetwork needs positions and their velocities, and the second half of {task.system}'s state "
                "is not how the first half moves: take --model hamiltonian or neural_ode."
            )
        half = task.dim // 2
        scale = torch.tensor(task.scale[:half])
        self.scale = torch.cat([scale, scale * task.rate])
        self.location = torch.cat([torch.tensor(task.location[:half]), torch.zeros(half)])
        self.flow = Lagrangian(task.dim, self.hidden)

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return v . dL/dv - L, (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]

    def energy_unit(self) -> float:
        """Return 1: of a Lagrangian only the ratio of mass and potential is learned, and no unit of energy."""
        return 1.0
