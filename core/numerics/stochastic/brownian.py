"""Brownian motion: a path that is a function of its seed, and fresh increments for a fixed grid.

Over an interval of length h = t - s a path is known to a solver by two independent normal numbers a channel,

    W = W(t) - W(s) ~ N(0, h),      H = 1/h int_s^t (W(u) - W(s) - (u - s)/h W) du ~ N(0, h/12),

its increment and its space-time Levy area, the mean height of the path over its chord; int_s^t (W(u) - W(s)) du is
h (W/2 + H).
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.stochastic.counter_normals import counter_normals, stream_keys

SLACK = 2.0**-20
"""Share of the span by which rounding may put a time outside it."""

FEW = 4
"""Times for which the numbers of all levels are drawn together: a step's, while those of a grid fill the memory."""


class Increments(NamedTuple):
    """What a path did in each step of a grid; ``...`` is the shape of the noise.

    Attributes:
        w: W(t_{i+1}) - W(t_i), (S, B, ...).
        area: space-time Levy area H of each step, (S, B, ...); None where it was not asked for.
    """

    w: Tensor
    area: Tensor | None


class Brownian(Protocol):
    """Whatever tells a solver its increments."""

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        """Return the increments between the times of a grid, (S + 1,) shared or (B, S + 1) per sample."""
        ...


