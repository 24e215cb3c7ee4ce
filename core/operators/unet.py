"""The U-Net: residual blocks on a ladder of coarser and coarser grids."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.fields.dimensions import check_real
from integrand.core.fields.time_embedding import TimeEmbedding
from integrand.core.operators.group_normalization import group_normalize, is_quicker

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
FREQUENCIES = 64
"""Waves by which a time is told from another."""


class UNet(nn.Module):
    """A convolutional network that sees a field at several resolutions at once, in one, two or three dimensions.

    On the way down each level halves the grid by a strided convolution, on the way up it doubles it by repetition and
    a convolution; every level joins what it had on the way down to what comes up, through residual blocks

        h = conv(act(norm(x))),      y = skip(x) + conv(act((1 + a(c)) norm(h) + b(c))),

    whose scale a and shift b are linear in the embedding c of a time, of parameters, or of both (FiLM).

    Its place on the map: operator level; a level of the ladder is a grid of the multigrid V-cycle, a block one step of
    a local, explicit scheme on it. It is bound to the resolution that it was trained at.

    Grids of any size are taken: an odd number n of points has (n + 1) / 2 below it, and the way up returns to the very
    sizes of the way down; nothing is padded or cut. Where every size divides by 2^(levels - 1) and ``padding`` is
    circular, the network commutes with shifts by that many points.

    Args:
        in_channels: channels C of the input.
        out_channels: channels of the output; as many when None.
        dims: axes of the grid, 1 to 3.
        width: channels of the finest level, a multiple of ``groups`` and at least twice as many.
        multipliers: channels of each level, finest first, in units of ``width``.
        blocks: residual blocks on each level, down and up each.
        groups: groups of the normalisations.
        time: whether a time t is an input, embedded by sines and cosines; its unit should be that of its whole range.
        condition: number of parameters that are an input, such as a viscosity or a class in one-hot coding; zeros stand
            for no condition.
        heads: heads of self-attention between all points of the coarsest level; 0 for none.
        padding: ``"zeros"`` or ``"circular"``, for periodic fields.
        dropout: probability of zeroing a channel's point inside the blocks.

    Shapes:
        ``net(x, t, condition)``: x (B, C, X[, Y[, Z]]); t scalar or (B,); condition (B, K); returns (B, C_out, X[, Y[,
        Z]]). Memory in ``torch.channels_last`` stays so, which is quicker in two dimensions.

    Raises:
        InputError: an option out of range; an input of another rank or width, or given where none was declared.

    Example:
        >>> net = UNet(2, 1, width=16, time=True, padding="circular")
        >>> net(torch.randn(3, 2, 15, 20), torch.rand(3)).shape
        torch.Size([3, 1, 15, 20])

    Source: Ronneberger, Fischer and Brox (2015), U-Net: Convolutional networks for biomedical image segmentation,
    Fig. 1; residual blocks, normalisation and conditioning as in Gupta and Brandstetter (2022), Towards
    multi-spatiotemporal-scale generalized PDE modeling; scale and shift: Perez, Strub, de Vries, Dumoulin and Courville
    (2018), FiLM: Visual reasoning with a general conditioning layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        dims: int = 2,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 1,
        groups: int = 8,
        time: bool = False,
        condition: int = 0,
        heads: int = 0,
        padding: Literal["zeros", "circular"] = "zeros",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        if dims not in CONVOLUTIONS:
            raise InputError(f"dims must be 1, 2 or 3, got {dims}.")
        if min(in_channels, out_channels, blocks, groups, len(multipliers), *multipliers) < 1:
            raise InputError(
                "in_channels, out_channels, blocks, groups and multipliers must be 1 or more, got "
                f"{in_channels}, {out_channels}, {blocks}, {groups} and {tuple(multipliers)}."
            )
        if width % groups or width < 2 * groups:
            # With one channel a group the normalisation would take away what the biases before it add.
            raise InputError(f"width must be a multiple of groups={groups} and at least {2 * groups}, got {width}.")
        if condition < 0 or heads < 0 or (heads and width * multipliers[-1] % heads):
            raise InputError(
                f"condition={condition}, heads={heads}: neither may be negative, and heads must divide the "
                f"{width * multipliers[-1]} channels of the coarsest level."
            )
        if not 0 <= dropout <= 1:
            raise InputError(f"dropout must be a probability, from 0 to 1, got {dropout}.")
        if padding not in ("zeros", "circular"):
            raise unknown("padding", padding, ("zeros", "circular"))
        self.in_channels, self.dims, self.time, self.condition = in_channels, dims, time, condition
        widths = [width * multiplier for multiplier in multipliers]
        embedded = 4 * width if time or condition else 0
        self.embedding = _Embedding(embedded, time=time, condition=condition) if embedded else None

        def conv(a: int, b: int, stride: int = 1) -> nn.Module:
            return CONVOLUTIONS[dims](a, b, 3, stride=stride, padding=1, padding_mode=padding)

        def stack(a: int, b: int) -> nn.ModuleList:
            point = CONVOLUTIONS[dims]
            return nn.ModuleList(
                _Block(
                    conv(a if first else b, b),
                    conv(b, b),
                    point(a, b, 1) if first and a != b else nn.Identity(),
                    _Norm(groups, a if first else b),
                    _Norm(groups, b, embedded),
                    dropout,
                )
                for first in (True, *[False] * (blocks - 1))
            )

        self.enter = conv(in_channels, width)
        self.down = nn.ModuleList(stack(a, a) for a in widths)
        self.coarsen = nn.ModuleList(conv(a, b, stride=2) for a, b in pairwise(widths))
        self.attention = _Attention(widths[-1], heads, groups) if heads else nn.Identity()
        self.middle = stack(widths[-1], widths[-1])
        self.refine = nn.ModuleList(conv(b, a) for a, b in pairwise(widths))
        self.up = nn.ModuleList(stack(2 * a, a) for a in widths[:-1])
        self.leave_norm = _Norm(groups, width)
        self.leave = conv(width, out_channels)

    def forward(self, x: Tensor, t: Tensor | float | None = None, condition: Tensor | None = None) -> Tensor:
        """Map a field; see the class for shapes."""
        self._check(x, t, condition)
        c = self.embedding(x, t, condition) if self.embedding is not None else None
        h, kept = self.enter(x), []
        for level, blocks in enumerate(self.down):
            if level:
                kept.append(h)
                h = self.coarsen[level - 1](h)
            h = _through(blocks, h, c)
        h = _through(self.middle, self.attention(h), c)
        for level in range(len(kept) - 1, -1, -1):
            h = self.refine[level](F.interpolate(h, size=kept[level].shape[2:], mode="nearest"))
            h = _through(self.up[level], torch.cat([h, kept[level]], dim=1), c)
        return self.leave(F.silu(self.leave_norm(h)))

    def _check(self, x: Tensor, t: Tensor | float | None, condition: Tensor | None) -> None:
        if x.dim() != 2 + self.dims or x.shape[1] != self.in_channels or 0 in x.shape[2:]:
            axes = ", ".join("XYZ"[: self.dims])
            raise InputError(
                f"this UNet takes x of shape (B, C, {axes}) with C = {self.in_channels}, got {tuple(x.shape)}."
            )
        check_real(x, "this UNet")
        if (t is not None) != self.time:
            raise InputError(
                "this UNet " + ("needs a time t." if self.time else "takes no t: build it with time=True.")
            )
        if isinstance(t, Tensor) and tuple(t.shape) not in ((), (x.shape[0],)):
            raise InputError(f"t must be a scalar or (B,) = ({x.shape[0]},), got {tuple(t.shape)}.")
        got = None if condition is None else tuple(condition.shape)
        if got != ((x.shape[0], self.condition) if self.condition else None):
            raise InputError(
                f"condition must have shape (B, K) = ({x.shape[0]}, {self.condition}), got {got}."
                if self.condition
                else f"this UNet takes no condition, got {got}: build it with condition=K."
            )


