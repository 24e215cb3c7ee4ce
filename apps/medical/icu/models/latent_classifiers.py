"""Latent differential equations as classifiers: a path inferred from the series is read out, and explains it besides.

Dimension letters: B batch, L elements, C channels, D latent state.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from integrand.apps.series.classification.models.classifier import Classifier, Head
from integrand.apps.series.classification.models.controlled_classifiers import duration
from integrand.apps.series.classification.task import ClassificationTask
from integrand.core.fields import MLP
from integrand.core.layers import S5
from integrand.core.losses import gaussian_kl
from integrand.core.models import ODERNN, LatentODE, LatentSDE, NeuralODE
from integrand.core.paths import LinearPath
from integrand.datasets.irregular import IrregularBatch


class LatentClassifier(Classifier):
    """A latent path explains the series and says its class; see the subclasses for whence it comes.

        class ~ softmax(head(mean over times of z)),      values(t) ~ W z(t) + b

    In training one path is drawn for each sample, in evaluation it is always the same. ``penalty`` holds, after a call,
    what the loss is to add for each sample: the squared error of the observed values and the divergence from the prior.

    Args:
        width: channels of the encoder.
        d_state: its states.
        latent: dimension D.
        hidden: width of the field.
        steps: output times over the longest series.
        kl_weight: weight of the divergence.
        fit_weight: weight of the mean squared error.
    """

    def __init__(
        self,
        *,
        width: int = 48,
        d_state: int = 48,
        latent: int = 16,
        hidden: int = 48,
        steps: int = 12,
        kl_weight: float = 0.001,
        fit_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.d_state, self.latent, self.hidden, self.steps = width, d_state, latent, hidden, steps
        self.kl_weight, self.fit_weight = kl_weight, fit_weight
        self.penalty: Tensor | None = None

    def make_model(self, task: ClassificationTask) -> nn.Module:
        """Return the latent model."""
        raise NotImplementedError

    def path(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return states (B, steps + 1, D) of a path, and its divergence from the prior, (B,)."""
        raise NotImplementedError

    def build_network(self, task: ClassificationTask) -> None:
        """Make model, head and readout of the values."""
        self.model = self.make_model(task)
        self.head = Head(self.latent, task)
        self.readout = nn.Linear(self.latent, len(task.channels))
        self.register_buffer("grid", torch.linspace(0, 1, self.steps + 1), persistent=False)

    grid: Tensor

    def forward(self, batch: IrregularBatch) -> Tensor:
        """Return the scores of the classes, (B, K)."""
        states, divergence = self.path(batch)
        at = self.places(batch)
        values = self.readout(LinearPath(states, self.grid).evaluate(at))
        error = torch.where(batch.mask, values - batch.values, 0).square().sum((1, 2))
        error = error / batch.mask.sum((1, 2)).clamp(min=1)
        self.penalty = self.fit_weight * error + self.kl_weight * divergence
        known = self.grid <= at[:, -1:]  # where the series has ended the path tells of its future
        mean = (states * known.unsqueeze(-1)).sum(1) / known.sum(1, keepdim=True)
        return self.head(mean, batch)

    def places(self, batch: IrregularBatch) -> Tensor:
        """Return the times of the elements over the longest training series, (B, L)."""
        return ((batch.times - batch.times[:, :1]) / duration(self.built_for)).clamp(max=1)


class LatentODEClassifier(LatentClassifier):
    """An ODE-RNN reads the series backwards and infers where the ODE starts; see ``LatentClassifier``.

    Args:
        width, d_state, latent, hidden, steps, kl_weight, fit_weight: see there.

    Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time
    series, Sections 3 and 5.4.
    """

    model: LatentODE

    def make_model(self, task: ClassificationTask) -> LatentODE:
        """Return a latent ODE."""
        encoder = ODERNN(self.width, d_state=self.d_state, hidden=(self.hidden,), time_scale=float(task.elements))
        flow = NeuralODE(MLP(self.latent, (self.hidden,), activation="tanh"), method="rk4")
        return LatentODE(self.features, self.latent, encoder, flow)

    def path(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return the states of one path, and its divergence."""
        features, dt, _ = self.elements(batch)
        mean, std = self.model.infer(features, batch.present * dt, batch.present)
        start = mean + std * torch.randn_like(mean) if self.training else mean
        return self.model.flow(start, self.grid).states, gaussian_kl(mean, std)


class LatentSDEClassifier(LatentClassifier):
    """S5 reads the series backwards and steers the drift of a stochastic path; see ``LatentClassifier``.

    Args:
        calculus: of the noise.
        width, d_state, latent, hidden, steps, kl_weight, fit_weight: see there.

    Source: Li, Wong, Chen and Duvenaud (2020), Scalable gradients for stochastic differential equations, Section 5.
    """

    model: LatentSDE

    def __init__(
        self,
        *,
        width: int = 48,
        d_state: int = 48,
        latent: int = 16,
        hidden: int = 48,
        steps: int = 12,
        kl_weight: float = 0.001,
        fit_weight: float = 0.1,
        calculus: Literal["ito", "stratonovich"] = "ito",
    ) -> None:
        super().__init__(
            width=width,
            d_state=d_state,
            latent=latent,
            hidden=hidden,
            steps=steps,
            kl_weight=kl_weight,
            fit_weight=fit_weight,
        )
        self.save_hyperparameters()
        self.calculus: Literal["ito", "stratonovich"] = calculus

    def make_model(self, task: ClassificationTask) -> LatentSDE:
        """Return a latent SDE."""
        encoder = S5(self.width, d_state=self.d_state, dt_min=1 / task.elements, dt_max=0.5)
        return LatentSDE(self.features, self.latent, encoder, hidden=(self.hidden,), calculus=self.calculus)

    def path(self, batch: IrregularBatch) -> tuple[Tensor, Tensor]:
        """Return the states of one path, and its divergence."""
        features, _, _ = self.elements(batch)
        noise = seeds = None
        if not self.training:  # the same path at every evaluation, whatever the batch
            noise = torch.zeros(len(batch), self.latent, device=features.device)
            seeds = torch.zeros(len(batch), dtype=torch.int64, device=features.device)
        found = self.model(features, self.places(batch), batch.present, self.grid, noise=noise, seeds=seeds)
        return found.solution.states, found.kl
