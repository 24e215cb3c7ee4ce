"""The Lightning module of risks from intensive care."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.medical.calibrated_module import CalibratedModule
from integrand.apps.medical.icu.batches import to_stays
from integrand.apps.medical.icu.models.wide_and_deep import WideAndDeep
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.labelled import LabelledSeries, Rows

CHUNK = 512
"""Stays judged at a time."""


class IcuModule(CalibratedModule):
    """Risks of stays, trained on the logarithm of the probability of what happened, each member by itself.

    Classes weigh by a power of one over their share in the training part: 0 for alike, as what is wanted are
    probabilities.

    Args:
        network: a network of stays; it is built for the data when training starts.
        coverage: share of patients whose set is to hold what happened, see ``CalibratedModule``.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        balance: the power, from 0 to 1.
        label_smoothing: share of the target's probability that is spread over all classes.

    Example::

        data = IcuData("physionet2012")
        module = IcuModule(S5Stays(members=3))
        Trainer(max_epochs=8).fit(module, data)
    """

    app: ClassVar[str] = "medical"
    monitor: ClassVar[str] = "validation/nll"
    networks: ClassVar[type[TaskNetwork]] = WideAndDeep
    described_by: ClassVar[type] = IcuTask
    network: WideAndDeep

    def __init__(
        self,
        network: WideAndDeep,
        *,
        coverage: float = 0.9,
        learning_rate: float = 1e-3,
        weight_decay: float = 1.0,
        warmup_steps: int = 50,
        ema_decay: float = 0.98,
        balance: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            network,
            coverage=coverage,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        for name, value in (("balance", balance), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= 1:
                raise InputError(f"model.{name}={value!r} is out of range: it must lie in [0, 1].")
        self.balance, self.label_smoothing = balance, label_smoothing
        self.class_weights: Tensor | None = None

    def build(self, data: Any) -> None:
        """Build the network, and weigh the classes if asked to."""
        super().build(data)
        if self.balance:
            labels = torch.from_numpy(data.part("train").labels)
            shares = torch.bincount(labels, minlength=len(data.task.classes)).clamp(min=1) / len(labels)
            self.class_weights = shares**-self.balance

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the calibrated probabilities of the classes, (B, K)."""
        return self.probabilities(self.network(batch))

    def loss(self, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the cross entropy of every member, and what it adds to it."""
        scores, penalty = self.network.member_scores(batch)
        labels = self._labels(batch)
        weights = None if self.class_weights is None else self.class_weights.to(scores.device)
        loss = F.cross_entropy(
            scores.float().flatten(0, 1),
            labels.repeat(len(scores)),
            weight=weights,
            label_smoothing=self.label_smoothing,
        )
        # A sum over members, so that each learns as it would alone.
        loss = len(scores) * (loss if penalty is None else loss + penalty.mean())
        return loss, {"accuracy": (scores.detach()[0].argmax(-1) == labels).float().mean()}

    def class_scores(self, batch: IrregularBatch) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the scores (B, K), labels (B,) and patients (B,) of a batch."""
        return self.network(batch), self._labels(batch), np.array(batch.group)

    @torch.no_grad()
    def judge(
        self, made: LabelledSeries, rows: Rows | None = None, hours: Sequence[float] | np.ndarray | None = None
    ) -> np.ndarray:
        """Return the scores of prepared stays before calibration, (N, K) float64, on the host.

        Args:
            made: as ``prepared`` gives them.
            rows: which of them; all where None.
            hours: (N,) up to which each is known; the cutoff where None.
        """
        self.eval()
        task = self.network.built_for
        assert isinstance(task, IcuTask)
        rows = range(len(made)) if rows is None else rows
        found = []
        for start in range(0, len(rows), CHUNK):
            until = None if hours is None else hours[start : start + CHUNK]
            batch = to_stays(made, task, rows[start : start + CHUNK], until)
            found.append(self.network(batch.to(self.device)).double().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, len(task.classes)))

    def risks(self, scores: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities (N, K) of scores."""
        return self.probabilities(torch.from_numpy(scores).to(self.temperature.device)).double().cpu().numpy()

    @staticmethod
    def _labels(batch: IrregularBatch) -> Tensor:
        assert batch.target is not None
        return batch.target
