"""The diffusion transformer of images and series: DiT."""

import math

import torch
from torch import Tensor, nn

from integrand.apps.generation.models.denoising_network import DenoisingNetwork, Modulated, NoiseAndClass
from integrand.apps.generation.task import GenerationTask
from integrand.core.errors import InputError


class DiTDenoiser(DenoisingNetwork):
    """Attention between patches, every block modulated and gated by noise and class, the gates at first closed.

        h <- h + g_1 attention(norm(h)),      h <- h + g_2 W_2 gelu(W_1 norm(h))

    Its place on the map: each block is a step of forward Euler of a system of interacting particles, the patches.

    Args:
        width: numbers of a patch's vector.
        depth: blocks.
        heads: heads of attention.
        patch: points of a patch along each axis; it must divide the shape.
        dropout: probability of zeroing inside the blocks.

    Source: Peebles and Xie (2023), Scalable diffusion models with transformers, Fig. 3, adaLN-Zero.
    """

    def __init__(
        self, width: int = 128, *, depth: int = 4, heads: int = 4, patch: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.width, self.depth, self.heads, self.patch, self.dropout = width, depth, heads, patch, dropout

    def build_network(self, task: GenerationTask) -> None:
        """Make the parameters."""
        axes = task.shape[1:]
        if not axes:
            raise InputError("model dit is for images and series: take --model mlp for points.")
        if self.width % self.heads:
            raise InputError(f"model.network.heads={self.heads} must divide width={self.width}.")
        if any(size % self.patch for size in axes):
            raise InputError(f"model.network.patch={self.patch} must divide the shape {tuple(axes)}.")
        cells = self.patch ** len(axes)
        self.grid = tuple(size // self.patch for size in axes)
        count = math.prod(self.grid)
        self.enter = nn.Linear(self.channels_in(task) * cells, self.width)
        self.places = nn.Parameter(0.02 * torch.randn(count, self.width))
        self.embedding = NoiseAndClass(self.width, len(task.classes), jumps=self.jumps)
        self.stack = nn.ModuleList(_Block(self.width, self.heads, self.dropout) for _ in range(self.depth))
        self.leave_norm = Modulated(self.width, self.width)
        self.leave = nn.Linear(self.width, task.shape[0] * cells)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, noise: Tensor, labels: Tensor | None = None, until: Tensor | None = None
    ) -> Tensor:
        """See ``DenoisingNetwork``."""
        embedded = self.embedding(noise, labels, until)
        h = self.enter(self._patches(x)) + self.places
        for block in self.stack:
            h = block(h, embedded)
        return self._whole(self.leave(self.leave_norm(h, embedded)))

    def _patches(self, x: Tensor) -> Tensor:
        """Cut (B, C, X[, Y]) into patches (B, N, C patch^axes)."""
        for axis in range(len(self.grid)):
            x = x.unflatten(2 + 2 * axis, (self.grid[axis], self.patch))
        axes = len(self.grid)
        order = (0, *(2 + 2 * i for i in range(axes)), 1, *(3 + 2 * i for i in range(axes)))
        return x.permute(order).flatten(1, axes).flatten(2)

    def _whole(self, h: Tensor) -> Tensor:
        """Put patches together again."""
        axes = len(self.grid)
        x = h.unflatten(1, self.grid).unflatten(-1, (self.built_for.shape[0], *[self.patch] * axes))
        order = (0, 1 + axes, *(place for i in range(axes) for place in (1 + i, 2 + axes + i)))
        return x.permute(order).reshape(len(h), *self.built_for.shape)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = Modulated(width, width), Modulated(width, width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gates = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.gates.weight)
        nn.init.zeros_(self.gates.bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        attend, feed = self.gates(embedded).unsqueeze(1).chunk(2, dim=-1)
        q, k, v = self.qkv(self.before(h, embedded)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = h + attend * self.dropout(self.out(mixed))
        return h + feed * self.second(self.dropout(nn.functional.gelu(self.first(self.between(h, embedded)))))
