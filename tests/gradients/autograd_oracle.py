"""Autograd as the oracle of the fused gradients: the same field without its own derivative, and what "equal" means."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Opaque(nn.Module):
    """The same field, which autograd must differentiate."""

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.field(*inputs)


def assert_same(one: Iterable[Any], other: Iterable[Any], rounding: float = 1e-11) -> None:
    """The same sums in another order: about a thousand roundings of 1e-16, of numbers of size up to ten."""
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rounding, atol=rounding)
