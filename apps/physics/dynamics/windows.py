"""Pieces of trajectories, as training takes them.

Dimension letters: N trajectories, T times, D state, B batch, S states of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset


@dataclass(frozen=True)
class StateBatch:
    """Windows of trajectories, in the channels' own units.

    Attributes:
        states: (B, S, D).
        derivatives: (B, S, D) dy/dt there.
        times: (S,) from the first state of a window on, which is at 0.
    """

    states: Tensor
    derivatives: Tensor
    times: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Self:
        """Return the batch on a device."""
        return type(self)(*(x.to(device, non_blocking=non_blocking) for x in self.__dict__.values()))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory."""
        return type(self)(*(x.pin_memory() for x in self.__dict__.values()))


class StateWindows(Dataset):
    """Windows of ``length`` states from every trajectory, one beginning every ``stride`` states.

    Args:
        states: (N, T, D).
        derivatives: (N, T, D).
        times: (T,), equally spaced.
        length: S, at most T.
        stride: from one window to the next.

    Example:
        >>> y = torch.arange(10.0).view(1, 10, 1)
        >>> windows = StateWindows(y, y, torch.arange(10.0), length=4, stride=3)
        >>> len(windows), windows.__getitems__([2]).states[0, :, 0].tolist()
        (3, [6.0, 7.0, 8.0, 9.0])
    """

    def __init__(self, states: Tensor, derivatives: Tensor, times: Tensor, *, length: int, stride: int = 1) -> None:
        self.states, self.derivatives = states.flatten(0, 1), derivatives.flatten(0, 1)
        self.times = times[:length] - times[0]
        count, steps = states.shape[:2]
        first = torch.arange(0, steps - length + 1, stride)
        self.first = (torch.arange(count)[:, None] * steps + first).flatten()
        self.place = torch.arange(length)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.first)

    def __getitems__(self, indices: Sequence[int]) -> StateBatch:
        """Return some of them; numbers beyond the last count on from the first again."""
        rows = self.first[torch.tensor(indices) % len(self), None] + self.place
        return StateBatch(self.states[rows], self.derivatives[rows], self.times)
