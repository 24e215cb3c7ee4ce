"""The Lightning module of latents: a diffusion of them, and the autoencoder that makes samples of what it draws."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from integrand.apps.generation.latents.autoencoder import Autoencoder
from integrand.apps.generation.latents.data import probe
from integrand.apps.generation.latents.task import LatentTask, as_real, standardized_reals
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.task import GenerationTask
from integrand.core.errors import InputError

PREFIX = "autoencoder."
ALIKE = 0.01
"""What an autoencoder decodes may differ by, in units of the largest number: machines round, and some in bfloat16."""


class LatentModule(GenerationModule):
    """A ``GenerationModule`` of latents: the same training, and a checkpoint that holds the autoencoder's weights.

    A run draws on any machine that has the autoencoder's class: its options and weights are the run's own, whatever
    becomes of the file that they were read from. They are neither trained nor averaged.

    Args:
        network: see ``GenerationModule``, as are all others.

    Source: Vahdat, Kreis and Kautz (2021), Score-based generative modeling in latent space; Rombach, Blattmann, Lorenz,
    Esser and Ommer (2022), High-resolution image synthesis with latent diffusion models, of an autoencoder that is
    trained before.
    """

    described_by: ClassVar[type] = LatentTask
    autoencoder: Autoencoder | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.autoencoder = None

    @property
    def sample_task(self) -> GenerationTask:
        """What samples are, once decoded."""
        return self._task.sample_task

    @property
    def built_autoencoder(self) -> Autoencoder:
        """The autoencoder, once built."""
        if self.autoencoder is None:
            raise InputError("the module has no autoencoder yet: call build(data), or let Lightning's setup do it.")
        return self.autoencoder

    def build(self, data: Any) -> None:
        """Build the network for latents, and take the autoencoder they are of."""
        if self.autoencoder is None:
            self.autoencoder = data.latents.autoencoder
        super().build(data.latents)

    def build_networks(self, task: LatentTask) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Build for a task what is not built yet, the autoencoder without its weights."""
        if self.autoencoder is None:
            self.autoencoder = Autoencoder(task.autoencoder["class"], task.autoencoder["options"])
        super().build_networks(task)

    def encoded(self, values: Tensor) -> Tensor:
        """Return the latents of samples in the units of the data, on the samples' device."""
        return self.built_autoencoder.encode(as_real(values, self.sample_task))

    def decoded(self, z: Tensor) -> Tensor:
        """Return latents in the network's units as samples in the units that ``sample_task.restored`` takes."""
        return standardized_reals(self.built_autoencoder.decode(self._task.restored(z)), self.sample_task)

    def through(self, values: Tensor) -> Tensor:
        """Return what becomes of samples in the units of the data that are encoded and decoded."""
        back = self.built_autoencoder.decode(self.encoded(values))
        return self.sample_task.restored(standardized_reals(back, self.sample_task))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Return what is trained, and averaged: the autoencoder's parameters are no part of it."""
        own = f"{prefix}.{PREFIX}" if prefix else PREFIX
        every = super().named_parameters(prefix, recurse, remove_duplicate)
        yield from ((name, parameter) for name, parameter in every if not name.startswith(own))

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Self:
        """Build the module that a checkpoint describes, where the autoencoder's class still does what it did.

        Raises:
            InputError: the class is gone, takes other weights, or decodes otherwise than when the run was trained.
        """
        said = checkpoint["integrand"]["task"]["autoencoder"]
        try:
            module = super().from_checkpoint(checkpoint)
        except RuntimeError as error:
            if PREFIX not in str(error):
                raise
            raise _changed(said, "has other weights") from error
        found = torch.tensor(probe(module.built_autoencoder, module._task))
        known = torch.tensor(said["probe"])
        if found.shape != known.shape or (found - known).abs().max() > ALIKE * known.abs().max().clamp(min=1e-6):
            raise _changed(said, "decodes otherwise")
        return module

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """When training goes on, see that the latents are of the autoencoder that they were of.

        Raises:
            InputError: it has other weights.
        """
        super().on_load_checkpoint(checkpoint)
        known = checkpoint["integrand"]["task"]["autoencoder"]
        for name, own in self.built_autoencoder.state_dict().items():
            stored = checkpoint["state_dict"].get(PREFIX + name)
            if stored is None or not _alike(own, stored):
                raise InputError(
                    f"the autoencoder is not that of the run, whose hash is {known['hash']}, but has "
                    f"{self.built_autoencoder.hash}: give back its class, options and weights, or train anew."
                )

    @property
    def _task(self) -> LatentTask:
        task = self.network.built_for
        assert isinstance(task, LatentTask)
        return task


def _alike(own: Tensor, stored: Tensor) -> bool:
    """Whether two tensors are the same up to rounding: what is fitted again may have other last digits."""
    if own.shape != stored.shape:
        return False
    own, stored = own.double().cpu(), stored.double().cpu()
    return bool(((own - stored).abs() <= ALIKE * stored.abs().max() if stored.numel() else own == stored).all())


def _changed(said: dict[str, Any], how: str) -> InputError:
    return InputError(
        f"the autoencoder {said['class']} {how} than when the run was trained: its code has changed; bring back the "
        "version of then, or train again."
    )
