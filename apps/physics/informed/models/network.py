"""What the networks of this task share: the solution of a problem, its conditions met by form or not."""

from torch import Tensor

from integrand.apps.physics.informed.task import InformedTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.models.coordinate_network import CoordinateNetwork
from integrand.core.models.hard_conditions import HardConditions


class InformedNetwork(TaskNetwork[InformedTask]):
    """A solution of a problem as a network of its coordinates, see ``TaskNetwork``.

    A subclass writes ``__init__`` (options, then ``self.save_hyperparameters()``) and ``coordinates``.

    Attributes:
        hard: whether the form of the solution meets the problem's conditions; set before it is built.
    """

    hard: bool = True

    def build_network(self, task: InformedTask) -> None:
        """Make the network, within the form that meets the conditions."""
        network, of = self.coordinates(task), task.of
        self.solution = HardConditions(network, of.lift, of.distance) if self.hard else network

    def coordinates(self, task: InformedTask) -> CoordinateNetwork:
        """Make the network of coordinates."""
        raise NotImplementedError

    def forward(self, batch: Tensor) -> Tensor:
        """Evaluate the solution at points (N, d): (N,)."""
        return self.solution(batch)
