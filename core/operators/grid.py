"""Uniform rectangular grids with boundaries, and fields continued beyond them."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.operators.boundary import Boundary, Dirichlet, Neumann, Periodic, ghosts

PERIODIC = Periodic()


@dataclass(frozen=True)
class Grid:
    """Equally spaced points in a box of one, two or three dimensions, and what holds at its walls.

    Fields are tensors (..., *shape); leading dimensions are free. The points are those where the field is unknown:

    - ``centring="cell"``: the centres of N cells of width h = length / N, the walls half a cell from the outermost;
    - ``centring="node"``: on a periodic axis 0, h, ..., (N - 1) h with h = length / N, as ``PeriodicGrid`` has them. On
      others a wall is itself a point where its value is to be found (``Neumann``, ``Open``), and one spacing away from
      the outermost point where it is given (``Dirichlet``).

    Args:
        shape: points N along each axis.
        lengths: length of the box along each axis, or one for all.
        boundaries: what holds at the walls: one for all, or one for each axis, each of them a ``Boundary`` or a pair
            (lower end, upper end).
        centring: ``"node"`` or ``"cell"``.

    Raises:
        InputError: a shape, length or boundary that makes no grid.

    Example:
        >>> grid = Grid((4,), 1.0, Neumann(0.0), centring="cell")
        >>> grid.spacing
        (0.25,)
        >>> grid.coordinates(torch.empty(0))
        (tensor([0.1250, 0.3750, 0.6250, 0.8750]),)
        >>> Grid((3,), 1.0, ((Dirichlet(0.0), Dirichlet(1.0)),)).pad(torch.tensor([0.25, 0.5, 0.75]), 1)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...] | float
    boundaries: Boundary | tuple[Boundary | tuple[Boundary, Boundary], ...] = PERIODIC
    centring: Literal["node", "cell"] = "node"

    def __post_init__(self) -> None:
        """Check and complete what was given."""
        if isinstance(self.shape, int):
            raise InputError(f"shape must name the points along each axis, got {self.shape}: give ({self.shape},).")
        shape = tuple(self.shape)
        if not 1 <= len(shape) <= 3 or any(n != int(n) or n < 2 for n in shape):
            raise InputError(f"a grid has 1 to 3 axes of 2 points or more, got shape={shape}.")
        given = self.lengths
        lengths = (given,) * len(shape) if isinstance(given, (int, float)) else tuple(given)
        if len(lengths) != len(shape) or not all(length > 0 and isfinite(length) for length in lengths):
            raise InputError(
                f"lengths={lengths} for {len(shape)} axes: give one positive length, or one for each axis."
            )
        if self.centring not in ("node", "cell"):
            raise unknown("centring", self.centring, ("node", "cell"))
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "lengths", tuple(float(length) for length in lengths))
        object.__setattr__(self, "boundaries", _sides(self.boundaries, len(shape)))

    @property
    def dims(self) -> int:
        """Number of axes d."""
        return len(self.shape)

    @property
    def sides(self) -> tuple[tuple[Boundary, Boundary], ...]:
        """What holds at the lower and the upper end of each axis."""
        return self.boundaries  # pyright: ignore[reportReturnType]  # made pairs when the grid was built

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance h of neighbours along each axis."""
        return tuple(
            length / (n if isinstance(self.sides[axis][0], Periodic) else n - 1 + sum(self._gaps(axis)))
            for axis, (n, length) in enumerate(zip(self.shape, self._lengths, strict=True))
        )

    def coordinates(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return the points' coordinates along each axis, broadcasting to the grid's shape; the box starts at 0."""
        return tuple(
            ((torch.arange(n, dtype=like.dtype, device=like.device) + self._gaps(axis)[0]) * h).view(
                *[-1 if i == axis else 1 for i in range(self.dims)]
            )
            for axis, (n, h) in enumerate(zip(self.shape, self.spacing, strict=True))
        )

    def points(self, like: Tensor) -> Tensor:
        """Return the points as a list (N, d), in the order of ``field.flatten(-d)``."""
        return torch.stack([x.expand(self.shape).flatten() for x in self.coordinates(like)], dim=-1)

    def pad(self, field: Tensor, width: int, *, axis: int | None = None, order: int = 2) -> Tensor:
        """Continue a field by ``width`` points beyond both ends of an axis, or of all.

        On periodic axes these are the points of the other end; on others they lie on the polynomial through the
        condition at the wall and the nearest points, see ``boundary.ghosts``, wrong by O(h^order) for smooth fields.

        Args:
            field: (..., *shape), or padded along other axes already.
            width: points to add.
            axis: counted from 0; None for all, one after another, so that corners are filled.
            order: order of the values added, at least 2.

        Raises:
            InputError: the grid has too few points for this.
        """
        self._check(field, axis)
        for each in range(self.dims) if axis is None else (axis,):
            field = self._pad(field, width, each, order)
        return field

    def _pad(self, field: Tensor, width: int, axis: int, order: int) -> Tensor:
        n, lower, upper = self.shape[axis], *self.sides[axis]
        periodic = isinstance(lower, Periodic)
        needed = width if periodic else order
        if order < 2 or n < needed:
            raise InputError(
                f"{width} points beyond axis {axis} of {n} points, of order {order}: the axis must have {needed} "
                "points or more, and the order be 2 or more."
            )
        dim = axis - self.dims
        if width == 0:
            return field
        if periodic:
            return torch.cat([field.narrow(dim, n - width, width), field, field.narrow(dim, 0, width)], dim=dim)
        gaps, h = self._gaps(axis), self.spacing[axis]
        below = [
            _ghost(field, dim, weights, given * _given(lower, h), at=0)
            for weights, given in ghosts(_condition(lower), gaps[0], width, order)
        ]
        # Seen from the upper wall the axis runs the other way: so does a slope.
        above = [
            _ghost(field, dim, weights[::-1], given * _given(upper, -h), at=n - len(weights))
            for weights, given in ghosts(_condition(upper), gaps[1], width, order)
        ]
        return torch.cat([*below[::-1], field, *above], dim=dim)

    @property
    def _lengths(self) -> tuple[float, ...]:
        return self.lengths  # pyright: ignore[reportReturnType]  # made a tuple when the grid was built

    def _gaps(self, axis: int) -> tuple[float, float]:
        """Return the distances of the walls from the outermost points, in units of the spacing."""
        if self.centring == "cell":
            return 0.5, 0.5
        lower, upper = self.sides[axis]
        return float(isinstance(lower, Dirichlet)), float(isinstance(upper, Dirichlet))

    def _check(self, field: Tensor, axis: int | None) -> None:
        if axis is not None and not 0 <= axis < self.dims:
            raise InputError(f"axis={axis} of a grid with {self.dims} axes: count from 0.")
        ends = tuple(field.shape[-self.dims :])
        wanted = self.shape if axis is None else (*ends[:axis], self.shape[axis], *ends[axis + 1 :])
        if field.dim() < self.dims or ends != wanted:
            raise InputError(f"the field has shape {tuple(field.shape)}: on this grid it must end in {self.shape}.")


