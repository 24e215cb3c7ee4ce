"""What every denoising network has: a base that knows what to do with a class."""

import torch
from torch import Tensor, nn

from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.errors import InputError
from integrand.core.fields.time_embedding import TimeEmbedding


class DenoisingNetwork(TaskNetwork[GenerationTask]):
    """A network F(x, noise, labels) of samples x (B, C, ...), their noise and class, with an output like one sample.

    Where ``sees_base`` is set before it is built, x has twice the channels of a sample. Where ``jumps`` is, it answers
    for the way to a second time, whose noise it is told as ``until``, at first as if it were not.
    """

    sees_base: bool = False
    jumps: bool = False

    def channels_in(self, task: GenerationTask) -> int:
        """Return how many channels, or numbers of a point, it is given."""
        return task.shape[0] * (2 if self.sees_base else 1)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Tensor, noise: Tensor, labels: Tensor | None = None, until: Tensor | None = None
    ) -> Tensor:
        """Return F, (B, *shape); noise and until are c_noise, (B,); labels (B,), None where no class is told."""
        raise NotImplementedError


class NoiseAndClass(nn.Module):
    """Noise and class as one vector (B, E): silu(W e(noise) + v_class), and with a second noise + W' e(until).

    Args:
        width: E.
        classes: number of classes; one more vector stands for none of them.
        jumps: whether there is a second noise; W' is 0 at first.

    Shapes:
        ``embed(noise, labels, until)``: noise and until (B,), a quarter of log(sigma / alpha); labels (B,) or None.

    Raises:
        InputError: a second noise is missing, or there is one in vain.
    """

    def __init__(self, width: int, classes: int, *, jumps: bool = False) -> None:
        super().__init__()
        self.classes = classes
        # c_noise runs over a few units; details finer than a fiftieth of one are none of a smooth denoiser.
        self.clock = TimeEmbedding(64, longest=2.0, shortest=0.02)
        self.waves = nn.Linear(64, width)
        self.vectors = nn.Embedding(classes + 1, width) if classes else None
        self.until = nn.Linear(64, width, bias=False) if jumps else None
        if self.until is not None:
            nn.init.zeros_(self.until.weight)

    def forward(self, noise: Tensor, labels: Tensor | None, until: Tensor | None = None) -> Tensor:
        """Embed."""
        if (until is None) != (self.until is None):
            raise InputError("a network that jumps is told where to, and no other is: set jumps before it is built.")
        total = self.waves(self.clock(noise).to(self.waves.weight.dtype))
        if self.until is not None and until is not None:
            total = total + self.until(self.clock(until).to(self.until.weight.dtype))
        if self.vectors is not None:
            if labels is None:
                labels = torch.full(noise.shape, self.classes, dtype=torch.int64, device=noise.device)
            total = total + self.vectors(labels)
        return nn.functional.silu(total)


class Modulated(nn.Module):
    """Layer normalisation of (..., H), scaled and shifted by linear functions of an embedding, at first not at all."""

    def __init__(self, width: int, embedded: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(embedded, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Return (1 + a) norm(h) + b for h (B, ..., H) and an embedding (B, E)."""
        scale, shift = self.film(embedded).view(len(h), *[1] * (h.dim() - 2), -1).chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(h), 1 + scale)
