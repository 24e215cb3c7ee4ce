"""What a network of latents must know of them, and of the autoencoder they are of, as plain values."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from integrand.apps.generation.task import GenerationTask


@dataclass(frozen=True)
class LatentTask(GenerationTask):
    """A task of latents, and what they are encoded from and decoded to.

    Attributes:
        autoencoder: ``class``, ``options`` and ``hash`` of the autoencoder, whose weights the module holds, and a
            ``probe``: some numbers that it decodes, by which a change in its code is noticed.
        data: ``GenerationTask.to_dict`` of the samples in the units of the data.
    """

    autoencoder: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def sample_task(self) -> GenerationTask:
        """The task of the samples themselves."""
        return GenerationTask(**self.data)


def as_real(values: Tensor, task: GenerationTask) -> Tensor:
    """Return samples as an autoencoder takes them: grey values in the middles of their cells on [-1, 1], others as is.

    Example:
        >>> task = GenerationTask("image", [1, 1, 2], ["grey"], [0.0], [1.0], levels=4)
        >>> as_real(torch.tensor([[[[0, 3]]]]), task)
        tensor([[[[-0.7500,  0.7500]]]])
    """
    middle = torch.full((), 0.5, device=values.device)
    return _of_reals(task).restored(task.standardized(values, middle))


def standardized_reals(x: Tensor, task: GenerationTask) -> Tensor:
    """Return what an autoencoder decodes, in the units in which ``task.restored`` takes samples."""
    return _of_reals(task).standardized(x)


def _of_reals(task: GenerationTask) -> GenerationTask:
    return task if task.levels is None else replace(task, levels=None)
