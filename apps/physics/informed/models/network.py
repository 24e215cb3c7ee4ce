"""What the networks of this task share: described by options, and built when the problem is known."""

from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from integrand.apps.physics.informed.task import InformedTask
from integrand.core.errors import InputError
from integrand.core.models.coordinate_network import CoordinateNetwork
from integrand.core.models.hard_conditions import HardConditions


class InformedNetwork(HyperparametersMixin, nn.Module):
    """A network of the coordinates of a problem that is described by its options alone.

    A subclass writes ``__init__`` (options, then ``self.save_hyperparameters()``) and ``build_network``.
    """

    task: InformedTask | None = None

    def build(self, task: InformedTask, *, hard: bool = True) -> None:
        """Make the parameters; a second call with the same task does nothing.

        Args:
            task: the problem.
            hard: whether the form of the answer meets the problem's conditions.

        Raises:
            InputError: an option out of range, or another task than it was built for.
        """
        if self.task is not None:
            if self.task != task:
                raise InputError("this network was built for another problem: make a new one.")
            return
        for name, value in self.hparams.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value > 0:
                raise InputError(f"model.network.{name}={value} must be positive.")
        self.task, network = task, self.build_network(task)
        self.solution = HardConditions(network, task.of.lift, task.of.distance) if hard else network

    def build_network(self, task: InformedTask) -> CoordinateNetwork:
        """Make the network."""
        raise NotImplementedError

    def forward(self, points: Tensor) -> Tensor:
        """Evaluate the solution at points (N, d): (N,)."""
        return self.solution(points)

    @property
    def built_for(self) -> InformedTask:
        """The task, once built."""
        if self.task is None:
            raise InputError("the network has no parameters yet: call build(task), or let Lightning's setup do it.")
        return self.task
