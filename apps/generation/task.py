"""What a generative network must know of its data, as plain values that a checkpoint can hold."""

import functools
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.diffusion.likelihood import dequantize, quantize

Kind = Literal["points", "image", "series"]


@dataclass(frozen=True)
class GenerationTask:
    """Shape, scale and classes of the training part.

    A sample in the units of the data becomes one of the network's by z = (u - location) / scale, so that training
    values have mean 0 and deviation 1; u is the value itself, or for grey values the dequantised one on [-1, 1].

    Attributes:
        kind: ``"points"``, ``"image"`` or ``"series"``.
        shape: of one sample: (D,), (C, H, W) or (C, L).
        channels: names of the numbers of a point, or of the channels.
        location, scale: of each number of a point or channel of a series; one for all of an image.
        classes: names of the classes; empty where there are none, or none are to be told apart.
        class_shares: of each class in the training part.
        levels: grey values of an image, None for real values.

    Example:
        >>> task = GenerationTask(
        ...     kind="points", shape=[2], channels=["x", "y"], location=[1.0, 0.0], scale=[2.0, 0.5]
        ... )
        >>> task.standardized(torch.tensor([[3.0, 1.0]]))
        tensor([[1., 2.]])
        >>> task.restored(torch.tensor([[1.0, 2.0]]))
        tensor([[3., 1.]])
    """

    kind: Kind
    shape: list[int]
    channels: list[str]
    location: list[float]
    scale: list[float]
    classes: list[str] = field(default_factory=list)
    class_shares: list[float] = field(default_factory=list)
    levels: int | None = None

    @property
    def dims(self) -> int:
        """Numbers in a sample."""
        return math.prod(self.shape)

    @property
    def nothing(self) -> int:
        """The label that stands for no class."""
        return len(self.classes)

    def standardized(self, values: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return values in the units of the data, (B, *shape), in the network's; grey values with uniform noise."""
        u = values.float() if self.levels is None else dequantize(values, self.levels, noise=noise)
        location, scale = self._statistics(u)
        return (u - location) / scale

    def restored(self, z: Tensor) -> Tensor:
        """Return samples in the network's units, (B, *shape), in the data's; grey values as whole numbers, int64."""
        location, scale = self._statistics(z)
        u = z * scale + location
        return u if self.levels is None else quantize(u, self.levels)

    @property
    def log_scale(self) -> float:
        """log |du/dz| summed over the numbers of a sample: the log density of u is that of z less this."""
        each = self.dims // len(self.scale)
        return each * sum(math.log(scale) for scale in self.scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``GenerationTask(**values)`` makes the task again."""
        return asdict(self)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        axes = len(self.shape) - 1
        location, scale = (_column(tuple(each), axes, like.dtype, like.device) for each in (self.location, self.scale))
        return location, scale


@functools.lru_cache(maxsize=64)
def _column(numbers: tuple[float, ...], axes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return one number a channel before some axes, made once a device: a training step then waits for no copy."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=dtype, device=device).view(-1, *[1] * axes)