class _Embedding(nn.Module):
    """Time and parameters as one vector (B, E)."""

    def __init__(self, size: int, *, time: bool, condition: int) -> None:
        super().__init__()
        self.clock = TimeEmbedding(2 * FREQUENCIES)  # from the whole range of times of order one to a thousandth of it
        self.waves = nn.Linear(2 * FREQUENCIES, size) if time else None
        self.parameters_in = nn.Linear(condition, size) if condition else None
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor, t: Tensor | float | None, condition: Tensor | None) -> Tensor:
        total = x.new_zeros(())
        if self.waves is not None:
            assert t is not None  # the network has checked
            dtype = torch.promote_types(self.waves.weight.dtype, torch.float32)
            time = t.to(dtype) if isinstance(t, Tensor) else torch.full((), t, dtype=dtype, device=x.device)
            with torch.autocast(x.device.type, enabled=False):
                waves = self.clock(time.expand(x.shape[0]))
            total = total + self.waves(waves.to(self.waves.weight.dtype))
        if self.parameters_in is not None:
            total = total + self.parameters_in(condition)
        return F.silu(self.out(F.silu(total)))


class _Norm(nn.Module):
    """Group normalisation in float32, with scale and shift learned or, given an embedding, made of it."""

    def __init__(self, groups: int, channels: int, embedded: int = 0) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.film = nn.Linear(embedded, 2 * channels) if embedded else None

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        if is_quicker(x, self.norm.num_groups):
            return self._channels_last(x, c)
        y = self.norm(x)
        if self.film is None:
            return y
        scale, shift = self.film(c).view(*x.shape[:1], -1, *[1] * (x.dim() - 2)).chunk(2, dim=1)
        return torch.addcmul(shift.to(y.dtype), y, 1 + scale.to(y.dtype))

    def _channels_last(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Normalise, scale and shift at once."""
        weight, bias = self.norm.weight, self.norm.bias
        if self.film is not None:
            scale, shift = self.film(c).to(weight.dtype).chunk(2, dim=1)
            weight, bias = weight * (1 + scale), torch.addcmul(shift, bias, 1 + scale)
        return group_normalize(x, weight, bias, groups=self.norm.num_groups, eps=self.norm.eps)


class _Block(nn.Module):
    """y = skip(x) + conv(dropout(act(norm(conv(act(norm(x)))))))."""

    def __init__(
        self, first: nn.Module, second: nn.Module, skip: nn.Module, before: _Norm, between: _Norm, dropout: float
    ) -> None:
        super().__init__()
        self.first, self.second, self.skip = first, second, skip
        self.before, self.between = before, between
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = self.first(F.silu(self.before(x)))
        return self.skip(x) + self.second(self.dropout(F.silu(self.between(h, c))))


class _Attention(nn.Module):
    """x + W_o softmax(q k^T / sqrt(d)) v between all points, as in Vaswani et al. (2017), Eq. 1.

    Queries, keys and values have no biases: that of the keys would cancel in the softmax and never learn.
    """

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, _Norm(groups, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels, bias=False), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        points = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(points).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, C / heads)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(x.shape)


def _through(blocks: nn.Module, h: Tensor, c: Tensor | None) -> Tensor:
    for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
        h = block(h, c)
    return h
