"""What networks of every task share: they are described by options, and built when the task is known."""

from dataclasses import dataclass, fields, replace
from typing import Any, Generic, Self, TypeVar

from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.numerics import SolverStats

Task = TypeVar("Task")


@dataclass(frozen=True)
class GaussianAnswer:
    """A Gaussian for every channel at every time asked, in standardised units: (B, Q, K).

    Attributes:
        mean: (B, Q, K).
        std: (B, Q, K), positive.
        penalty: (B,) what the loss adds for this sample, such as a divergence from the prior; None for nothing.
        stats: work of the solver; None where no equation is solved step by step.
    """

    mean: Tensor
    std: Tensor
    penalty: Tensor | None
    stats: SolverStats | None

    def cpu(self) -> Self:
        """Return the answer with its tensors on the host."""
        moved = {f.name: value.cpu() for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        return replace(self, **moved)


class TaskNetwork(HyperparametersMixin, nn.Module, Generic[Task]):
    """A network that is described by its options alone, and whose parameters are made for a task.

    ``build(task)`` makes them, and Lightning's ``setup`` calls it. A subclass writes ``__init__`` (options, then
    ``self.save_hyperparameters()``), ``build_network`` and ``forward``.
    """

    task: Task | None = None

    def build(self, task: Task) -> None:
        """Make the parameters for a task; a second call with the same task does nothing.

        Raises:
            InputError: an option out of range, or another task than it was built for.
        """
        if self.task is not None:
            if self.task != task:
                raise InputError("this network was built for another task: make a new one.")
            return
        for name, value in self.hparams.items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise InputError(f"model.network.{name}={value} must be at least 1.")
            if name.endswith("dropout") and not 0 <= value < 1:
                raise InputError(f"model.network.{name}={value} must lie in [0, 1).")
        self.task = task
        self.build_network(task)

    def build_network(self, task: Task) -> None:
        """Make the parameters."""
        raise NotImplementedError

    def forward(self, batch: Any) -> Any:
        """Answer a batch."""
        raise NotImplementedError

    @property
    def built_for(self) -> Task:
        """The task, once built."""
        if self.task is None:
            raise InputError("the network has no parameters yet: call build(task), or let Lightning's setup do it.")
        return self.task
