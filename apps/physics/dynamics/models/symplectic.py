"""The symplectic network."""

from torch import Tensor

from integrand.apps.physics.dynamics.models.angles import energy_of
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork, turns
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.errors import unknown
from integrand.core.fields.hamiltonian import SeparableHamiltonian
from integrand.core.numerics.methods.symplectic import COMPOSITIONS


class SymplecticNetwork(DynamicsNetwork):
    """A learned H = T(p) + V(q), stepped by an explicit symplectic method in training and after it.

    Every step is a symplectic map, whatever is learned: volumes in phase space are kept, and energy stays within a
    bound for very long times. Angles go into V as sine and cosine. Options are those of ``DynamicsNetwork``, but that
    ``method`` with its ``step_size`` solves in the test, too.

    Source: Chen, Zhang, Arjovsky and Bottou (2020), Symplectic recurrent neural networks.
    """

    needs_canonical = True
    symplectic = True

    def __init__(
        self,
        *,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "tanh",
        method: str = "yoshida4",
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
        if self.method not in COMPOSITIONS:
            raise unknown("symplectic method", self.method, COMPOSITIONS)
        half = task.dim // 2
        angles = turns(task)
        of_p = {channel - half: unit for channel, unit in angles.items() if channel >= half}
        of_q = {channel: unit for channel, unit in angles.items() if channel < half}
        self.flow = SeparableHamiltonian(
            task.dim,
            kinetic=energy_of(half, of_p, self.hidden, self.activation),
            potential=energy_of(half, of_q, self.hidden, self.activation),
        )

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return H', (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]
