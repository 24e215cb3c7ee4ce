"""Straight lines between observations."""

import torch
from torch import Tensor

from integrand.core.paths.missing import linear_fill
from integrand.core.paths.path import Causality, Path, rows


def linear_coefficients(values: Tensor, times: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return what ``LinearPath`` is made of: the values, the missing ones filled by ``linear_fill``.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.

    Returns:
        (B, L, C).
    """
    return linear_fill(values, times, mask=mask)


class LinearPath(Path):
    """The piecewise linear path X(t) = x_i + (t - t_i) (x_{i+1} - x_i) / (t_{i+1} - t_i).

    Causal at the knots, with missing values filled by ``forward_fill``; filled on straight lines, at the knots outside
    the gaps alone. The derivative jumps at the knots.

    Args:
        coefficients: from ``linear_coefficients``, (B, L, C).
        times: the same knots, (L,) or (B, L).

    Example:
        >>> times = torch.tensor([0.0, 1.0, 3.0])
        >>> path = LinearPath(linear_coefficients(torch.tensor([[[0.0], [1.0], [5.0]]]), times), times)
        >>> path.evaluate(torch.tensor([0.5, 2.0])).flatten().tolist()
        [0.5, 3.0]
        >>> path.derivative(torch.tensor([1.0])).item(), path.derivative(torch.tensor([1.0]), interval=path.locate(
        ...     torch.tensor([1.0]), side="left")).item()
        (2.0, 1.0)

    Source: Morrill et al. (2021), Neural controlled differential equations for online prediction tasks.
    """

    kinks = True
    causality: Causality = "knots"

    @property
    def channels(self) -> int:
        """C."""
        return self.coefficients.shape[-1]

    def evaluate(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return X at times (Q,) or (B, Q), as (B, Q, C)."""
        index, _, s = self._local(t, interval)
        return torch.lerp(rows(self.coefficients, index), rows(self.coefficients, index + 1), s)

    def derivative(self, t: Tensor, *, interval: Tensor | None = None) -> Tensor:
        """Return dX/dt at times (Q,) or (B, Q), as (B, Q, C)."""
        index, h, _ = self._local(t, interval)
        return (rows(self.coefficients, index + 1) - rows(self.coefficients, index)) / h
