"""Images of solutions that solve the same equation, drawn anew for each batch: more to learn from for nothing.

Dimension letters: B batch, W states of a window, C channels, K constants, X Y grid.
"""

from dataclasses import replace

import torch
from torch import Tensor

from integrand.datasets.fields import FieldBatch


def mirrored(batch: FieldBatch) -> FieldBatch:
    """Return a batch whose samples are mirror images -u(-x), each with probability one half.

    Turned end for end, the points 0, h, ..., L - h of a circle are those of the image but for a shift by h.
    """
    values = batch.values
    return replace(batch, values=torch.where(_half_of(values), -values.flip(-1), values))


def turned(batch: FieldBatch, *, far_walls: bool = True) -> FieldBatch:
    """Return a batch whose samples are each one of their eight images under the symmetries of a square, all as likely.

    They are made of two reflections and the exchange of the axes, each with probability one half. The solution is 0 on
    all walls.

    Args:
        batch: values (B, W, C, X, X) and constants (B, K, X, X), on points from wall to wall.
        far_walls: whether the points are 0, h, ..., L. Where the far walls are left out, 0, h, ..., L - h, a reflection
            brings them to the near walls: the solution is 0 there, too, and the constants are taken from the nearest
            points that there are.

    Example:
        >>> corner = torch.zeros(1, 1, 1, 3, 3)
        >>> corner[..., 0, 0] = 1.0
        >>> int(turned(FieldBatch(corner, None, {})).values[..., ::2, ::2].sum())  # it is in one of the corners
        1
    """
    values, constants = batch.values, batch.constants
    for axis in (-1, -2):
        drawn = _half_of(values)
        values = torch.where(drawn, _reflected(values, axis, far_walls), values)
        if constants is not None:
            image = _reflected(constants, axis, far_walls)
            if not far_walls:
                image.narrow(axis, 0, 1).copy_(image.narrow(axis, 1, 1))
            constants = torch.where(drawn[:, 0], image, constants)
    drawn = _half_of(values)
    values = torch.where(drawn, values.transpose(-1, -2), values)
    if constants is not None:
        constants = torch.where(drawn[:, 0], constants.transpose(-1, -2), constants)
    return replace(batch, values=values, constants=constants)


def _half_of(values: Tensor) -> Tensor:
    """Draw for each sample whether it is taken, (B, 1, ...)."""
    return torch.rand(len(values), *[1] * (values.dim() - 1), device=values.device) < 0.5


def _reflected(field: Tensor, axis: int, far_walls: bool) -> Tensor:
    """Return a field end for end; without far walls the near one stays where it is, as a circle's point 0."""
    image = field.flip(axis)
    return image if far_walls else image.roll(1, axis)
