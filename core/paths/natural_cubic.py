"""The natural cubic spline through the observations."""

import torch
from torch import Tensor

from integrand.core.paths.cubic import CubicPath, divided_differences
from integrand.core.paths.missing import neighbours, observations
from integrand.core.paths.path import Causality
from integrand.core.paths.tridiagonal import solve_tridiagonal


def natural_cubic_coefficients(values: Tensor, times: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return what ``NaturalCubicPath`` is made of: the spline's values and slopes at all times.

    A channel's spline has knots at its own observations alone, so missing values change nothing; only before the first
    and after the last, where a cubic would run away, the nearest observation is held at every time.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.

    Returns:
        Values, then slopes, (B, L, 2C).
    """
    values, times, observed = observations(values, times, mask)
    batch, length, channels = values.shape
    before, after = neighbours(observed)
    position = torch.arange(length, device=values.device).view(1, -1, 1)
    outside = (before > position) | (after < position) | ~observed.any(dim=1, keepdim=True)
    padding = torch.cat([torch.zeros_like(times[:, :1]), times.diff(dim=1) == 0], dim=1).bool()
    knot = (observed | outside) & ~padding.unsqueeze(-1)
    values = torch.where(outside, values.gather(1, before), values)

    # Each channel's knots first, in order, then repeats of its last one: a batch of splines without gaps.
    order = (~knot).to(torch.int8).argsort(dim=1, stable=True)
    count = knot.sum(dim=1, keepdim=True)
    order = order.gather(1, torch.minimum(position.expand_as(order), count - 1))

    def by_channel(tensor: Tensor) -> Tensor:
        return tensor.transpose(1, 2).reshape(batch * channels, length)

    every = by_channel(times.unsqueeze(-1).expand(batch, length, channels))
    knots, held = every.gather(1, by_channel(order)), by_channel(values).gather(1, by_channel(order))
    splines = CubicPath(torch.stack([held, _spline_slopes(held, knots)], dim=-1), knots)
    found = (splines.evaluate(every), splines.derivative(every))
    return torch.cat([each.view(batch, channels, length).transpose(1, 2) for each in found], dim=-1)


def _spline_slopes(values: Tensor, knots: Tensor) -> Tensor:
    """Return the slopes (N, L) of natural splines through values (N, L) at knots (N, L).

    The second derivative is continuous at each knot, and 0 at the ends, where with w = 1 / h

        w_{i-1} m_{i-1} + 2 (w_{i-1} + w_i) m_i + w_i m_{i+1} = 3 (w_{i-1} d_{i-1} + w_i d_i),

    intervals beyond the ends, and those of length 0, counting as w = 0.
    """
    h = knots.diff(dim=1)
    weight = torch.where(h > 0, 1 / torch.where(h > 0, h, 1), 0)
    pull = 3 * weight * divided_differences(values.unsqueeze(-1), knots).squeeze(-1)
    none = torch.zeros_like(weight[:, :1])
    lower, upper = torch.cat([none, weight], dim=1), torch.cat([weight, none], dim=1)
    diagonal = 2 * (lower + upper)
    diagonal = torch.where(diagonal == 0, 1, diagonal)  # a repeat in the padding has no equation
    return solve_tridiagonal(lower, diagonal, upper, torch.cat([none, pull], dim=1) + torch.cat([pull, none], dim=1))


class NaturalCubicPath(CubicPath):
    """The natural cubic spline: of all curves through the observations, the one of least squared second derivative.

    Not causal: every value moves the whole spline. The derivative and the second derivative are continuous.

    Args:
        coefficients: from ``natural_cubic_coefficients``, (B, L, 2C).
        times: the same knots, (L,) or (B, L).

    Example:
        >>> times = torch.tensor([0.0, 1.0, 2.0])
        >>> path = NaturalCubicPath(natural_cubic_coefficients(torch.tensor([[[0.0], [1.0], [0.0]]]), times), times)
        >>> path.derivative(times).flatten().tolist()
        [1.5, 0.0, -1.5]

    Source: de Boor (1978), A Practical Guide to Splines, Ch. IV; Kidger et al. (2020), Neural controlled differential
    equations for irregular time series.
    """

    causality: Causality = "none"
