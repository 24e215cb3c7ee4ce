"""The data module of latents: samples as ever, and what a frozen autoencoder makes of them, once."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from integrand.apps.generation.data import GenerationData, SamplesOfPart, describe
from integrand.apps.generation.latents.autoencoder import Autoencoder
from integrand.apps.generation.latents.task import LatentTask, as_real
from integrand.core.diffusion.samplers.noise import initial_noise
from integrand.core.errors import InputError
from integrand.datasets.samples import Kind, Samples
from integrand.datasets.splits import PARTS

KINDS: dict[int, Kind] = {1: "points", 2: "series", 3: "image"}
"""What latents of so many axes are to a network."""
CHECKED = 256
"""Training samples whose reconstruction is looked at before all are encoded."""
PROBED = 32
"""Numbers of a decoded latent that a run remembers."""


@dataclass(frozen=True)
class Latents:
    """What a network of latents learns from.

    Attributes:
        autoencoder: whose latents they are, with its weights.
        task: of the latents.
        parts: of each part its latents, with the labels of the samples.
        notice: how well the autoencoder reconstructs.
    """

    autoencoder: Autoencoder
    task: LatentTask
    parts: dict[str, SamplesOfPart]
    notice: str

    def part(self, name: str) -> SamplesOfPart:
        """Return the latents of a part."""
        return self.parts[name]


class LatentData(GenerationData):
    """Images or series whose latents a model learns; samples and their split are as without the autoencoder.

    The autoencoder is not trained: it comes with its weights. One with ``fit(x)`` and without weights finds them in
    closed form from the training part alone. Encoding takes place once, when training begins, on the trainer's device.
    Grey values are given to it as the middles of their cells on [-1, 1], everything else as the data have it.

    Args:
        dataset: see ``GenerationData``.
        autoencoder: class of the autoencoder, see ``Autoencoder``.
        autoencoder_options: arguments of its ``__init__``.
        autoencoder_weights: file of its weights, see ``read_weights``; None where the class brings them or finds them.
        given: other arguments of ``GenerationData``.

    Raises:
        InputError: no autoencoder is named; see ``GenerationData``, and ``latents``.

    Example::

        pca = "integrand.apps.generation.latents.principal_components.PrincipalComponents"
        data = LatentData(autoencoder=pca, autoencoder_options={"shape": [1, 8, 8], "components": 16})
        Trainer(max_epochs=100).fit(LatentModule(MLPDenoiser()), data)
    """

    def __init__(
        self,
        dataset: str = "digits",
        *,
        autoencoder: str = "",
        autoencoder_options: dict[str, Any] | None = None,
        autoencoder_weights: str | None = None,
        **given: Any,
    ) -> None:
        super().__init__(dataset, **given)
        self.save_hyperparameters()
        if not autoencoder:
            raise InputError("data.autoencoder is missing: name a class with encode and decode, package.module.Name.")
        self.autoencoder, self.autoencoder_options = autoencoder, dict(autoencoder_options or {})
        self.autoencoder_weights = autoencoder_weights
        self._latents: Latents | None = None

    @property
    def latents(self) -> Latents:
        """The latents of all parts; encoded when they are first asked for.

        Raises:
            InputError: the autoencoder cannot be made, does not fit the data, or reconstructs worse than their mean.
        """
        self.setup()
        if self._latents is None:
            self._latents = self._encoded()
        return self._latents

    @property
    def notices(self) -> list[str]:
        """What the reader of the files has to say, and how well the autoencoder reconstructs."""
        return [*super().notices, self.latents.notice]

    def learned(self, part: str) -> Dataset:
        """Return the latents of a part."""
        return self.latents.part(part)

    def _encoded(self) -> Latents:
        made = Autoencoder(self.autoencoder, self.autoencoder_options)
        if self.trainer is not None:
            made.to(self.trainer.strategy.root_device)
        train = self.part("train").values
        if self.autoencoder_weights is not None:
            made.load_weights(self.autoencoder_weights)
        elif made.closed_form:
            made.fit(as_real(train, self.task))
        self._check(made, as_real(train[:CHECKED], self.task))
        values = {part: made.encode(as_real(self.part(part).values, self.task)).cpu() for part in PARTS}
        task = self._describe(made, values["train"])
        parts = {part: self._of_part(part, values[part], task) for part in PARTS}
        return Latents(made, task, parts, self._told(made, task))

    def _check(self, made: Autoencoder, x: Tensor) -> None:
        """Refuse what does not come back in its shape, or worse than not at all."""
        z = made.encode(x)
        back = made.decode(z)
        if back.shape != x.shape:
            raise InputError(
                f"{made.name} takes samples of shape {tuple(x.shape[1:])} and gives them back as "
                f"{tuple(back.shape[1:])}: encode and decode must fit together."
            )
        lost = lost_share(x, back)
        if lost >= 1:
            units = "" if self.task.levels is None else ", and grey values are told on [-1, 1]"
            raise InputError(
                f"{made.name} reconstructs training samples worse than their mean would (squared error {lost:.3g} of "
                f"the variance): are these its weights (data.autoencoder_weights={self.autoencoder_weights}){units}?"
            )

    def _describe(self, made: Autoencoder, latents: Tensor) -> LatentTask:
        """Return the task of latents, each number or channel with its mean and deviation in the training part."""
        axes = tuple(axis for axis in range(latents.dim()) if axis != 1)
        deviation, location = torch.std_mean(latents.double(), dim=axes, correction=0)
        if not (deviation > 0).all():
            raise InputError(
                f"number {int(deviation.argmin())} of {made.name}'s latents is the same for every training sample: "
                "leave it out of what encode returns."
            )
        samples = self._samples(latents, "train")
        whole = describe(samples, np.arange(len(latents)), conditional=bool(self.task.classes))
        own = {**whole.to_dict(), "location": location.tolist(), "scale": deviation.tolist()}
        said = {"class": made.kind, "options": made.options, "hash": made.hash}
        task = LatentTask(**own, autoencoder=said, data=self.task.to_dict())
        return replace(task, autoencoder={**said, "probe": probe(made, task)})

    def _of_part(self, part: str, latents: Tensor, task: LatentTask) -> SamplesOfPart:
        samples = self._samples(latents, part)
        return SamplesOfPart(samples, np.arange(len(latents)), labelled=bool(task.classes))

    def _samples(self, latents: Tensor, part: str) -> Samples:
        told = {} if not self.task.classes else {"labels": self.part(part).labels.numpy(), "classes": self._classes}
        kind = KINDS[latents.dim() - 1]
        channels = tuple(f"latent_{place}" for place in range(latents.shape[1]))
        return Samples(f"latents of {self.dataset}", kind, latents.numpy(), channels=channels, **told)

    @property
    def _classes(self) -> tuple[str, ...]:
        return tuple(self.task.classes)

    def _told(self, made: Autoencoder, task: LatentTask) -> str:
        held = self.part("validation").values
        if not len(held):
            return f"{made.name} ({made.hash}) makes latents {tuple(task.shape)} of {tuple(self.task.shape)}"
        x = as_real(held, self.task)
        lost = lost_share(x, made.decode(made.encode(x)))
        return (
            f"{made.name} ({made.hash}) makes latents {tuple(task.shape)} of {tuple(self.task.shape)}, from which "
            f"{1 - lost:.1%} of the variance of the validation part comes back"
        )


def lost_share(x: Tensor, back: Tensor) -> float:
    """Return the squared error of reconstructions in units of the variance about the mean sample.

    Example:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> lost_share(x, torch.ones(2, 1)), lost_share(x, x)
        (1.0, 0.0)
    """
    about = (x - x.mean(0)).double().square().sum()
    error = (x - back).double().square().sum()
    return float(error / about) if about > 0 else float(error > 0)


def probe(made: Autoencoder, task: LatentTask) -> list[float]:
    """Return some of the numbers that an autoencoder decodes from one latent, the same each time."""
    z = task.restored(initial_noise([0], task.shape, 1.0)).float()
    numbers = made.decode(z).flatten()
    return numbers[torch.linspace(0, len(numbers) - 1, min(PROBED, len(numbers))).long()].tolist()
