"""The Hamiltonian network."""

from torch import Tensor

from integrand.apps.physics.dynamics.models.angles import energy_of
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, turns
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.fields import Hamiltonian


class HamiltonianNetwork(DynamicsNetwork):
    """Hamilton's equations dq/dt = dH/dp, dp/dt = -dH/dq with a learned energy H, which its solutions keep.

    Angles go in as sine and cosine, and H is differentiated through them, so that the equations keep their form.
    Options are those of ``DynamicsNetwork``.

    Source: Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks.
    """

    needs_canonical = True

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
        energy = energy_of(task.dim, turns(task), self.hidden, self.activation)
        self.flow = Hamiltonian(task.dim, energy=energy)

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return H', (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]
