"""Missing values: which are there, and how the others are filled."""

from typing import NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError


class Observations(NamedTuple):
    """Checked data.

    Attributes:
        values: (B, L, C), 0 where nothing was observed.
        times: (B, L), of the values' dtype.
        observed: (B, L, C) bool; never true in the padding.
    """

    values: Tensor
    times: Tensor
    observed: Tensor


def observations(values: Tensor, times: Tensor, mask: Tensor | None) -> Observations:
    """Check data, and tell observed from missing and padded.

    Args:
        values: (B, L, C) floating point; NaN is missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C); with None, wherever there is no NaN.

    Raises:
        InputError: shapes do not fit, or times decrease or repeat before the last one.
    """
    if values.dim() != 3 or not values.is_floating_point() or values.shape[1] < 2:
        raise InputError(
            f"values must be floating point (B, L, C) with L >= 2, got {values.dtype} {tuple(values.shape)}: "
            "a path needs two knots; repeat a single observation, its time too, as padding."
        )
    batch, length, _ = values.shape
    if times.shape not in ((length,), (batch, length)):
        raise InputError(
            f"times must be ({length},) or ({batch}, {length}) for these values, got {tuple(times.shape)}."
        )
    times = times.to(values).expand(batch, length)
    steps = times.detach().diff(dim=1)
    # On an accelerator this look would make the host wait; there the caller's times are trusted.
    if times.device.type == "cpu" and not bool(((steps > 0) | (times[:, 1:] == times[:, -1:])).all()):
        raise InputError(
            "times must increase until the last time, which alone may repeat (as padding): "
            "sort them, and merge observations made at the same time."
        )
    observed = ~values.isnan()
    if mask is not None:
        if mask.shape != values.shape or mask.dtype != torch.bool:
            raise InputError(
                f"mask must be bool {tuple(values.shape)}, True where observed, got {mask.dtype} {tuple(mask.shape)}."
            )
        observed = observed & mask
    padding = torch.cat([torch.zeros_like(steps[:, :1], dtype=torch.bool), steps == 0], dim=1)
    observed = observed & ~padding.unsqueeze(-1)
    return Observations(torch.where(observed, values, 0), times, observed)


def linear_fill(values: Tensor, times: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Fill missing values on the straight line between the channel's neighbouring observations.

    Before the first and after the last observation, and in the padding, the nearest one is held; a channel never
    observed is 0. A filled value depends on the next observation, so a path through it is not causal inside the gap:
    take ``forward_fill``, or the rectilinear path, where that matters.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.

    Returns:
        (B, L, C).

    Example:
        >>> gap = torch.tensor([[[1.0], [float("nan")], [4.0]]])
        >>> linear_fill(gap, torch.tensor([0.0, 1.0, 3.0])).flatten().tolist()
        [1.0, 2.0, 4.0]
    """
    values, times, observed = observations(values, times, mask)
    before, after = neighbours(observed)
    left, right = values.gather(1, before), values.gather(1, after)
    t = times.unsqueeze(-1).expand_as(values)
    start, end = t.gather(1, before), t.gather(1, after)
    share = torch.where(end > start, (t - start) / torch.where(end > start, end - start, 1), 0)
    return left + share * (right - left)


def forward_fill(values: Tensor, times: Tensor, *, mask: Tensor | None = None, initial: float = 0.0) -> Tensor:
    """Hold each observation until the channel's next one, also through the padding.

    Args:
        values: (B, L, C), NaN where missing.
        times: (L,) or (B, L), increasing until the last time, which may repeat as padding.
        mask: True where observed, (B, L, C), beside or instead of NaN.
        initial: what a channel is before its first observation; taking that observation would look ahead.

    Returns:
        (B, L, C).

    Example:
        >>> gap = torch.tensor([[[float("nan")], [4.0], [float("nan")]]])
        >>> forward_fill(gap, torch.arange(3)).flatten().tolist()
        [0.0, 4.0, 4.0]
    """
    values, _, observed = observations(values, times, mask)
    before = _positions(observed, -1).cummax(dim=1).values
    return torch.where(before >= 0, values.gather(1, before.clamp(min=0)), initial)


def neighbours(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the positions of the last observation up to each place and of the first from it on, (B, L, C).

    Where a side has none it takes the other's; a channel never observed takes its place 0 for both.
    """
    length = observed.shape[1]
    before = _positions(observed, -1).cummax(dim=1).values
    after = _positions(observed, length).flip(1).cummin(dim=1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after == length, before, after)
    never = ~observed.any(dim=1, keepdim=True)
    return before.masked_fill(never, 0), after.masked_fill(never, 0)


def _positions(observed: Tensor, otherwise: int) -> Tensor:
    index = torch.arange(observed.shape[1], device=observed.device).view(1, -1, 1)
    return torch.where(observed, index, otherwise)
