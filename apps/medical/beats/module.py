"""The Lightning module of beat classification."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.data import BeatsOfPart
from integrand.apps.medical.beats.models.beat_network import BeatNetwork
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError


class BeatModule(TaskModule):
    """Names of beats, trained on the logarithm of the probability of the right class.

    Classes weigh by a power of one over their share in the training part, ``balance`` 0.5 for its root: with 0 rare
    beats are never named, with 1 common ones are named rare.

    Args:
        network: a network of beats; it is built for the data when training starts.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        balance: the power, from 0 to 1.
        label_smoothing: share of the target's probability that is spread over all classes.
    """

    app: ClassVar[str] = "medical"
    monitor: ClassVar[str] = "validation/nll"
    networks: ClassVar[type[TaskNetwork]] = BeatNetwork
    described_by: ClassVar[type] = BeatTask
    validated: ClassVar[tuple[str, ...]] = ("nll", "accuracy")
    network: BeatNetwork

    def __init__(
        self,
        network: BeatNetwork,
        *,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        ema_decay: float = 0.99,
        balance: float = 0.5,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        for name, value in (("balance", balance), ("label_smoothing", label_smoothing)):
            if not 0 <= value <= 1:
                raise InputError(f"model.{name}={value!r} is out of range: it must lie in [0, 1].")
        self.balance, self.label_smoothing = balance, label_smoothing

    def forward(self, batch: BeatBatch) -> Tensor:
        """Return the probabilities of the classes, (B, N, K)."""
        return self.network(batch).float().softmax(-1)

    @torch.no_grad()
    def named(self, part: BeatsOfPart) -> list[np.ndarray]:
        """Return the probabilities of the beats of each recording, (N, K) float64 on the host."""
        self.eval()
        found = []
        for place in range(len(part)):
            run = part[place].to(self.device)
            found.append(self(run)[0].double().cpu().numpy())
        return found

    def loss(self, batch: BeatBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted cross entropy over the beats that are there, and add the network's penalty if any."""
        scores, penalty = self.network.learn(batch)
        scores, labels = scores.float()[batch.mask], batch.labels[batch.mask]
        shares = torch.tensor(self.network.built_for.shares, device=scores.device)
        weight = torch.where(shares > 0, shares, 1.0) ** -self.balance
        loss = F.cross_entropy(scores, labels, weight=weight, label_smoothing=self.label_smoothing)
        logged = {"accuracy": (scores.detach().argmax(-1) == labels).float().mean()}
        if penalty is None:
            return loss, logged
        return loss + penalty, {**logged, "penalty": penalty.detach()}

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return log-likelihood and whether the class is right, of each beat."""
        scores, labels = self._of_beats(batch)
        nll = F.cross_entropy(scores, labels, reduction="none")
        return {"nll": nll, "accuracy": (scores.argmax(-1) == labels).float()}, None

    def _of_beats(self, batch: BeatBatch) -> tuple[Tensor, Tensor]:
        return self.network(batch).float()[batch.mask], batch.labels[batch.mask]
