"""Spectral calculus on periodic boxes in one, two and three dimensions."""

from dataclasses import dataclass
from math import pi, prod, sqrt
from typing import NamedTuple

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from integrand.core.errors import InputError


class EnergySpectrum(NamedTuple):
    """Energy by wavenumber.

    Attributes:
        wavenumbers: centres of the shells, (S,), in radians per unit length.
        energy: energy in each shell, (..., S); their sum is half the mean square of the field.
    """

    wavenumbers: Tensor
    energy: Tensor


@dataclass(frozen=True)
class PeriodicGrid:
    """Equally spaced points on a periodic box, and calculus by Fourier series on them.

    Fields are real tensors (..., *shape), vector fields (..., d, *shape); leading dimensions are free. Coefficients are
    those of ``torch.fft.rfftn`` over the last d dimensions, so that the last is halved.

    A field is band-limited where it holds no wave at or above the Nyquist number n / 2 of any axis; on such fields
    derivatives are exact to rounding. The wave at n / 2 itself is seen by its samples as a cosine alone; its odd
    derivatives, sines that vanish at every point, are zero, its even ones are kept.

    Half-precision fields are computed and returned in float32: FFTs lose too much in less.

    Args:
        shape: points along each axis, one to three axes of two points at least.
        lengths: length of the box along each axis, or one for all; 2 pi when left out.

    Example:
        >>> grid = PeriodicGrid((16,))
        >>> (x,) = grid.coordinates(torch.empty(0, dtype=torch.float64))
        >>> torch.allclose(grid.derivative(x.sin(), 0), x.cos())
        True

    Source: Trefethen (2000), Spectral methods in Matlab, Chapters 3 and 4.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...] | float = 2 * pi

    def __post_init__(self) -> None:
        """Check and complete what was given."""
        shape = tuple(self.shape)
        lengths = (
            (float(self.lengths),) * len(shape)
            if isinstance(self.lengths, (int, float))
            else tuple(float(length) for length in self.lengths)
        )
        if not 1 <= len(shape) <= 3 or any(n != int(n) or n < 2 for n in shape):
            raise InputError(f"a grid has 1 to 3 axes of 2 points or more, got shape={shape}.")
        if len(lengths) != len(shape) or not all(0 < length < float("inf") for length in lengths):
            raise InputError(
                f"lengths={lengths} for {len(shape)} axes: give one positive length, or one for each axis."
            )
        object.__setattr__(self, "shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "lengths", lengths)

    @property
    def dims(self) -> int:
        """Number of axes d."""
        return len(self.shape)

    def coordinates(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return the points' coordinates along each axis, of a shape that broadcasts to the grid's, from 0 on."""
        return tuple(
            self._along(axis, torch.arange(n, dtype=like.dtype, device=like.device) * (length / n))
            for axis, (n, length) in enumerate(zip(self.shape, self._lengths, strict=True))
        )

    # Coefficients and the symbols that multiply them

    def transform(self, field: Tensor) -> Tensor:
        """Return the Fourier coefficients of a real field."""
        return torch.fft.rfftn(self._real(field), dim=self._axes)

    def inverse(self, coefficients: Tensor) -> Tensor:
        """Return the real field with these Fourier coefficients."""
        if tuple(coefficients.shape[-self.dims :]) != self._halved:
            raise InputError(
                f"coefficients have shape {tuple(coefficients.shape)}: for a grid of {self.shape} they end in "
                f"{self._halved}."
            )
        if not coefficients.numel():  # which the FFT refuses in two dimensions
            return coefficients.new_empty(
                *coefficients.shape[: -self.dims], *self.shape, dtype=coefficients.dtype.to_real()
            )
        return torch.fft.irfftn(coefficients, s=self.shape, dim=self._axes)

    def wavenumbers(self, like: Tensor) -> tuple[Tensor, ...]:
        """Return k along each axis, in radians per unit length, in the precision and of the device of ``like``.

        Each broadcasts to the coefficients' shape; the Nyquist number of a full axis is negative.
        """
        return tuple(
            self._along(axis, 2 * pi / length * self._integers(axis, like)) for axis, length in enumerate(self._lengths)
        )

    def derivative_symbol(self, axis: int, like: Tensor, order: int = 1) -> Tensor:
        """Return (i k)^order along an axis: real for even orders; for odd ones complex, and 0 at the Nyquist number."""
        k = self.wavenumbers(like)[self._axis(axis)]
        if order % 2 == 0:
            return (-1.0) ** (order // 2) * k**order
        mirrored = 2 * self._along(axis, self._integers(axis, like)).abs() != self.shape[axis]
        power = (-1.0) ** (order // 2) * k**order * mirrored
        return torch.complex(torch.zeros_like(power), power)

    def laplacian_symbol(self, like: Tensor) -> Tensor:
        """Return -|k|^2, real."""
        return -sum(k**2 for k in self.wavenumbers(like))  # pyright: ignore[reportReturnType]

    def dealiasing_mask(self, like: Tensor, share: float = 2 / 3) -> Tensor:
        """Return 1 for the waves to keep and 0 for the others, by the 2/3 rule.

        Waves are kept below ``share`` times the Nyquist number of every axis, strictly: products of two such fields
        then carry aliases only where the mask removes them.

        Source: Orszag (1971), On the elimination of aliasing in finite-difference schemes by filtering high-wavenumber
        components.
        """
        mask = torch.ones((), dtype=like.dtype, device=like.device)
        for axis, n in enumerate(self.shape):
            kept = self._integers(axis, like).abs() < share * n / 2
            mask = mask * self._along(axis, kept.to(mask))
        return mask

    # Calculus on fields

    def derivative(self, field: Tensor, axis: int, order: int = 1) -> Tensor:
        """Return the derivative of a field along an axis."""
        field, axis = self._real(field), self._axis(axis)
        alone = PeriodicGrid((self.shape[axis],), (self._lengths[axis],))
        # One transform along this axis alone; the axis is last meanwhile.
        moved = field.movedim(axis - self.dims, -1)
        made = alone.inverse(alone.transform(moved) * alone.derivative_symbol(0, moved, order))
        return made.movedim(-1, axis - self.dims)

    def gradient(self, field: Tensor) -> Tensor:
        """Return the gradient, (..., d, *shape), of a field."""
        return torch.stack([self.derivative(field, axis) for axis in range(self.dims)], dim=-1 - self.dims)

    def divergence(self, field: Tensor) -> Tensor:
        """Return the divergence of a vector field."""
        parts = self._vector(field).unbind(-1 - self.dims)
        return sum(self.derivative(part, axis) for axis, part in enumerate(parts))  # pyright: ignore[reportReturnType]

    def curl(self, field: Tensor) -> Tensor:
        """Return the curl of a vector field: in two dimensions the scalar d_0 v_1 - d_1 v_0, in three a vector."""
        if self.dims == 1:
            raise InputError("a field in one dimension has no curl.")
        v = self._vector(field).unbind(-1 - self.dims)
        if self.dims == 2:
            return self.derivative(v[1], 0) - self.derivative(v[0], 1)
        turns = [(1, 2), (2, 0), (0, 1)]
        return torch.stack([self.derivative(v[j], i) - self.derivative(v[i], j) for i, j in turns], dim=-4)

    def laplacian(self, field: Tensor) -> Tensor:
        """Return the Laplacian of a field."""
        field = self._real(field)
        return self.inverse(self.transform(field) * self.laplacian_symbol(field))

    def inverse_laplacian(self, field: Tensor) -> Tensor:
        """Return the field of mean zero whose Laplacian is this field less its mean."""
        field = self._real(field)
        symbol = self.laplacian_symbol(field)
        return self.inverse(
            self.transform(field) * torch.where(symbol == 0, 0, 1 / torch.where(symbol == 0, 1, symbol))
        )

    def project(self, field: Tensor) -> Tensor:
        """Return the part of a vector field without divergence, v - grad(inverse Laplacian(div v)).

        In coefficients v - k (k . v) / |k|^2, where k is that of first derivatives, so that the divergence vanishes to
        rounding on the Nyquist waves, too.

        Source: Chorin (1968), Numerical solution of the Navier-Stokes equations; the Leray projection.
        """
        field = self._vector(field)
        v = self.transform(field)
        k = [self.derivative_symbol(axis, field).imag for axis in range(self.dims)]
        square = sum(each**2 for each in k)
        along = sum(each * part for each, part in zip(k, v.unbind(-1 - self.dims), strict=True))
        along = along / torch.where(square == 0, 1, square)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return self.inverse(v - torch.stack([each * along for each in k], dim=-1 - self.dims))

    def product(self, *fields: Tensor) -> Tensor:
        """Return the pointwise product of fields without aliases, cut to the waves below the Nyquist numbers.

        The fields are refined so far that no product of their waves falls upon one that is kept: by 3/2 for two fields,
        by 2 for three. For band-limited fields the result is their exact product's truncated Fourier series.

        Source: Canuto, Hussaini, Quarteroni and Zang (1988), Spectral Methods in Fluid Dynamics: padding, the 3/2 rule.
        """
        least = [(len(fields) + 1) * (n // 2) + 1 for n in self.shape]
        finer: tuple[int, ...] = tuple(next_fast_len(n, real=True) for n in least)  # pyright: ignore[reportAssignmentType]
        fine = PeriodicGrid(finer, self._lengths)
        refined = [self.resample(field, finer) for field in fields]
        total = refined[0]
        for each in refined[1:]:
            total = total * each
        return fine.resample(total, self.shape)

    def resample(self, field: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the field on another number of points in the same box, by its Fourier series.

        Exact for fields that are band-limited on both grids. Refined, a field keeps its values at points that both
        grids have; made coarser, it loses the waves at and above the new Nyquist numbers.
        """
        other = PeriodicGrid(shape, self._lengths)
        if other.dims != self.dims:
            raise InputError(f"shape={tuple(shape)} has {other.dims} axes, the grid has {self.dims}.")
        values = self.transform(field)
        for axis, (n, m) in enumerate(zip(self.shape, other.shape, strict=True)):
            if n != m:
                values = _resize(values, n, m, axis - self.dims, halved=axis == self.dims - 1)
        return other.inverse(values) * (prod(other.shape) / prod(self.shape))

    def energy_spectrum(self, field: Tensor) -> EnergySpectrum:
        """Return half the squared field by wavenumber |k|, summed over shells.

        Shells are as wide as the least wavenumber of the box, 2 pi / max(lengths); shell s holds the waves whose |k|
        is nearest to s widths. For the kinetic energy of a vector field sum over its components.

        By Parseval's theorem the shells add up to half the mean square of the field.
        """
        field = self._real(field)
        n = self.shape[-1]
        integers = self._integers(self.dims - 1, field)
        # Waves of the halved axis stand for their mirror images, too, but for those that are their own.
        twice = 2.0 - ((integers == 0) | (2 * integers == n)).to(field)
        energy = 0.5 * twice * self.transform(field).abs() ** 2 / prod(self.shape) ** 2

        width = 2 * pi / max(self._lengths)
        shells = (-self.laplacian_symbol(field)).sqrt().div(width).round().long()
        highest = sqrt(
            sum((2 * pi * (n // 2) / length) ** 2 for n, length in zip(self.shape, self._lengths, strict=True))
        )
        count = round(highest / width) + 1
        lead = energy.shape[: -self.dims]
        summed = energy.new_zeros(*lead, count).index_add(-1, shells.flatten(), energy.reshape(*lead, -1))
        return EnergySpectrum(width * torch.arange(count, dtype=field.dtype, device=field.device), summed)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-self.dims, 0))

    @property
    def _halved(self) -> tuple[int, ...]:
        return (*self.shape[:-1], self.shape[-1] // 2 + 1)

    @property
    def _lengths(self) -> tuple[float, ...]:
        return self.lengths  # pyright: ignore[reportReturnType]  # made a tuple when the grid was built

    def _axis(self, axis: int) -> int:
        if not 0 <= axis < self.dims:
            raise InputError(f"axis={axis} of a grid with {self.dims} axes: count from 0.")
        return axis

    def _along(self, axis: int, values: Tensor) -> Tensor:
        return values.view(*[-1 if i == axis else 1 for i in range(self.dims)])

    def _integers(self, axis: int, like: Tensor) -> Tensor:
        """Return the waves of an axis as whole numbers: 0 to n / 2 on the last one, else in the order of the FFT."""
        n = self.shape[axis]
        real = torch.promote_types(like.dtype.to_real(), torch.float32)
        if axis == self.dims - 1:
            return torch.arange(n // 2 + 1, dtype=real, device=like.device)
        return (torch.arange(n, dtype=real, device=like.device) + n // 2) % n - n // 2

    def _real(self, field: Tensor) -> Tensor:
        if not field.is_floating_point() or tuple(field.shape[-self.dims :]) != self.shape:
            raise InputError(
                f"the field is {field.dtype} of shape {tuple(field.shape)}: for this grid it must be real and end in "
                f"{self.shape}."
            )
        return field.float() if field.dtype in (torch.float16, torch.bfloat16) else field

    def _vector(self, field: Tensor) -> Tensor:
        if field.dim() <= self.dims or field.shape[-1 - self.dims] != self.dims:
            raise InputError(
                f"the vector field has shape {tuple(field.shape)}: give (..., {self.dims}, *{self.shape}), a component "
                "for each axis."
            )
        return self._real(field)


def _resize(values: Tensor, n: int, m: int, axis: int, *, halved: bool) -> Tensor:
    """Carry the coefficients of n points along an axis over to m, those that both have; the others are zero.

    A cosine at the Nyquist number of the n points becomes, on more points, half of either wave +-n / 2.
    """
    positive = (min(n, m) + 1) // 2  # waves 0, 1, ... below both Nyquist numbers
    parts = [values.narrow(axis, 0, positive)]
    kept = 0 if halved else positive - 1
    cosine = values.narrow(axis, n // 2, 1) / 2 if n % 2 == 0 and m > n else None
    total = m // 2 + 1 if halved else m
    ends = 0 if cosine is None else 1 if halved else 2
    gap = list(values.shape)
    gap[axis] = total - positive - kept - ends
    if cosine is not None:
        parts.append(cosine)
    parts.append(values.new_zeros(gap))
    if cosine is not None and not halved:
        parts.append(cosine)
    if kept:
        parts.append(values.narrow(axis, n - kept, kept))
    return torch.cat(parts, dim=axis)