def _sides(given: object, dims: int) -> tuple[tuple[Boundary, Boundary], ...]:
    """Return the boundaries as a pair for each axis."""
    each = given if isinstance(given, (tuple, list)) else (given,) * dims
    if len(each) != dims:
        raise InputError(
            f"{len(each)} boundaries for {dims} axes: give one for all or one for each axis; the two ends of one axis "
            "are a pair inside, ((lower, upper),)."
        )
    pairs = tuple(tuple(side) if isinstance(side, (tuple, list)) else (side, side) for side in each)
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(side, Boundary) for side in pair):
            raise InputError(f"{pair} are no boundaries: give Periodic(), Dirichlet(value), Neumann(slope) or Open().")
        if sum(isinstance(side, Periodic) for side in pair) == 1:
            raise InputError(f"one end of an axis cannot be periodic alone, got {pair}: make both ends Periodic().")
    return pairs  # pyright: ignore[reportReturnType]


def _condition(boundary: Boundary) -> int | None:
    """Return which derivative is given at a wall."""
    return 0 if isinstance(boundary, Dirichlet) else 1 if isinstance(boundary, Neumann) else None


def _given(boundary: Boundary, h: float) -> float:
    """Return what is given at a wall, a slope as the difference over one spacing."""
    if isinstance(boundary, Dirichlet):
        return boundary.value
    return boundary.slope * h if isinstance(boundary, Neumann) else 0.0


def _ghost(field: Tensor, dim: int, weights: tuple[float, ...], given: float, *, at: int) -> Tensor:
    """Return sum_j w_j u_(at + j) + given, one point wide."""
    made = correlate(field.narrow(dim, at, len(weights)), dim, weights)
    return made + given if given else made


def correlate(field: Tensor, dim: int, weights: tuple[float, ...]) -> Tensor:
    """Return sum_k w_k u_(i + k) for every i where all of them exist: a fixed convolution along one dimension.

    As a sum of shifted views. A library's convolution with one channel in and out took 10 to 50 times as long on a CPU,
    and on recent GPUs rounds its input to ten bits unless told otherwise (TensorFloat-32), which differences cannot
    bear. Weights are plain numbers: right in every precision, on every device, with no state to keep.
    """
    length = field.shape[dim] - len(weights) + 1
    total: Tensor | None = None
    for k, weight in enumerate(weights):
        if weight:
            shifted = field.narrow(dim, k, length)
            total = shifted * weight if total is None else torch.add(total, shifted, alpha=weight)
    return field.narrow(dim, 0, length) * 0 if total is None else total
