"""Hermite cubics with backward differences: smooth, and causal at the knots."""

import torch
from torch import Tensor

from integrand.core.paths.cubic import CubicPath, divided_differences
from integrand.core.paths.missing import linear_fill
from integrand.core.paths.path import Causality


def hermite_coefficients(values: Tensor, times: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return what ``HermitePath`` is made of: values, and as slopes their backward differences.

    Missing values are filled by ``linear_fill``; fill them by ``forward_fill`` before to keep the path causal.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.

    Returns:
        Values, then slopes, (B, L, 2C).
    """
    filled = linear_fill(values, times, mask=mask)
    slopes = divided_differences(filled, times.to(filled))
    return torch.cat([filled, torch.cat([slopes[:, :1], slopes], dim=1)], dim=-1)


class HermitePath(CubicPath):
    """The cubic path whose slope at each knot is that of the straight line from the knot before.

        m_i = (x_i - x_{i-1}) / (t_i - t_{i-1}),     m_0 = m_1

    Causal at the knots, where values are missing as told in ``hermite_coefficients``. The derivative is continuous.

    Args:
        coefficients: from ``hermite_coefficients``, (B, L, 2C).
        times: the same knots, (L,) or (B, L).

    Example:
        >>> times = torch.tensor([0.0, 1.0, 2.0])
        >>> path = HermitePath(hermite_coefficients(torch.tensor([[[0.0], [1.0], [3.0]]]), times), times)
        >>> path.derivative(times).flatten().tolist()
        [1.0, 1.0, 2.0]

    Source: Morrill et al. (2021), Neural controlled differential equations for online prediction tasks.
    """

    causality: Causality = "knots"
