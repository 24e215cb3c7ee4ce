"""Fields brought from one grid to another.

Dimension letters: X Y Z grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from integrand.core.numerics.spectral import PeriodicGrid


def resampled(field: Tensor, shape: Sequence[int], *, periodic: Sequence[bool]) -> Tensor:
    """Return a field on a grid of other points over the same box.

    Along periodic axes the Fourier series is evaluated there; waves that the new grid does not resolve are left out.
    Along others values are interpolated linearly between the first and the last point, which both grids share.

    Args:
        field: (..., *X), real.
        shape: points along each axis.
        periodic: for each axis, whether its ends are joined.

    Example:
        >>> x = torch.arange(8) / 8 * 2 * torch.pi
        >>> fine = torch.arange(20) / 20 * 2 * torch.pi
        >>> torch.allclose(resampled(x.sin(), (20,), periodic=(True,)), fine.sin(), atol=1e-6)
        True
    """
    dims = len(shape)
    for axis, (points, wraps) in enumerate(zip(shape, periodic, strict=True)):
        lines = field.movedim(axis - dims, -1)
        if lines.shape[-1] == points:
            continue
        made = PeriodicGrid((lines.shape[-1],)).resample(lines, (points,)) if wraps else _linear(lines, points)
        field = made.movedim(-1, axis - dims)
    return field


def _linear(lines: Tensor, points: int) -> Tensor:
    n = lines.shape[-1]
    place = torch.linspace(0, n - 1, points, device=lines.device, dtype=lines.dtype)
    left = place.floor().long().clamp(max=n - 2)
    share = place - left
    return lines[..., left] * (1 - share) + lines[..., left + 1] * share
