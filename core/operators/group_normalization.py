"""Group normalisation of fields whose channels lie last in memory."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from integrand.core.numerics.modes import is_batched, is_transformed

BLOCK = 2**18
"""Numbers that a thread has at hand at a time: in single precision a megabyte, which stays in its cache."""
VECTOR = 32
"""Bytes of a group's channels from which torch's own is quicker."""


def group_normalize(x: Tensor, scale: Tensor, shift: Tensor, *, groups: int, eps: float = 1e-5) -> Tensor:
    """Return y = scale (x - m) / sqrt(v + eps) + shift, with mean m and variance v of each sample's groups of channels.

    It is torch's ``group_norm``, but scale and shift may be each sample's own, and sums go along the channels, a few
    samples at a time: see ``is_quicker``. Moments and result are formed in float32 or wider whatever the precision of
    x, the variance from differences, and rounded once.

    Dimension letters: B batch, N points of the grid, C channels.

    Args:
        x: (B, C, X[, Y[, Z]]); quickest where channels are last in memory.
        scale, shift: (C,) or (B, C).
        groups: a divisor of C.
        eps: added to the variance.

    Returns:
        The same shape and precision as x, channels last in memory.

    Example:
        >>> x = torch.randn(2, 6, 5, 4).contiguous(memory_format=torch.channels_last)
        >>> y = group_normalize(x, torch.ones(6), torch.zeros(6), groups=3)
        >>> torch.allclose(y, F.group_norm(x, 3), atol=1e-5)
        True

    Source: Wu and He (2018), Group normalization, Eq. 1 and 7.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    scale_BC, shift_BC = (each.to(dtype).expand(x.shape[:2]) for each in (scale, shift))
    if is_transformed() or torch.compiler.is_compiling():  # which cannot look into a function of autograd
        return _by_torch(x, scale_BC, shift_BC, groups, eps)
    return _GroupNormalization.apply(x, scale_BC, shift_BC, groups, eps)  # pyright: ignore[reportReturnType]


def is_quicker(x: Tensor, groups: int) -> bool:
    """Return whether ``group_normalize`` takes less time for x (B, C, ...) than torch's own.

    On the host torch's goes along the channels of one group at a time where channels are last in memory. Where these
    are too few for the processor's vectors that takes up to five times as long, and otherwise less. A compiler writes
    its own.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not channels_lie_last(x):
        return False
    return x.shape[1] // groups * x.element_size() < VECTOR


def channels_lie_last(x: Tensor) -> bool:
    """Return whether the channels of a field (B, C, ...) lie last in memory, and not first."""
    return not x.is_contiguous() and x.movedim(1, -1).is_contiguous()


class _GroupNormalization(torch.autograd.Function):
    """The gradient in closed form: two sums over the grid and two passes, where autograd would make a dozen.

    With h = (x - m) r, r = 1 / sqrt(v + eps), and means <.> over a group,

        dx = r (scale g - <scale g> - h <scale g h>),   dscale = sum g h,   dshift = sum g.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float) -> Tensor:
        x_BNC = _rows(x)
        y_BNC = torch.empty_like(x_BNC, memory_format=torch.contiguous_format)
        mean, root = torch.empty_like(scale), torch.empty_like(scale)
        for some in _blocks(x_BNC):
            origin = x_BNC[some, 0].to(scale.dtype)  # the moments are formed about a value that occurs
            away = _less(x_BNC[some], origin)
            first, second = away.mean(1), (away * away).mean(1)
            own = _over_groups(first + origin, groups)
            variance = _over_groups(second - first * first + (first + origin - own).square(), groups)
            mean[some], root[some] = own, (variance + eps).rsqrt()
            slope = scale[some] * root[some]
            level = torch.addcmul(shift[some], origin - own, slope)
            y_BNC[some] = torch.addcmul(level.unsqueeze(1), away, slope.unsqueeze(1), out=away)
        ctx.save_for_backward(x, scale, shift, mean, root)
        ctx.groups, ctx.eps = groups, eps
        return _field(y_BNC, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, scale, shift, mean, root = ctx.saved_tensors
        if torch.is_grad_enabled() or is_batched(gradients[0]):  # to be differentiated again, or many at once
            return (*_gradients_by_torch((x, scale, shift), gradients[0], ctx.groups, ctx.eps), None, None)
        x_BNC, g_BNC, points = _rows(x), _rows(gradients[0]), x.shape[2:].numel()
        dx_BNC = torch.empty_like(x_BNC, memory_format=torch.contiguous_format)
        dscale, dshift = torch.empty_like(scale), torch.empty_like(scale)
        for some in _blocks(x_BNC):
            g, r = g_BNC[some].to(scale.dtype), root[some]
            centred = _less(x_BNC[some], mean[some])
            product = g * centred
            dscale[some], dshift[some] = r * product.sum(1), g.sum(1)
            level, slope = (_over_groups(scale[some] * each[some], ctx.groups) for each in (dshift, dscale))
            torch.addcmul((-r * level / points).unsqueeze(1), g, (r * scale[some]).unsqueeze(1), out=product)
            dx_BNC[some] = product.addcmul_(centred, (-r * r * slope / points).unsqueeze(1))
        return _field(dx_BNC, x), dscale, dshift, None, None


def _by_torch(x: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float) -> Tensor:
    """Return the same by torch's own, which has all derivatives."""
    axes = [1] * (x.dim() - 2)
    wide = F.group_norm(x.to(scale.dtype).contiguous(), groups, eps=eps)  # whose forward mode asks for this
    return torch.addcmul(shift.view(*shift.shape, *axes), wide, scale.view(*scale.shape, *axes)).to(x.dtype)


def _gradients_by_torch(
    given: tuple[Tensor, Tensor, Tensor], gradient: Tensor, groups: int, eps: float
) -> list[Tensor | None]:
    """Return the gradients by x, scale and shift, themselves with gradients where these are asked for."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x, scale, shift = (each.view_as(each) if each.requires_grad else each for each in given)
        y = _by_torch(x, scale, shift, groups, eps)
    asked = [each for each in (x, scale, shift) if each.requires_grad]
    found = iter(torch.autograd.grad(y, asked, gradient, create_graph=again))
    return [next(found) if each.requires_grad else None for each in given]


def _blocks(x_BNC: Tensor) -> Iterator[slice]:
    """Yield slices of the batch that the cores' caches hold."""
    many = max(1, torch.get_num_threads() * BLOCK // max(1, x_BNC[0].numel()))
    yield from (slice(first, first + many) for first in range(0, len(x_BNC), many))


def _less(x_BNC: Tensor, level_BC: Tensor) -> Tensor:
    """Return x less a number for each channel, in the precision of that, as a tensor that may be written to."""
    level = level_BC.unsqueeze(1)
    return x_BNC - level if x_BNC.dtype == level.dtype else x_BNC.to(level.dtype).sub_(level)


def _over_groups(each_BC: Tensor, groups: int) -> Tensor:
    """Return for each channel the mean over its group, (B, C)."""
    grouped = each_BC.unflatten(1, (groups, -1))
    return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1)


def _rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1).flatten(1, -2)


def _field(rows_BNC: Tensor, like: Tensor) -> Tensor:
    return rows_BNC.unflatten(1, like.shape[2:]).movedim(-1, 1)
