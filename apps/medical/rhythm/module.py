"""The Lightning module of rhythms."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torch import Tensor

from integrand.apps.medical.calibrated_module import CalibratedModule
from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import SegmentNetwork
from integrand.apps.medical.segments.scoring import segment_scores
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.datasets.segments import Segments


class RhythmModule(CalibratedModule):
    """Names of rhythms, trained on the logarithm of the probability of the right class.

    Classes weigh by a power of one over their share in the training part, ``balance``: with 0 rare rhythms are seldom
    named. The temperature makes probabilities those of the validation part again.

    Args:
        network: a network of segments; it is built for the data when training starts.
        coverage: of the conformal sets, see ``CalibratedModule``.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        balance: the power, from 0 to 1.
        label_smoothing: share of the target's probability that is spread over all classes.
    """

    app: ClassVar[str] = "medical"
    monitor: ClassVar[str] = "validation/nll"
    networks: ClassVar[type[TaskNetwork]] = SegmentNetwork
    described_by: ClassVar[type] = SegmentTask
    network: SegmentNetwork

    def __init__(
        self,
        network: SegmentNetwork,
        *,
        coverage: float = 0.9,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        ema_decay: float = 0.99,
        balance: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            network,
            coverage=coverage,
            balance=balance,
            label_smoothing=label_smoothing,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )

    def build_networks(self, task: SegmentTask) -> None:
        """Build the network, and weigh the rhythms."""
        super().build_networks(task)
        self.weigh(torch.tensor(task.shares))

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the calibrated probabilities of the classes, (B, K)."""
        return self.probabilities(self.network(batch))

    def named(self, segments: Segments) -> np.ndarray:
        """Return the calibrated probabilities of segments, (N, K) float64, on the host."""
        return self.calibrated(segment_scores(self, segments))

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, K) of scores."""
        return softmax(scores / float(self.temperature), axis=1)

    def loss(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted cross entropy."""
        scores = self.network(batch).float()
        weight, smoothing = self.class_weights, self.label_smoothing
        loss = F.cross_entropy(scores, batch.labels, weight=weight, label_smoothing=smoothing)
        return loss, {"accuracy": (scores.detach().argmax(-1) == batch.labels).float().mean()}

    def class_scores(self, batch: SegmentBatch) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return scores, labels and patients of the segments of a batch."""
        return self.network(batch).float(), batch.labels, batch.patients