class BrownianPath:
    """Brownian motion on a fixed span, the path of a sample being a function of its seed alone.

    The same seed and span give the same path in any batch, at any place in it, whatever times are asked for and in
    whatever order: refined, reversed, or again in the backward pass; on another device they give it to rounding.
    Nothing is stored. It is Levy's construction on the dyadic intervals of the span. With (W, H) of an interval of
    length h known, its halves have

        W_1, W_2 = (W +- D) / 2,   H_1, H_2 = (2 H - D/2 +- E) / 2,   D = 3 H + sqrt(h)/2 Z,   E = sqrt(h/12) Z',

    where Z and Z' are the normal numbers of (seed, channel, interval). A time is reached in ``depth`` halvings, all
    samples, channels and times at once; within the last interval, 2^-depth of the span long, the path is the mean of
    what its W and H leave open: W(s + r h) = W(s) + r W + 6 r (1 - r) H.

    Args:
        seeds: (B,), whole numbers below 2^63.
        shape: shape of the noise of one sample, a number or a tuple.
        start: one end of the span, where the path is 0; a number, or (B,) for spans of the samples' own.
        end: the other end, above ``start``.
        dtype: precision of what is returned. The path itself is computed in float64 wherever the device has it.
        depth: halvings of the span.

    Raises:
        InputError: seeds, span or depth out of range; a time outside the span (where looking would make the host wait
            for an accelerator, the path is NaN there); a time that requires a gradient, which a path has not.

    Example:
        >>> path = BrownianPath([3, 5], 2, 0.0, 1.0, dtype=torch.float64)
        >>> coarse = path.increments(torch.tensor([0.0, 1.0])).w
        >>> fine = path.increments(torch.linspace(0, 1, 101)).w
        >>> coarse.shape, fine.shape
        (torch.Size([1, 2, 2]), torch.Size([100, 2, 2]))
        >>> torch.allclose(fine.sum(0), coarse[0])
        True
        >>> torch.equal(BrownianPath([5], 2, 0.0, 1.0, dtype=torch.float64)(torch.tensor([0.3]))[0],
        ...             path(torch.tensor([0.3]))[1])
        True

    Source: Levy (1948), Processus stochastiques et mouvement brownien; the halving of (W, H): Foster, Lyons and
    Oberhauser (2020), An optimal polynomial approximation of Brownian motion, and Jelincic, Foster and Kidger (2024),
    Single-seed generation of Brownian paths and integrals for adaptive and high order SDE solvers.
    """

    def __init__(
        self,
        seeds: Tensor | Sequence[int],
        shape: int | Sequence[int],
        start: float | Tensor,
        end: float | Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        depth: int = 24,
    ) -> None:
        seeds = seeds if isinstance(seeds, Tensor) else torch.tensor(seeds, dtype=torch.int64)
        if seeds.dim() != 1 or seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
            raise InputError(f"seeds must be whole numbers, one a sample (B,), got {seeds.dtype} {tuple(seeds.shape)}.")
        if not 0 <= depth <= 52:
            raise InputError(f"depth must be between 0 and 52 halvings, got {depth}.")
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.dtype, self.depth = dtype, depth
        self.wide = torch.float32 if seeds.device.type == "mps" else torch.float64
        self.start, end = (self._edge(edge, seeds) for edge in (start, end))
        self.span = end - self.start
        if self.span.device.type == "cpu" and not bool((self.span >= 0).all()):
            raise InputError(f"the span of a path must end after its start, got {start} to {end}.")
        self._keys = stream_keys(seeds.to(torch.int64), math.prod(self.shape)).unsqueeze(1)

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self._keys.shape[0]

    @property
    def resolution(self) -> Tensor:
        """Length of the shortest intervals that are known, a scalar or (B, 1): what lies within them is their mean."""
        return self.span * 2.0**-self.depth

    def at(self, rows: Tensor) -> "BrownianPath":
        """Return the paths of these samples alone, in the order of ``rows``."""
        some = copy.copy(self)
        some._keys = self._keys[rows]
        some.start, some.span = (edge[rows] if edge.dim() else edge for edge in (self.start, self.span))
        return some

    def __call__(self, t: Tensor) -> Tensor:
        """Return W(t), 0 at the start of the span.

        Args:
            t: (Q,) shared or (B, Q) per sample, in any order.

        Returns:
            (B, Q, ...).
        """
        return self._at(t)[0].to(self.dtype).unflatten(-1, self.shape)

    def increments(self, grid: Tensor, *, area: bool = False) -> Increments:
        """Return what the path does between neighbouring times.

        Args:
            grid: (S + 1,) shared or (B, S + 1) per sample, increasing or decreasing.
            area: whether H is wanted.

        Returns:
            ``Increments`` with tensors (S, B, ...).
        """
        w, integral = self._at(grid)
        rise = w.diff(dim=1)
        if not area:
            return Increments(self._by_step(rise), None)
        h = grid.to(self.wide).diff(dim=-1).unsqueeze(-1)
        mean = integral.diff(dim=1) / torch.where(h == 0, 1, h)
        height = torch.where(h == 0, 0, mean - (w[:, :-1] + w[:, 1:]) / 2)
        return Increments(self._by_step(rise), self._by_step(height))

    def _by_step(self, x_BSC: Tensor) -> Tensor:
        return x_BSC.to(self.dtype).transpose(0, 1).contiguous().unflatten(-1, self.shape)

    def _edge(self, edge: float | Tensor, seeds: Tensor) -> Tensor:
        """Return an end of the span as a scalar or (B, 1)."""
        edge = torch.as_tensor(edge, dtype=self.wide, device=seeds.device).detach()
        if edge.dim() and edge.shape != seeds.shape:
            raise InputError(f"an end of the span must be a number or one a sample {tuple(seeds.shape)}, got {edge}.")
        return edge.unsqueeze(-1) if edge.dim() else edge

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return W(t) and its integral from the start of the span to t, (B, Q, C), for t (Q,) or (B, Q)."""
        if t.requires_grad:
            raise InputError("a Brownian path has no derivative in time: detach the times, or draw without seeds.")
        share = (t.to(self.wide) - self.start) / torch.where(self.span == 0, 1, self.span)
        outside = (share < -SLACK) | (share > 1 + SLACK)
        share = share.clamp(0, 1)
        levels = self.depth
        if t.device.type == "cpu":
            if bool(outside.any()):
                raise InputError(f"a time lies outside the span of the path, {self.start} to {self.start + self.span}.")
            levels = _halvings(share, self.depth)
        root = self._root()
        held = self._descend(root, share, levels)
        w, integral = held.inside((share * 2**levels - held.number).unsqueeze(-1))
        # The end of the span is in no interval but the last's end; taken from the whole, it needs no halving.
        last_w, last_integral = root.inside(torch.ones_like(share[..., :1]).unsqueeze(-1))
        at_end = (share == 1).unsqueeze(-1)
        w, integral = torch.where(at_end, last_w, w), torch.where(at_end, last_integral, integral)
        if t.device.type != "cpu":
            w = w.masked_fill(outside.unsqueeze(-1), math.nan)
        scale = self.span.sqrt().unsqueeze(-1)
        return w * scale, integral * scale * self.span.unsqueeze(-1)

    def _root(self) -> "_Intervals":
        """Return the span as the one interval of level 0."""
        number = torch.zeros(1, dtype=torch.int64, device=self._keys.device)
        w, area = counter_normals(self._keys, number.unsqueeze(-1), self.wide)
        return _Intervals(number, 1.0, torch.stack([torch.zeros_like(w), torch.zeros_like(w), w, area / math.sqrt(12)]))

    def _descend(self, held: "_Intervals", share: Tensor, levels: int) -> "_Intervals":
        """Return the dyadic intervals of length 2^-levels that the shares of the span lie in."""
        number = (share * 2**levels).to(torch.int64).clamp(max=2**levels - 1)
        # All intervals of a level while they are no more than the times, then those alone which hold one.
        whole = min(levels, share.shape[-1].bit_length() - 1)
        for level in range(whole):
            z = [normal.repeat_interleave(2, dim=1) for normal in self._normals(held.number, level)]
            doubled = held._replace(values=held.values.repeat_interleave(2, dim=2))
            held = doubled.half(torch.arange(2 ** (level + 1), device=share.device), *z)
        held = held.pick(number >> (levels - whole))
        below = range(whole, levels)
        for level, normals in zip(below, self._normals_below(number, levels, below), strict=True):
            held = held.half(number >> (levels - level - 1), *normals)
        return held

    def _normals_below(self, number: Tensor, levels: int, below: range) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the normal numbers of each level above intervals: in one call where times are few."""
        if number.shape[-1] > FEW or not below:
            return (self._normals(number >> (levels - level), level) for level in below)
        rows = torch.stack([number.view(-1, number.shape[-1]) >> (levels - level) for level in below])
        tops = 2 ** torch.arange(below.start, below.stop, device=number.device).view(-1, 1, 1)
        return zip(*counter_normals(self._keys, (rows + tops).unsqueeze(-1), self.wide), strict=True)

    def _normals(self, number: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Return the two normal numbers that halve intervals: the nodes of a level are 2^level and those after it."""
        return counter_normals(self._keys, (number + 2**level).unsqueeze(-1), self.wide)


class _Intervals(NamedTuple):
    """Dyadic intervals of the unit span: all of one level in their order, or one for each time.

    Attributes:
        number: place in the level, (N,) or (B, N).
        length: of each.
        values: W at the start, the integral of W up to there, and the interval's own W and H, (4, B, N, C).
    """

    number: Tensor
    length: float
    values: Tensor

    def half(self, number: Tensor, z: Tensor, z_area: Tensor) -> "_Intervals":
        """Return of each interval the half that bears this number."""
        start, integral, w, area = self.values
        right = (number & 1).to(z.dtype).unsqueeze(-1)
        side = 1 - 2 * right
        difference = 3 * area + math.sqrt(self.length) / 2 * z
        total = 2 * area - difference / 2
        spread = math.sqrt(self.length / 12) * z_area
        # The right half starts where the left one ends.
        first_w, first_area = (w + difference) / 2, (total + spread) / 2
        half = self.length / 2
        values = [
            start + right * first_w,
            integral + right * half * (start + first_w / 2 + first_area),
            (w + side * difference) / 2,
            (total + side * spread) / 2,
        ]
        return _Intervals(number, half, torch.stack(values))

    def pick(self, number: Tensor) -> "_Intervals":
        """Return the intervals of these numbers, (Q,) or (B, Q), of all those of a level."""
        if number.dim() == 1:
            return self._replace(number=number, values=self.values.index_select(2, number))
        index = number.unsqueeze(-1).expand(4, -1, -1, self.values.shape[-1])
        return self._replace(number=number, values=self.values.gather(2, index))

    def inside(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Return W and its integral at the share r of each interval, (B, N, C)."""
        start, integral, w, area = self.values
        bow = r**2 / 2 * w + r**2 * (3 - 2 * r) * area
        return start + r * w + 6 * r * (1 - r) * area, integral + self.length * (r * start + bow)


def _halvings(share: Tensor, most: int) -> int:
    """Return after how many halvings an interval begins at every share, ``most`` where none is enough."""
    for level in range(most):
        if bool((share * 2**level).frac().eq(0).all()):
            return level
    return most


def draw_increments(
    grid: Tensor, batch: int, shape: Sequence[int], *, area: bool = False, generator: torch.Generator | None = None
) -> Increments:
    """Draw the increments of fresh paths for all steps of a grid in one call of ``torch.randn``.

    They obey ``torch.manual_seed``, or the generator. With times that require a gradient the paths stretch with them,
    W(t_{i+1}) - W(t_i) = sqrt|t_{i+1} - t_i| Z, which leaves the gradients of expectations unbiased.

    Args:
        grid: (S + 1,) shared or (B, S + 1) per sample, increasing or decreasing.
        batch: number of samples B.
        shape: shape of the noise of one sample.
        area: whether the space-time Levy area is wanted.
        generator: where the numbers come from, on the device of ``grid``.

    Example:
        >>> draw_increments(torch.linspace(0, 1, 101), 8, (3,)).w.shape
        torch.Size([100, 8, 3])
    """
    root = grid.diff(dim=-1).abs().sqrt()
    root = root.unsqueeze(-1) if root.dim() == 1 else root.T
    root = root.reshape(*root.shape, *(1,) * len(shape))
    size = (1 + area, root.shape[0], batch, *shape)
    z = torch.randn(size, dtype=grid.dtype, device=grid.device, generator=generator)
    # In place: memory of this size, met for the first time, costs more than the numbers do.
    z.mul_(root)
    return Increments(z[0], z[1].mul_(12**-0.5) if area else None)
