"""The multilayer perceptron of flattened samples."""

import torch
from torch import Tensor, nn

from integrand.apps.generation.models.denoising_network import DenoisingNetwork, Modulated, NoiseAndClass
from integrand.apps.generation.models.waves import Waves
from integrand.apps.generation.task import GenerationTask


class MLPDenoiser(DenoisingNetwork):
    """Residual blocks h + W_2 silu(W_1 norm(h)) of a flattened sample, each modulated by noise and class.

    Args:
        width: hidden numbers H.
        blocks: residual blocks.
        dropout: probability of zeroing a hidden number.
        waves: frequencies at which each number of a sample is told as sine and cosine too, see ``Waves``; for few
            numbers whose density has sharp edges. None for none.
    """

    def __init__(self, width: int = 256, *, blocks: int = 3, dropout: float = 0.2, waves: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.blocks, self.dropout = width, blocks, dropout
        self.waves = waves

    def build_network(self, task: GenerationTask) -> None:
        """Make the parameters."""
        width = self.width
        size_in = task.dims * (2 if self.sees_base else 1)
        self.embedding = NoiseAndClass(width, len(task.classes), jumps=self.jumps)
        self.told = Waves(self.waves) if self.waves else None
        self.enter = nn.Linear(size_in * (1 + 2 * (self.waves or 0)), width)
        self.stack = nn.ModuleList(_Block(width, self.dropout) for _ in range(self.blocks))
        self.leave_norm = Modulated(width, width)
        self.leave = nn.Linear(width, task.dims)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, noise: Tensor, labels: Tensor | None = None, until: Tensor | None = None
    ) -> Tensor:
        """See ``DenoisingNetwork``."""
        embedded, flat = self.embedding(noise, labels, until), x.flatten(1)
        h = self.enter(flat if self.told is None else torch.cat([flat, self.told(flat, noise)], dim=1))
        for block in self.stack:
            h = block(h, embedded)
        return self.leave(nn.functional.silu(self.leave_norm(h, embedded))).view(len(x), *self.built_for.shape)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = Modulated(width, width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        return h + self.second(self.dropout(nn.functional.silu(self.first(self.norm(h, embedded)))))
