"""The Lightning module of beat classification.

Dimension letters: B runs, N beats of a run, M beats that count, K classes.
"""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.data import BeatsOfPart
from integrand.apps.medical.beats.models.beat_network import BeatNetwork
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.medical.calibrated_module import CalibratedModule
from integrand.apps.training.task_network import TaskNetwork


class BeatModule(CalibratedModule):
    """Names of beats, trained on the logarithm of the probability of the right class.

    Classes weigh by a power of one over their share in the training part, ``balance`` 0.5 for its root: with 0 rare
    beats are never named, with 1 common ones are named rare. Variations change what beats look like, not how often a
    class comes: its beats and their variations weigh together what its beats would alone.

    Where the patients of training are divided into folds, a network of its own learns from all but each fold. A new
    patient is named by the mean of their probabilities; a training patient, for validation and calibration, by the one
    that never saw him.

    Args:
        network: a network of beats; it is built for the data when training starts.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        coverage: see ``CalibratedModule``.
        by_class: whether the promise of sets is kept for each class, by sets that are then large, for rare classes have
            few patients to learn it from; or for all beats of a patient together.
        balance: the power, from 0 to 1.
        label_smoothing: share of the target's probability that is spread over all classes.
    """

    app: ClassVar[str] = "medical"
    monitor: ClassVar[str] = "validation/nll"
    networks: ClassVar[type[TaskNetwork]] = BeatNetwork
    described_by: ClassVar[type] = BeatTask
    remembered: ClassVar[tuple[str, ...]] = ("coverage", "by_class")
    network: BeatNetwork
    evened: Tensor | None

    def __init__(
        self,
        network: BeatNetwork,
        *,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        ema_decay: float = 0.99,
        coverage: float = 0.9,
        by_class: bool = False,
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
        self.by_class = by_class
        self.register_buffer("evened", None, persistent=False)
        self.others = nn.ModuleList()

    def describe(self) -> dict[str, Any]:
        """Return the network, its options and task, and what the sets promise."""
        return {**super().describe(), "coverage": self.coverage, "by_class": self.by_class}

    @property
    def members(self) -> list[BeatNetwork]:
        """The networks, one for each fold."""
        return [self.network, *self.others]  # pyright: ignore[reportReturnType]

    def build_networks(self, task: BeatTask) -> None:
        """Build the network, and one more for each further fold."""
        super().build_networks(task)
        shares, learned = torch.tensor(task.shares), torch.tensor(task.learned_shares)
        self.weigh(shares)
        self.evened = torch.where(shares > 0, shares / learned, 0.0).to(self.device)
        while len(self.members) < task.folds:
            another = type(self.network)(**self.network.hparams)
            another.build(task)
            self.others.append(another)

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the calibrated probabilities of the classes, (B, N, K): the mean over the members."""
        return torch.stack([self.probabilities(member(batch)) for member in self.members]).mean(0)

    def named(self, part: BeatsOfPart) -> list[np.ndarray]:
        """Return the calibrated probabilities of the beats of each recording, (N, K) float64 on the host."""
        return [self.averaged(scores) for scores in self.member_scores(part)]

    @torch.no_grad()
    def member_scores(self, part: BeatsOfPart) -> list[Tensor]:
        """Return the scores of the beats of each recording by every member asked, (G, N, K) on the device.

        Args:
            part: of whole recordings; those of a fold are named by the network that never saw them alone.
        """
        self.eval()
        found = []
        for place in range(len(part)):
            run = part[place].to(self.device)
            fold = int(run.folds[0])
            asked = self.members if fold < 0 else [self.members[fold]]
            found.append(torch.stack([member(run)[0] for member in asked]))
        return found

    def averaged(self, scores: Tensor, *, calibrated: bool = True) -> np.ndarray:
        """Return the mean over members of the probabilities of scores (G, N, K), (N, K) float64 on the host."""
        p = self.probabilities(scores) if calibrated else scores.float().softmax(-1)
        return p.mean(0).cpu().double().numpy()

    def loss(self, batch: BeatBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted cross entropy of the beats that count over the members, beside their penalties."""
        weights = self.class_weights
        if weights is not None and self.evened is not None:
            weights = weights * self.evened
        losses, right, penalties = [], [], []
        for fold, member in enumerate(self.members):
            own = batch if len(self.members) == 1 else batch.runs(batch.folds != fold)
            if not len(own):
                continue
            scores, penalty = member.learn(own)
            scores, labels = scores.float()[own.mask], own.labels[own.mask]
            losses.append(F.cross_entropy(scores, labels, weight=weights, label_smoothing=self.label_smoothing))
            right.append((scores.detach().argmax(-1) == labels).float().mean())
            penalties += [] if penalty is None else [penalty]
        loss, logged = torch.stack(losses).mean(), {"accuracy": torch.stack(right).mean()}
        if not penalties:
            return loss, logged
        penalty = torch.stack(penalties).mean()
        return loss + penalty, {**logged, "penalty": penalty.detach()}

    def sample_weights(self, labels: Tensor) -> Tensor:
        """Return how much each beat counts where the best weights are chosen, as in the loss of beats alone, (M,)."""
        assert self.class_weights is not None
        return self.class_weights[labels]

    def class_scores(self, batch: Any) -> tuple[Tensor, Tensor, np.ndarray]:
        """Return the scores of the beats that count, by members that did not learn from them; see the base class."""
        scores = torch.zeros((*batch.mask.shape, len(self.network.built_for.classes)), device=self.device)
        for fold in batch.folds.unique().tolist():
            rows = batch.folds == fold
            own = batch.runs(rows)
            if fold >= 0:
                scores[rows] = self.members[fold](own).float()
            else:
                members = torch.stack([member(own).float().log_softmax(-1) for member in self.members])
                scores[rows] = members.exp().mean(0).log()
        patients = batch.patients[:, None].expand_as(batch.mask)[batch.mask]
        return scores[batch.mask], batch.labels[batch.mask], patients.cpu().numpy()
