"""The Lightning module of classification."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from integrand.apps.timeseries.classification.models.classifier import Classifier
from integrand.apps.timeseries.classification.task import ClassificationTask
from integrand.apps.training.module import BaseModule, plain
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch


class ClassificationModule(BaseModule):
    """Classification of irregular series, trained on the logarithm of the probability of the right class.

    Args:
        network: a classifier; it is built for the data when training starts.
        learning_rate: peak learning rate.
        weight_decay: decay of matrices.
        warmup_steps: steps of linear warm-up.
        ema_decay: decay of the parameters' moving average; 0 for none.
        label_smoothing: share of the target's probability that is spread over all classes.
        balance: whether classes weigh alike in the loss, however many series they have.

    Example::

        data = ClassificationData("japanese_vowels")
        module = ClassificationModule(S5Classifier())
        Trainer(max_epochs=60).fit(module, data)
    """

    app: ClassVar[str] = "timeseries"
    monitor: ClassVar[str] = "validation/nll"

    def __init__(
        self,
        network: Classifier,
        *,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 50,
        ema_decay: float = 0.0,
        label_smoothing: float = 0.05,
        balance: bool = False,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, weight_decay=weight_decay, warmup_steps=warmup_steps, ema_decay=ema_decay
        )
        if not 0 <= label_smoothing < 1:
            raise InputError(f"model.label_smoothing={label_smoothing!r} is out of range: it must lie in [0, 1).")
        self.network = network
        self.label_smoothing, self.balance = label_smoothing, balance
        self.class_weights: Tensor | None = None
        self.validation = torch.nn.ModuleDict({name: MeanMetric() for name in ("nll", "accuracy")})

    def build(self, data: Any) -> None:
        """Build the network for a data module's task, unless it is built already."""
        if self.network.task is None:
            self.network.build(data.task)
        if self.balance:
            labels = torch.from_numpy(data.series.labels[list(data.split.train)])
            counts = torch.bincount(labels, minlength=len(data.task.classes))
            self.class_weights = len(labels) / (len(counts) * counts.clamp(min=1)).float()

    def setup(self, stage: str) -> None:
        """Build what is not built yet, from the trainer's data module."""
        self.build(self.trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]

    def describe(self) -> dict[str, Any]:
        """Return the network's class and options, and the task."""
        kind = type(self.network)
        return {
            "network": f"{kind.__module__}:{kind.__qualname__}",
            "options": {name: plain(value) for name, value in self.network.hparams.items()},
            "task": self.network.built_for.to_dict(),
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> "ClassificationModule":
        """Build the module that a checkpoint describes, ready to classify."""
        from integrand.apps.application import load

        said = checkpoint["integrand"]
        kind = load(said["network"])
        if not (isinstance(kind, type) and issubclass(kind, Classifier)):
            raise InputError(f"the checkpoint names {said['network']!r} as its network, which is no classifier.")
        network = kind(**said["options"])
        network.build(ClassificationTask(**said["task"]))
        module = cls(network)
        module.load_state_dict(checkpoint["state_dict"])
        return module.eval()

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the probabilities of the classes, (B, K)."""
        return self.network(batch).float().softmax(-1)

    def loss(self, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the cross entropy, smoothed and weighted as asked for."""
        scores, labels = self.network(batch).float(), self._labels(batch)
        weights = None if self.class_weights is None else self.class_weights.to(scores.device)
        loss = F.cross_entropy(scores, labels, weight=weights, label_smoothing=self.label_smoothing)
        return loss, {"accuracy": (scores.detach().argmax(-1) == labels).float().mean()}

    def on_validation_epoch_start(self) -> None:
        """Validate the average, from empty sums: those left by ``trainer.validate`` are inference tensors."""
        super().on_validation_epoch_start()
        for metric in self.validation.values():
            metric.reset()  # pyright: ignore[reportCallIssue]

    def validation_step(self, batch: IrregularBatch, batch_idx: int) -> None:
        """Score a batch."""
        scores, labels = self.network(batch).float(), self._labels(batch)
        self.validation["nll"].update(F.cross_entropy(scores, labels, reduction="none"))  # pyright: ignore[reportCallIssue]
        self.validation["accuracy"].update((scores.argmax(-1) == labels).float())  # pyright: ignore[reportCallIssue]

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the whole validation part, over all processes."""
        super().on_validation_epoch_end()
        scores = {f"validation/{name}": metric.compute() for name, metric in self.validation.items()}  # pyright: ignore[reportCallIssue]
        self.log_dict(scores, logger=False, prog_bar=True)
        if not self.trainer.sanity_checking:
            self.write_log(scores, self.global_step)

    @staticmethod
    def _labels(batch: IrregularBatch) -> Tensor:
        assert batch.target is not None
        return batch.target
