"""The Lightning module of classification."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.series.classification.models.classifier import Classifier
from integrand.apps.series.classification.parts import standardised
from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.labelled import LabelledSeries, Rows

CHUNK = 256
"""Series classified at a time."""


class ClassificationModule(TaskModule):
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
    networks: ClassVar[type[TaskNetwork]] = Classifier
    described_by: ClassVar[type] = ClassificationTask
    validated: ClassVar[tuple[str, ...]] = ("nll", "accuracy")
    network: Classifier

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
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if not 0 <= label_smoothing < 1:
            raise InputError(f"model.label_smoothing={label_smoothing!r} is out of range: it must lie in [0, 1).")
        self.label_smoothing, self.balance = label_smoothing, balance
        self.class_weights: Tensor | None = None

    def build(self, data: Any) -> None:
        """Build the network, and weigh the classes if asked to."""
        super().build(data)
        if self.balance:
            labels = torch.from_numpy(data.series.labels[list(data.split.train)])
            counts = torch.bincount(labels, minlength=len(data.task.classes))
            self.class_weights = len(labels) / (len(counts) * counts.clamp(min=1)).float()

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the probabilities of the classes, (B, K)."""
        return self.network(batch).float().softmax(-1)

    @torch.no_grad()
    def classify(self, series: LabelledSeries, rows: Rows | None = None) -> np.ndarray:
        """Return the probabilities of the series ``rows``, of all where that is None, (N, K) float64, on the host."""
        self.eval()
        rows, task = range(len(series)) if rows is None else rows, self.network.built_for
        parts = [standardised(series, task, rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]
        return np.concatenate([self(batch.to(self.device)).double().cpu().numpy() for batch in parts])

    def loss(self, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the cross entropy, smoothed and weighted as asked for."""
        scores, labels = self.network(batch).float(), self._labels(batch)
        weights = None if self.class_weights is None else self.class_weights.to(scores.device)
        loss = F.cross_entropy(scores, labels, weight=weights, label_smoothing=self.label_smoothing)
        return loss, {"accuracy": (scores.detach().argmax(-1) == labels).float().mean()}

    def scores(self, batch: IrregularBatch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return log-likelihood and whether the class is right, of each series (B,)."""
        scores, labels = self.network(batch).float(), self._labels(batch)
        return {
            "nll": F.cross_entropy(scores, labels, reduction="none"),
            "accuracy": (scores.argmax(-1) == labels).float(),
        }, None

    @staticmethod
    def _labels(batch: IrregularBatch) -> Tensor:
        assert batch.target is not None
        return batch.target
