"""Lightning modules that calibrate themselves on the validation part, and keep what they found in their checkpoint.

Dimension letters: B batch, M samples of a batch, K classes.
"""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.medical.calibration import temperature
from integrand.apps.medical.conformal import class_thresholds, threshold
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError


class CalibratedModule(TaskModule):
    """A classifier whose probabilities are softmax(scores / T), with sets {k : p_k >= q_k} beside them.

    T and the q_k are fitted after each validation epoch on the validation part, whose patients the network did not
    learn from, and are buffers: a checkpoint holds those of its own weights. Without a validation part T is 1 and the
    q_k are NaN: there are no sets.

    Every class has its q_k. They are one number, by which the promise is kept for all of a patient's samples together;
    or, ``by_class``, each its own, and the promise is kept class by class, see ``class_thresholds``.

    A subclass writes ``loss``, and ``class_scores`` of a batch.

    Args:
        network: the network.
        coverage: share of patients' samples whose set is to hold the true class.
        balance: power, from 0 to 1, of one over a class's share by which ``weigh`` weighs it.
        label_smoothing: share of the target's probability that is spread over all classes, for ``loss``.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
    """

    validated: ClassVar[tuple[str, ...]] = ("nll", "accuracy")
    by_class: bool = False
    temperature: Tensor
    least_probability: Tensor
    class_weights: Tensor | None
    """How much a sample of each class counts in the loss, (K,); None where all count alike. Not in checkpoints."""

    def __init__(
        self,
        network: TaskNetwork,
        *,
        coverage: float,
        balance: float,
        label_smoothing: float,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        ema_decay: float,
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
        for name, value in (("balance", balance), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= 1:
                raise InputError(f"model.{name}={value!r} is out of range: it must lie in [0, 1].")
        self.coverage, self.balance, self.label_smoothing = coverage, balance, label_smoothing
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("least_probability", torch.empty(0))
        self.register_buffer("class_weights", None, persistent=False)
        self._seen: list[tuple[Tensor, Tensor, np.ndarray]] = []

    def build_networks(self, task: Any) -> None:
        """Build the network, and give every class of the task a threshold."""
        super().build_networks(task)
        if len(self.least_probability) != len(task.classes):
            self.least_probability = self.least_probability.new_full((len(task.classes),), torch.nan)

    def weigh(self, shares: Tensor) -> None:
        """Weigh the classes by one over their shares (K,) to the power ``balance``; one without a share weighs 1."""
        self.class_weights = (torch.where(shares > 0, shares, 1.0) ** -self.balance).to(self.device)

    def class_scores(self, batch: Any) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the scores (M, K), labels (M,) and patients (M,), any names, of the samples of a batch."""
        raise NotImplementedError

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the calibrated probabilities (..., K) of scores."""
        return (scores.float() / self.temperature).softmax(-1)

    def sets(self, probabilities: np.ndarray) -> np.ndarray | None:
        """Return which classes belong into each set, (..., K) bool; None where nothing was calibrated."""
        least = self.least_probability.cpu().numpy()
        return None if np.isnan(least).any() else probabilities >= least

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return log-likelihood and whether the class is right, of each sample, and remember them for calibration."""
        scores, labels, patients = self.class_scores(batch)
        self._seen.append((scores.detach(), labels, patients))
        found = {
            "nll": F.cross_entropy(scores, labels, reduction="none"),
            "accuracy": (scores.argmax(-1) == labels).float(),
        }
        return found, self.sample_weights(labels)

    def sample_weights(self, labels: Tensor) -> Tensor | None:
        """Return how much each sample counts where the best weights are chosen, (M,); None where all count alike.

        Calibration has nothing to do with it.
        """
        return None

    def on_validation_epoch_start(self) -> None:
        """Forget what was seen before."""
        super().on_validation_epoch_start()
        self._seen = []

    def on_validation_epoch_end(self) -> None:
        """Fit temperature and threshold to what was seen."""
        super().on_validation_epoch_end()
        seen, self._seen = self._seen, []
        if seen and not self.trainer.sanity_checking:
            scores, labels = torch.cat([one[0] for one in seen]), torch.cat([one[1] for one in seen])
            self.calibrate(scores.cpu().numpy(), labels.cpu().numpy(), np.concatenate([one[2] for one in seen]))

    def calibrate(self, scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> None:
        """Fit temperature and threshold to samples of patients the network did not learn from.

        Args:
            scores: (M, K).
            labels: (M,).
            patients: (M,) whose each is; each patient counts alike.
        """
        _, number, count = np.unique(patients, return_inverse=True, return_counts=True)
        self.temperature.fill_(temperature(scores, labels, weights=1 / count[number]))
        found = self.probabilities(torch.from_numpy(scores).to(self.temperature.device)).cpu().numpy()
        least = class_thresholds if self.by_class else threshold
        told = least(found, labels, coverage=self.coverage, groups=patients)
        self.least_probability.copy_(torch.as_tensor(told).expand_as(self.least_probability))
