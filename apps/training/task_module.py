"""What the Lightning modules of every task share: the network, its description, and means over the validation part."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from integrand.apps.application import load
from integrand.apps.training.module import BaseModule, plain
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError


class TaskModule(BaseModule):
    """A module around a network that is built for the data when training starts.

    A subclass says by class variables which networks it takes, how their task is described and which scores are
    averaged over the validation part, and writes ``loss`` and ``scores``.

    Args:
        network: the network.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
    """

    networks: ClassVar[type[TaskNetwork]]
    described_by: ClassVar[type]
    validated: ClassVar[tuple[str, ...]]
    remembered: ClassVar[tuple[str, ...]] = ()
    """Arguments beside the network on which its parameters depend; ``describe`` must tell them."""

    def __init__(
        self, network: TaskNetwork, *, learning_rate: float, weight_decay: float, warmup_steps: int, ema_decay: float
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, warmup_steps=warmup_steps, ema_decay=ema_decay
        )
        self.network = network
        self.validation = torch.nn.ModuleDict({name: MeanMetric() for name in self.validated})

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return scores of a validation batch by name, and their weights, None where all weigh alike."""
        raise NotImplementedError

    def build(self, data: Any) -> None:
        """Build the network for a data module's task, unless it is built already."""
        self.build_networks(data.task)

    def build_networks(self, task: Any) -> None:
        """Build for a task what is not built yet."""
        if self.network.task is None:
            self.network.build(task)

    def setup(self, stage: str) -> None:
        """Build what is not built yet, from the trainer's data module, where it has one."""
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if data is not None:
            self.build(data)

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, and the task."""
        kind = type(self.network)
        return {
            "network": f"{kind.__module__}:{kind.__qualname__}",
            "options": {name: plain(value) for name, value in self.network.hparams.items()},
            "task": self.network.built_for.to_dict(),
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Build the module that a checkpoint describes, with its averaged weights, ready to be asked."""
        said = checkpoint["integrand"]
        kind = load(said["network"])
        if not (isinstance(kind, type) and issubclass(kind, cls.networks)):
            wanted = cls.networks.__name__.lower()
            raise InputError(f"the checkpoint names {said['network']!r} as its network, which is no {wanted}.")
        module = cls(kind(**said["options"]), **{name: said[name] for name in cls.remembered})  # pyright: ignore[reportCallIssue]
        module.build_networks(cls.described_by(**said["task"]))
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    def on_validation_epoch_start(self) -> None:
        """Validate the average, from empty sums: those left by ``trainer.validate`` are inference tensors."""
        super().on_validation_epoch_start()
        for metric in self.validation.values():
            metric.reset()  # pyright: ignore[reportCallIssue]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Score a batch."""
        scores, weight = self.scores(batch)
        for name, score in scores.items():
            self.validation[name].update(score, 1.0 if weight is None else weight)  # pyright: ignore[reportCallIssue]

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation part, over all processes."""
        super().on_validation_epoch_end()
        scores = {f"validation/{name}": metric.compute() for name, metric in self.validation.items()}  # pyright: ignore[reportCallIssue]
        self.log_dict(scores, logger=False, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.write_log(scores, self.global_step)
