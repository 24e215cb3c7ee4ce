"""The Lightning module of diagnoses."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit
from torch import Tensor

from integrand.apps.medical.calibration import temperature
from integrand.apps.medical.conformal import threshold
from integrand.apps.medical.diagnosis.label_scores import best_threshold
from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.models.segment_network import SegmentNetwork
from integrand.apps.medical.segments.scoring import segment_scores
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.datasets.segments import Segments


class DiagnosisModule(TaskModule):
    """Several labels at once, each with its probability sigmoid(score_k / T_k), trained on their log-likelihood.

    After each validation epoch the validation part, whose patients the network did not learn from, sets for each label
    a temperature T_k, the probability from which it is named (largest F1), and the one below which it can be ruled out
    (a share ``coverage`` of patients in whom it holds lies above). They are buffers: a checkpoint holds those of its
    own weights. Without a validation part T is 1, a label is named from 0.5, and none is ruled out.

    Args:
        network: a network of segments; it is built for the data when training starts.
        coverage: share of segments in which a label holds, by patient, whose set is to have it.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        balance: power of (1 - share) / share by which a label weighs where it holds, from 0 to 1.
    """

    app: ClassVar[str] = "medical"
    monitor: ClassVar[str] = "validation/nll"
    networks: ClassVar[type[TaskNetwork]] = SegmentNetwork
    described_by: ClassVar[type] = SegmentTask
    validated: ClassVar[tuple[str, ...]] = ("nll", "accuracy")
    network: SegmentNetwork
    temperatures: Tensor
    thresholds: Tensor
    least_probabilities: Tensor
    label_weights: Tensor | None
    """How much each label counts where it holds, (K,). Not in checkpoints."""

    def __init__(
        self,
        network: SegmentNetwork,
        *,
        coverage: float = 0.9,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        ema_decay: float = 0.99,
        balance: float = 0.0,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if not 0 < coverage < 1:
            raise InputError(f"model.coverage={coverage!r} is out of range: it must lie in (0, 1).")
        if not 0 <= balance <= 1:
            raise InputError(f"model.balance={balance!r} is out of range: it must lie in [0, 1].")
        self.coverage, self.balance = coverage, balance
        for name in ("temperatures", "thresholds", "least_probabilities"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("label_weights", None, persistent=False)
        self._seen: list[tuple[Tensor, Tensor, np.ndarray]] = []

    def build_networks(self, task: SegmentTask) -> None:
        """Build the network, and give each label its place in the buffers."""
        super().build_networks(task)
        shares = torch.tensor(task.shares, device=self.device).clamp(1e-4, 1 - 1e-4)
        self.label_weights = ((1 - shares) / shares) ** self.balance
        if not len(self.temperatures):
            count = len(task.classes)
            self.temperatures = torch.ones(count, device=self.device)
            self.thresholds = torch.full((count,), 0.5, device=self.device)
            self.least_probabilities = torch.full((count,), torch.nan, device=self.device)

    def forward(self, batch: SegmentBatch) -> Tensor:
        """Return the calibrated probabilities of the labels, (B, K)."""
        return (self.network(batch).float() / self.temperatures).sigmoid()

    def named(self, segments: Segments) -> np.ndarray:
        """Return the calibrated probabilities of segments, (N, K) float64, on the host."""
        return self.calibrated(segment_scores(self, segments))

    def calibrated(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, K) of scores."""
        return expit(scores / self.temperatures.double().cpu().numpy())

    def limits(self) -> np.ndarray:
        """Return the probabilities from which labels are named, (K,) float64, on the host."""
        return self.thresholds.double().cpu().numpy()

    def sets(self, p: np.ndarray) -> np.ndarray | None:
        """Return which labels cannot be ruled out, (N, K) bool; None where nothing was calibrated.

        A label that held in no validation segment is never ruled out.
        """
        least = self.least_probabilities.double().cpu().numpy()
        return None if np.isnan(least).all() else p >= np.nan_to_num(least, nan=0.0)

    def loss(self, batch: SegmentBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted cross entropy of each label."""
        scores = self.network(batch).float()
        loss = F.binary_cross_entropy_with_logits(scores, batch.labels, pos_weight=self.label_weights)
        return loss, {"accuracy": ((scores.detach() > 0) == (batch.labels > 0.5)).float().mean()}

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return log-likelihood and share of labels that are right, of each segment, and remember them."""
        scores, labels = self.network(batch).float(), batch.labels
        self._seen.append((scores.detach(), labels, batch.patients))
        nll = F.binary_cross_entropy_with_logits(scores, labels, reduction="none").mean(dim=-1)
        return {"nll": nll, "accuracy": ((scores > 0) == (labels > 0.5)).float().mean(dim=-1)}, None

    def on_validation_epoch_start(self) -> None:
        """Forget what was seen before."""
        super().on_validation_epoch_start()
        self._seen = []

    def on_validation_epoch_end(self) -> None:
        """Fit what the validation part sets."""
        super().on_validation_epoch_end()
        seen, self._seen = self._seen, []
        if seen and not self.trainer.sanity_checking:
            scores, labels = torch.cat([one[0] for one in seen]), torch.cat([one[1] for one in seen]) > 0.5
            patients = np.concatenate([one[2] for one in seen])
            self.calibrate(scores.double().cpu().numpy(), labels.cpu().numpy(), patients)

    def calibrate(self, scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> None:
        """Set temperatures, thresholds and least probabilities by segments the network did not learn from.

        A label that never or always holds among them keeps T = 1 and the threshold 0.5.

        Args:
            scores: (M, K).
            labels: (M, K) bool.
            patients: (M,) whose each is; in temperatures and sets each patient counts alike.
        """
        _, number, count = np.unique(patients, return_inverse=True, return_counts=True)
        for k in range(scores.shape[1]):
            held = labels[:, k]
            if not held.any():
                self.temperatures[k], self.thresholds[k], self.least_probabilities[k] = 1.0, 0.5, torch.nan
                continue
            # Of two classes, no and yes, whose scores are 0 and the log odds.
            both = np.stack([np.zeros(len(scores)), scores[:, k]], axis=1)
            weights = 1 / count[number]
            self.temperatures[k] = 1.0 if held.all() else temperature(both, held.astype(int), weights=weights)
            p = expit(scores[:, k] / float(self.temperatures[k]))
            self.thresholds[k] = best_threshold(p, held)
            own = np.stack([1 - p, p], axis=1)[held]
            self.least_probabilities[k] = threshold(
                own, np.ones(int(held.sum()), dtype=int), coverage=self.coverage, groups=patients[held]
            )
