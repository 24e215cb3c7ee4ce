"""A field driven by known periods of time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PeriodicForcing(nn.Module):
    """The field g(t, y) = f(t, y, [cos(phi + omega t), sin(phi + omega t)]), with a frequency omega for each period.

    The phases phi (B, P) at t = 0 are the field's ``args``: samples that start at different hours of the day share one
    field.

    Args:
        field: f, called ``field(t, y, u)`` with u (B, 2P).
        periods: the P periods, in the units of t.

    Example:
        >>> from integrand.core.fields import MLP
        >>> field = PeriodicForcing(MLP(3, control=2), [24.0])
        >>> field(torch.tensor(0.0), torch.zeros(5, 3), torch.zeros(5, 1)).shape
        torch.Size([5, 3])
    """

    def __init__(self, field: nn.Module, periods: Sequence[float]) -> None:
        super().__init__()
        self.field = field
        self.register_buffer("frequency", torch.tensor([2 * math.pi / p for p in periods]), persistent=False)

    def forward(self, t: Tensor, y: Tensor, phase: Tensor) -> Tensor:
        """Evaluate the field; t scalar or (B,), y (B, ...), phase (B, P)."""
        return self.field(t, y, harmonics(phase + self.frequency * t.to(y).reshape(-1, 1)))

    frequency: Tensor


def harmonics(angle: Tensor) -> Tensor:
    """Return [cos, sin] of angles (..., P), as (..., 2P)."""
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
