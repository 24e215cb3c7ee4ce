"""A polynomial of the state as the right-hand side."""

import torch

from integrand.apps.physics.dynamics.models.network import DynamicsNetwork
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.core.fields import Polynomial


class PolynomialNetwork(DynamicsNetwork):
    """dy/dt is a polynomial in the state, of which terms that the data do not ask for go to zero.

    States are scaled and not shifted, so that an equation of few terms stays one. With ``--model.refine`` each
    coefficient has a prior of its own, as precise as the evidence has it. Further options are those of
    ``DynamicsNetwork``.

    Args:
        degree: highest degree of a term.

    Source: Brunton, Proctor and Kutz (2016), Discovering governing equations from data by sparse identification of
    nonlinear dynamical systems, for the library of terms; Tipping (2001), Sparse Bayesian learning and the relevance
    vector machine, for the priors.
    """

    def __init__(
        self,
        *,
        degree: int = 2,
        method: str = "rk4",
        step_size: float | None = None,
        test_method: str = "dopri8",
        test_tolerance: float = 1e-9,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.keep(
            hidden=(),
            activation="tanh",
            method=method,
            step_size=step_size,
            test_method=test_method,
            test_tolerance=test_tolerance,
        )
        self.degree = degree

    def build_network(self, task: DynamicsTask) -> None:
        """Make the field."""
        self.flow = Polynomial(task.dim, self.degree, origin=-torch.tensor(task.location) / torch.tensor(task.scale))
