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
from integrand.apps.medical.icu.stay_batch import StayBatch
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.datasets.labelled import LabelledSeries, Rows

CHUNK = 512
"""Stays judged at a time."""


class IcuModule(CalibratedModule):
    """Risks of stays, trained on the logarithm of the probability of what happened, each member by itself.

    Classes weigh by a power of one over their share in the training part: 0 for alike, as what is wanted are
    probabilities.

    Where the patients of training are divided into folds, networks of their own learn from all but each. A new stay is
    judged by the mean of the folds' calibrated probabilities; a training stay, for validation and calibration, by the
    networks that never saw its patient.

    Args:
        network: a network of stays; it is built for the data when training starts.
        coverage: share of the patients of each class whose set is to hold what happened, see ``CalibratedModule``.
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
    by_class = True
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
            balance=balance,
            label_smoothing=label_smoothing,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )

    def build(self, data: Any) -> None:
        """Build the network, and weigh the classes if asked to."""
        super().build(data)
        if self.balance:
            labels = torch.from_numpy(data.part("train").labels)
            self.weigh(torch.bincount(labels, minlength=len(data.task.classes)).clamp(min=1) / len(labels))

    def forward(self, batch: StayBatch) -> Tensor:
        """Return the calibrated probabilities of the classes, (B, K): the mean over the folds."""
        return self.probabilities(self.network.fold_scores(batch)).mean(1)

    def loss(self, batch: StayBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the mean cross entropies of the members, and what each adds, over the stays that it learns from."""
        labels, told = self._labels(batch), self.network.wide(batch)
        losses, right = [], []
        for number in range(len(self.network.deep)):
            own, seen, said = batch, told, labels
            if batch.folds is not None:
                rows = batch.folds != self.network.fold_of(number)
                own, seen, said = batch.stays(rows), told[rows], labels[rows]
            if not len(own):
                continue
            scores, penalty = self.network.member(number, own, seen)
            loss = F.cross_entropy(
                scores.float(), said, weight=self.class_weights, label_smoothing=self.label_smoothing
            )
            losses.append(loss if penalty is None else loss + penalty.mean())
            right.append((scores.detach().argmax(-1) == said).float().mean())
        # A sum over members, so that each learns as it would alone.
        return torch.stack(losses).sum(), {"accuracy": torch.stack(right).mean()}

    def class_scores(self, batch: StayBatch) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the scores (B, K), by members that never saw the patients, labels (B,) and patients (B,)."""
        return self._unseen(batch), self._labels(batch), np.array(batch.group)

    @torch.no_grad()
    def judge(
        self,
        made: LabelledSeries,
        rows: Rows | None = None,
        hours: Sequence[float] | np.ndarray | None = None,
        folds: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the scores of prepared stays before calibration, (N, G, K) float64, on the host.

        Args:
            made: as ``prepared`` gives them.
            rows: which of them; all where None.
            hours: (N,) up to which each is known; the cutoff where None.
            folds: (N,) of stays of the training patients, each of which the networks that never saw it judge, G = 1;
                None for new stays, which those of all G folds judge.
        """
        self.eval()
        task = self.network.built_for
        assert isinstance(task, IcuTask)
        rows = range(len(made)) if rows is None else rows
        found = []
        for start in range(0, len(rows), CHUNK):
            own = slice(start, start + CHUNK)
            until, aside = None if hours is None else hours[own], None if folds is None else folds[own]
            batch: Any = to_stays(made, task, rows[own], until, aside).to(self.device)
            scores = self.network.fold_scores(batch) if aside is None else self._unseen(batch).unsqueeze(1)
            found.append(scores.double().cpu().numpy())
        return np.concatenate(found) if found else np.empty((0, task.folds, len(task.classes)))

    def _unseen(self, batch: StayBatch) -> Tensor:
        """Return the scores (B, K) of stays by the members that never saw them."""
        if batch.folds is None:
            return self.network(batch)
        scores = torch.zeros((len(batch), len(self.network.built_for.classes)), device=batch.values.device)
        for fold in batch.folds.unique().tolist():
            rows = batch.folds == fold
            scores[rows] = self.network.unseen_scores(batch.stays(rows), fold)
        return scores

    def risks(self, scores: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities (N, K) of scores (N, G, K), as ``judge`` gives them."""
        return self.probabilities(torch.from_numpy(scores).to(self.temperature.device)).mean(1).double().cpu().numpy()

    @staticmethod
    def _labels(batch: StayBatch) -> Tensor:
        assert batch.target is not None
        return batch.target
