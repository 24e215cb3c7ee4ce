"""Knots: which interval a time is in, and one grid of knots and the times asked for."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor


def locate(knots: Tensor, t: Tensor, *, side: Literal["left", "right"] = "right") -> Tensor:
    """Return the interval between knots that each time is in, from 0 on.

    A knot belongs to the interval on its right, or with ``side="left"`` to the one on its left; the ends, and what is
    beyond them, to the nearest interval longer than 0.

    Args:
        knots: (L,) or (B, L), non-decreasing.
        t: (Q,) or (B, Q).
        side: of a knot.

    Returns:
        (Q,), or (B, Q) where either is a sample's own.

    Example:
        >>> locate(torch.tensor([0.0, 1.0, 2.0, 2.0]), torch.tensor([0.5, 1.0, 2.0])).tolist()
        [0, 1, 1]
    """
    knots, t = knots.detach().contiguous(), t.detach()
    if knots.dim() == 2:
        t = t.expand(knots.shape[0], t.shape[-1])
    last = torch.searchsorted(knots, knots[..., -1:].contiguous()) - 1
    index = torch.searchsorted(knots, t.contiguous(), right=side == "right") - 1
    return torch.minimum(index, last).clamp(min=0)


class Grid(NamedTuple):
    """A grid on which every knot and every time asked for lies.

    Attributes:
        times: (G,) or (B, G), from the first time asked for to the last; padded with the last.
        places: where on the grid each time asked for is, (T,) or (B, T).
    """

    times: Tensor
    places: Tensor


def merge_knots(knots: Tensor, asked: Tensor) -> Grid:
    """Merge the knots that lie between the first and the last time asked for with these times, each once.

    How long the grid is depends on the values: on an accelerator the host waits for it, once.

    Args:
        knots: (L,) or (B, L), non-decreasing.
        asked: (T,) or (B, T), non-decreasing or non-increasing; the grid runs the same way.

    Example:
        >>> merge_knots(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([0.5, 2.0])).times.tolist()
        [0.5, 1.0, 2.0]
    """
    shared = knots.dim() == asked.dim() == 1
    knots, asked = torch.atleast_2d(knots.detach()), torch.atleast_2d(asked.detach())
    sign = torch.where(asked[:, -1:] < asked[:, :1], -1, 1)
    knots, asked = knots * sign, asked * sign
    batch = max(len(knots), len(asked))
    # Knots outside fall on an end, and vanish there.
    knots = torch.minimum(torch.maximum(knots, asked[:, :1]), asked[:, -1:])
    every = torch.cat([each.expand(batch, -1) for each in (knots, asked)], dim=1).sort(dim=1).values
    place = torch.cat([every.new_zeros(batch, 1, dtype=torch.int64), (every.diff(dim=1) > 0).cumsum(dim=1)], dim=1)
    grid = every[:, -1:].repeat(1, int(place.max()) + 1).scatter_(1, place, every)
    places = torch.searchsorted(grid, asked.expand(batch, -1).contiguous())
    grid = grid * sign
    return Grid(grid[0], places[0]) if shared else Grid(grid, places)
