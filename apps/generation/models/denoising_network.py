"""What every denoising network has: a base that knows what to do with a class."""

import torch
from torch import Tensor, nn

from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.task_network import TaskNetwork
from integrand.core.fields.time_embedding import TimeEmbedding


class DenoisingNetwork(TaskNetwork[GenerationTask]):
    """A network F(x, noise, labels) of samples x (B, C, ...), their noise and class, with an output like one sample.

    Where ``sees_base`` is set before it is built, x has twice the channels of a sample.
    """

    sees_base: bool = False

    def channels_in(self, task: GenerationTask) -> int:
        """Return how many channels, or numbers of a point, it is given."""
        return task.shape[0] * (2 if self.sees_base else 1)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return F, (B, *shape); noise is c_noise, (B,); labels (B,), None where no class is told."""
        raise NotImplementedError


class NoiseAndClass(nn.Module):
    """Noise and class as one vector (B, E): silu(W e(noise) + v_class).

    Args:
        width: E.
        classes: number of classes; one more vector stands for none of them.

    Shapes:
        ``embed(noise, labels)``: noise (B,), a quarter of log(sigma / alpha); labels (B,) or None.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        # c_noise runs over a few units; details finer than a fiftieth of one are none of a smooth denoiser.
        self.clock = TimeEmbedding(64, longest=2.0, shortest=0.02)
        self.waves = nn.Linear(64, width)
        self.vectors = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Embed."""
        total = self.waves(self.clock(noise).to(self.waves.weight.dtype))
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
