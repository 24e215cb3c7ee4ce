"""The U-Net of images and series."""

import torch
from torch import Tensor, nn

from integrand.apps.generation.models.denoising_network import DenoisingNetwork, NoiseAndClass
from integrand.apps.generation.task import GenerationTask
from integrand.core.errors import InputError
from integrand.core.operators.unet import UNet


class UNetDenoiser(DenoisingNetwork):
    """The residual U-Net of ``core.operators``, told noise and class, embedded together, as its condition.

    Images are kept channels last, which convolutions of many channels are quicker with on most machines.

    Args:
        width: channels of the finest level.
        multipliers: channels of each level, finest first, in units of ``width``.
        blocks: residual blocks on each level, down and up each.
        groups: of the normalisations.
        heads: heads of self-attention on the coarsest level; None for none.
        dropout: probability of zeroing inside the blocks.
        channels_last: how images lie in memory. Exact likelihoods of small images are a little quicker without it, by a
            sixth to a quarter with 16 channels: torch takes several products with a Jacobian at once only where
            channels are first, and one by one they take nearly as long.
    """

    def __init__(
        self,
        width: int = 32,
        *,
        multipliers: tuple[int, ...] = (1, 2, 2),
        blocks: int = 1,
        groups: int = 8,
        heads: int | None = None,
        dropout: float = 0.1,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.channels_last = channels_last
        self.options = {
            "width": width,
            "multipliers": tuple(multipliers),
            "blocks": blocks,
            "groups": groups,
            "heads": heads or 0,
            "dropout": dropout,
        }

    def build_network(self, task: GenerationTask) -> None:
        """Make the parameters."""
        if task.kind == "points":
            raise InputError("model unet is for images and series: take --model mlp for points.")
        embedded = 2 * self.options["width"]
        self.embedding = NoiseAndClass(embedded, len(task.classes), jumps=self.jumps)
        self.unet = UNet(
            self.channels_in(task),
            task.shape[0],
            dims=len(task.shape) - 1,
            condition=embedded,
            **self.options,
        )
        nn.init.zeros_(self.unet.leave.weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.unet.leave.bias)  # pyright: ignore[reportArgumentType]
        if len(task.shape) == 3 and self.channels_last:
            self.unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, noise: Tensor, labels: Tensor | None = None, until: Tensor | None = None
    ) -> Tensor:
        """See ``DenoisingNetwork``."""
        if x.dim() == 4 and self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return self.unet(x, None, self.embedding(noise, labels, until))
