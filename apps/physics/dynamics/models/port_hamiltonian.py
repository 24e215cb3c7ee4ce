"""The port-Hamiltonian network."""

from torch import Tensor

from integrand.apps.physics.dynamics.models.angles import energy_of
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, turns
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.fields import PortHamiltonian


class PortHamiltonianNetwork(DynamicsNetwork):
    """dy/dt = (J - R) dH/dy with a learned energy H, skew J and positive semi-definite R: energy is never gained.

    For systems with friction; the state need not be canonical. Angles go in as sine and cosine. Options are those of
    ``DynamicsNetwork``.

    Source: Desai, Mattheakis, Sondak, Protopapas and Roberts (2021), Port-Hamiltonian neural networks for learning
    explicit time-dependent dynamical systems.
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
        self.flow = PortHamiltonian(task.dim, energy=energy_of(task.dim, turns(task), self.hidden, self.activation))

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return H', (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]
