"""What the modules share whose networks answer with a Gaussian for every channel at every time asked."""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from integrand.apps.timeseries.network import GaussianAnswer
from integrand.apps.training.task_module import TaskModule
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError, unknown
from integrand.core.losses import gaussian_crps, gaussian_nll
from integrand.datasets.irregular import IrregularBatch

Score = Literal["crps", "nll", "squared"]
SCORES = ("crps", "nll", "squared")


class GaussianModule(TaskModule):
    """Probabilistic answers about an irregular series, trained on a score of their Gaussians.

    Args:
        network: what answers; it is built for the data when training starts.
        learning_rate, weight_decay, warmup_steps, ema_decay: see ``BaseModule``.
        score: what is minimised: ``"crps"``, the continuous ranked probability score; ``"nll"``, the negative
            log-likelihood; ``"squared"``, the squared error of the mean, in units of ``noise``, averaged over the
            values of a channel of a sample first and over samples and channels then: the likelihood of Rubanova et al.
            (2019), whose deviations are fixed.
        noise: that unit; with ``"squared"`` alone.
    """

    app: ClassVar[str] = "timeseries"
    monitor: ClassVar[str] = "validation/crps"
    validated: ClassVar[tuple[str, ...]] = ("crps", "mae")

    def __init__(
        self,
        network: TaskNetwork,
        *,
        learning_rate: float,
        weight_decay: float,
        warmup_steps: int,
        ema_decay: float,
        score: Score = "crps",
        noise: float = 0.01,
    ) -> None:
        super().__init__(
            network,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
        )
        if score not in SCORES:
            raise unknown("model.score", score, SCORES)
        if noise <= 0:
            raise InputError(f"model.noise={noise!r} is out of range: it must be positive.")
        self.score: Score = score
        self.noise = noise

    def forward(self, batch: IrregularBatch) -> GaussianAnswer:
        """Answer the batch at its ``target_times``, in the units of its values.

        Networks are asked in standardised units always; where the values have others, they are changed on the way.
        """
        task = self.network.built_for
        if task.center is None or task.deviation is None:
            return self.network(batch)
        center, deviation = (batch.values.new_tensor(one) for one in (task.center, task.deviation))
        values = torch.where(batch.mask, (batch.values - center) / deviation, 0)
        answer = self.network(replace(batch, values=values))
        asked = answer.mean.shape[-1]
        center, deviation = center[:asked], deviation[:asked]
        return replace(answer, mean=answer.mean * deviation + center, std=answer.std * deviation)

    def loss(self, batch: IrregularBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Average the score over the observed targets, and add the network's penalty."""
        answer = self(batch)
        target, mask = _target(batch)
        crps = _over(gaussian_crps(answer.mean, answer.std, target), mask)
        if self.score == "crps":
            loss = crps
        elif self.score == "nll":
            loss = _over(gaussian_nll(answer.mean, answer.std, target), mask)
        else:
            squared = by_sample((answer.mean - target) ** 2, mask).mean() / (2 * self.noise**2)
            # The mean learns nothing from this term, the deviation all it knows.
            loss = squared + _over(gaussian_crps(answer.mean.detach(), answer.std, target), mask)
        logged = {"crps": crps}
        if answer.stats is not None:
            logged["evaluations"] = answer.stats.evaluations.float().mean()
        if answer.penalty is not None:
            logged["penalty"] = answer.penalty.mean()
            loss = loss + logged["penalty"]
        return loss, logged

    def scores(self, batch: IrregularBatch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the scores of each target, (B, Q, K), which count where it was observed."""
        answer = self(batch)
        target, mask = _target(batch)
        return {
            "crps": gaussian_crps(answer.mean, answer.std, target),
            "mae": (answer.mean - target).abs(),
        }, mask.float()


def by_sample(values: Tensor, mask: Tensor) -> Tensor:
    """Average (B, Q, K) over the Q where the mask holds: (B, K), 0 where it never does.

    Its mean over samples and channels is the error that Rubanova et al. (2019) publish: however often a channel was
    measured in a sample it weighs alike, and one that never was counts as without error.
    """
    return torch.where(mask, values, 0).sum(1) / mask.sum(1).clamp(min=1)


def _target(batch: IrregularBatch) -> tuple[Tensor, Tensor]:
    assert batch.target is not None
    assert batch.target_mask is not None
    return batch.target, batch.target_mask


def _over(score: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, score, 0).sum() / mask.sum().clamp(min=1)
