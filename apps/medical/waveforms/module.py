"""The Lightning modules of waveforms: one that gives back the clean signal, one that finds the beats."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.apps.medical.waveforms.batch import WaveformBatch
from integrand.apps.medical.waveforms.matching import THRESHOLDS, matches_by_threshold
from integrand.apps.medical.waveforms.models.waveform_network import WaveformAnswer, WaveformNetwork
from integrand.apps.medical.waveforms.task import WaveformTask
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.losses import gaussian_crps

AT_A_TIME = 32
"""Pieces validated at a time."""
EVERY = 8
"""Of how many samples one tells how wide the band must be."""
Z_90 = 1.6448536269514722
"""Deviations of a normal distribution that hold 90 % about its mean."""


class WaveformModule(TaskModule):
    """What both share: the network, and that it is asked for the right thing."""

    app: ClassVar[str] = "medical"
    goal: ClassVar[str]
    networks: ClassVar[type[TaskNetwork]] = WaveformNetwork
    described_by: ClassVar[type] = WaveformTask
    network: WaveformNetwork

    def build_networks(self, task: Any) -> None:
        """Build for a task what is not built yet.

        Raises:
            InputError: the task has another goal.
        """
        if task.goal != self.goal:
            raise InputError(f"data.goal={task.goal!r} is not what this task learns: it must be {self.goal!r}.")
        super().build_networks(task)

    def forward(self, batch: WaveformBatch) -> WaveformAnswer:
        """Answer at every sample."""
        return self.network(batch)

    def piece_scores(self, batch: WaveformBatch) -> dict[str, Tensor]:
        """Return scores of the pieces by name, (B,) each."""
        raise NotImplementedError

    def scores(self, batch: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the scores of the pieces of a validation batch, some pieces at a time."""
        found = [self.piece_scores(part) for part in batch.split(AT_A_TIME)]
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}, None


class DenoisingModule(WaveformModule):
    """Denoising and imputation: a normal distribution of the clean signal at every sample, noisy or missing.

    Trained on the continuous ranked probability score of the clean signal, in units of the deviation of the noise in
    the piece: to halve what little noise there is counts as much as to halve much, as it does in decibels.

    After each validation epoch the deviations are scaled so that the band of 90 % holds 90 % of the validation part;
    the factor stays with the weights.

    Args:
        network: a network of waveforms; it is built for the data when training starts.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
    """

    goal: ClassVar[str] = "denoising"
    monitor: ClassVar[str] = "validation/crps"
    validated: ClassVar[tuple[str, ...]] = ("crps", "improvement")
    spread: Tensor

    def __init__(
        self,
        network: WaveformNetwork,
        *,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 20,
        ema_decay: float = 0.98,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        self.register_buffer("spread", torch.tensor(1.0))
        self._off: list[Tensor] = []

    def forward(self, batch: WaveformBatch) -> WaveformAnswer:
        """Answer at every sample, the deviation as it was found to hold."""
        answer = self.network(batch)
        return answer._replace(std=answer.std * self.spread)

    def loss(self, batch: WaveformBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the score over the samples."""
        found, _ = self._scored(batch)
        return found["crps"].mean(), {"improvement": found["improvement"].detach().mean()}

    def piece_scores(self, batch: WaveformBatch) -> dict[str, Tensor]:
        """Return the score, in units of the noise, and the gain in decibels where the signal was observed."""
        found, answer = self._scored(batch)
        off = (answer.mean - batch.clean).abs() / answer.std
        self._off.append(off[:, ::EVERY].flatten())
        return found

    def on_validation_epoch_start(self) -> None:
        """Begin with no errors."""
        super().on_validation_epoch_start()
        self._off = []

    def on_validation_epoch_end(self) -> None:
        """Scale the deviations, over all processes alike."""
        super().on_validation_epoch_end()
        if self._off:
            factor = torch.cat(self._off).float().quantile(0.9) / Z_90
            self.spread.copy_(self.trainer.strategy.reduce(factor, reduce_op="mean"))  # pyright: ignore[reportArgumentType]
            self._off = []

    def _scored(self, batch: WaveformBatch) -> tuple[dict[str, Tensor], WaveformAnswer]:
        """Return the scores of the pieces, and the network's own answer, which they are of."""
        answer = self.network(batch)
        observed = batch.observed.to(batch.signal)
        count = observed.sum(1).clamp(min=1)
        noise = ((batch.signal - batch.clean).square() * observed).sum(1) / count
        error = ((answer.mean - batch.clean).square() * observed).sum(1) / count
        crps = gaussian_crps(answer.mean, answer.std, batch.clean).mean(1)
        return {"crps": crps / noise.sqrt(), "improvement": 10 * (noise / error.clamp(min=1e-12)).log10()}, answer


class BeatDetectionModule(WaveformModule):
    """Beat detection: the probability at every sample that a beat is near.

    Trained on the cross entropy with a bump at each beat. After each validation epoch the threshold is that of
    ``THRESHOLDS`` with the largest F1 on the validation part, and stays with the weights.

    Args:
        network: a network of waveforms; it is built for the data when training starts.
        balance: weight of samples at a beat over that of others.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
    """

    goal: ClassVar[str] = "detection"
    monitor: ClassVar[str] = "validation/nll"
    validated: ClassVar[tuple[str, ...]] = ("nll",)
    threshold: Tensor

    def __init__(
        self,
        network: WaveformNetwork,
        *,
        balance: float = 2.0,
        learning_rate: float = 4e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 20,
        ema_decay: float = 0.98,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if not balance > 0:
            raise InputError(f"model.balance={balance!r} is out of range: it must be above 0.")
        self.balance = balance
        self.register_buffer("threshold", torch.tensor(0.5))
        self._counts: Tensor | None = None

    def loss(self, batch: WaveformBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the weighted cross entropy over the samples."""
        return self._entropy(self(batch).beat, batch).mean(), {}

    def piece_scores(self, batch: WaveformBatch) -> dict[str, Tensor]:
        """Return the cross entropy, and count what each threshold would find."""
        found = self(batch).beat
        counts = matches_by_threshold(found.sigmoid().cpu().numpy(), batch.beats.cpu().numpy(), batch.rate)
        told = torch.from_numpy(counts).to(found.device)
        self._counts = told if self._counts is None else self._counts + told
        return {"nll": self._entropy(found, batch).mean(1)}

    def _entropy(self, found: Tensor, batch: WaveformBatch) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            found.float(), batch.beats, pos_weight=torch.full((), self.balance, device=found.device), reduction="none"
        )

    def on_validation_epoch_start(self) -> None:
        """Begin with no counts."""
        super().on_validation_epoch_start()
        self._counts = None

    def on_validation_epoch_end(self) -> None:
        """Keep the threshold of the largest F1, over all processes."""
        super().on_validation_epoch_end()
        if self._counts is not None:
            right, said, marked = self.trainer.strategy.reduce(self._counts, reduce_op="sum").unbind(-1)
            best = int((2 * right / (said + marked).clamp(min=1)).argmax())
            self.threshold.fill_(THRESHOLDS[best])
