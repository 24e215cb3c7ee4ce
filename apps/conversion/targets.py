"""What a network should have said of each sample: its loss and its score."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from integrand.core.errors import InputError, first_line


@dataclass(frozen=True)
class Targets:
    """Classes or values, one for each sample.

    Attributes:
        values: whole numbers for classes, else real ones, (n, ...).
    """

    values: Tensor

    @property
    def classes(self) -> bool:
        """Whether they are classes."""
        return not self.values.is_floating_point()

    @property
    def score_name(self) -> Literal["accuracy", "rmse"]:
        """What ``score`` measures."""
        return "accuracy" if self.classes else "rmse"

    def check(self, output: Tensor) -> None:
        """Refuse targets that do not fit what the network gives for them.

        Raises:
            InputError: they have another shape, or classes that the network does not tell apart.
        """
        shape, given = tuple(self.values.shape), tuple(output.shape)
        if not self.classes and shape != given:
            raise InputError(
                f"--target has shape {shape}, and the network gives {given} for the inputs: they must agree."
            )
        if self.classes and shape not in (given[:-1], (given[0], *given[2:])):
            raise InputError(
                f"--target holds classes of shape {shape}, and the network gives {given}: it must be that shape "
                "without the dimension of the classes; give real numbers for a regression."
            )
        if self.classes:
            count = self._classes_last(output, shape).shape[-1]
            low, high = int(self.values.min()), int(self.values.max())
            if low < 0 or high >= count:
                raise InputError(
                    f"--target holds classes {low} to {high}, and the network tells 0 to {count - 1} apart."
                )

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the cross-entropy of logits, or the mean squared error."""
        if self.classes:
            logits = self._classes_last(output, target.shape)
            return functional.cross_entropy(logits.flatten(0, -2), target.flatten())
        return functional.mse_loss(output, target)

    def score(self, output: Tensor) -> float:
        """Return the share of right classes, or the root mean square error."""
        if self.classes:
            found = self._classes_last(output, self.values.shape).argmax(-1)
            return float((found == self.values).double().mean())
        return float((output - self.values).double().square().mean().sqrt())

    def take(self, places: Tensor) -> "Targets":
        """Return those of some samples."""
        return Targets(self.values[places])

    def _classes_last(self, output: Tensor, shape: tuple[int, ...] | torch.Size) -> Tensor:
        return output if tuple(output.shape[:-1]) == tuple(shape) else output.movedim(1, -1)


def read_array(path: Path, option: str) -> Tensor:
    """Read an array of numbers from a ``.npy`` file.

    Raises:
        InputError: there is none, it is no such file, or it is empty.
    """
    if not path.is_file():
        raise InputError(f"{option}: no file at {path}.")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"{option} {path} is no array of numbers ({first_line(error)}): write it by numpy.save."
        ) from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub" or not found.ndim or not len(found):
        raise InputError(f"{option} {path} is no array of numbers with a row for each sample: write it by numpy.save.")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"{option} {path} holds values that are not finite: leave those samples out.")
    return torch.from_numpy(np.ascontiguousarray(found))


def read_targets(path: Path, samples: int, dtype: torch.dtype) -> Targets:
    """Read the targets of so many samples; whole numbers are classes.

    Raises:
        InputError: there are more or fewer, see ``read_array``.
    """
    found = read_array(path, "--target")
    if len(found) != samples:
        raise InputError(f"--target holds {len(found)} targets, and --input {samples} samples: they must be as many.")
    return Targets(found.to(dtype) if found.is_floating_point() else found.long())
