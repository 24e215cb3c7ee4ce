"""Networks that are described by options, and built when the task is known."""

from typing import Any, ClassVar, Generic, TypeVar

from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import nn

from integrand.core.errors import InputError

Task = TypeVar("Task")


class TaskNetwork(HyperparametersMixin, nn.Module, Generic[Task]):
    """A network that is described by its options alone, and whose parameters are made for a task.

    ``build(task)`` makes them, and Lightning's ``setup`` calls it. A subclass writes ``__init__`` (options, then
    ``self.save_hyperparameters()``), ``build_network`` and ``forward``.

    Attributes:
        may_be_zero: names of the options that are counts and may be 0; others are at least 1.
    """

    may_be_zero: ClassVar[tuple[str, ...]] = ()
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
            least = 0 if name in self.may_be_zero else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < least:
                raise InputError(f"model.network.{name}={value} must be at least {least}.")
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
