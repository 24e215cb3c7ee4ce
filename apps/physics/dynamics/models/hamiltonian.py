"""The Hamiltonian network."""

from torch import Tensor

from integrand.apps.physics.dynamics.models.angles import energy_of
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, turns
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.fields import Hamiltonian, SeparableHamiltonian


class HamiltonianNetwork(DynamicsNetwork):
    """Hamilton's equations dq/dt = dH/dp, dp/dt = -dH/dq with a learned energy H, which its solutions keep.

    Angles go in as sine and cosine, and H is differentiated through them, so that the equations keep their form.

    Args:
        separable: whether H = T(p) + V(q), as that of masses which do not depend on where they are.
        hidden, activation, method, step_size, test_method, test_tolerance: see ``DynamicsNetwork``.

    Source: Greydanus, Dzamba and Yosinski (2019), Hamiltonian neural networks.
    """

    needs_canonical = True

    def __init__(
        self,
        *,
        separable: bool = False,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "tanh",
        method: str = "rk4",
        step_size: float | None = None,
        test_method: str = "dopri8",
        test_tolerance: float = 1e-9,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.separable = separable
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
        if self.separable:
            self.flow = separable(task, self.hidden, self.activation)
        else:
            self.flow = Hamiltonian(task.dim, energy=energy_of(task.dim, turns(task), self.hidden, self.activation))

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return H', (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]


def separable(task: DynamicsTask, hidden: tuple[int, ...], activation: str) -> SeparableHamiltonian:
    """Return the field of H = T(p) + V(q), each a network of its own, of sine and cosine where there are angles."""
    half, angles = task.dim // 2, turns(task)
    of_q = {channel: unit for channel, unit in angles.items() if channel < half}
    of_p = {channel - half: unit for channel, unit in angles.items() if channel >= half}
    return SeparableHamiltonian(
        task.dim,
        kinetic=energy_of(half, of_p, hidden, activation),
        potential=energy_of(half, of_q, hidden, activation),
    )
