"""The symplectic network."""

from torch import Tensor

from integrand.apps.physics.dynamics.models.hamiltonian import separable
from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.errors import unknown
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
        self.flow = separable(task, self.hidden, self.activation)

    def standard_energy(self, y: Tensor) -> Tensor:
        """Return H', (B,)."""
        return self.flow.energy(y)  # pyright: ignore[reportCallIssue]
