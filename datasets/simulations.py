"""Solutions of a differential equation as data: trajectories of a system, or fields on a grid.

Dimension letters: N samples, T times, C channels, K constants, X Y Z grid.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from integrand.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Simulations:
    """Samples of one system or equation, all at the same times and on the same uniform grid.

    A system of ordinary differential equations has no axes: its ``values`` are (N, T, C). A steady problem, such as
    Darcy's flow, has one time, and what its solution depends on in ``constants``.

    Attributes:
        name: the simulator's name, or what a file calls its data.
        values: (N, T, C, *X), finite.
        times: (T,), increasing.
        channels: C names.
        coordinates: for each axis its points, (X,), equally spaced and increasing.
        lengths: length of the box along each axis; on a periodic axis the period, X times the spacing.
        periodic: for each axis, whether its ends are joined.
        parameters: (N,) a parameter of the equation, such as a viscosity.
        constants: (N, K, *X) fields that do not change in time, such as a permeability or a force; None for none.
        constant_names: K names.
        units: of channels, parameters and ``"time"``, where there are any.
        provenance: how the data were made, plain values: solver, step, ``time_step_error``, seed, versions.

    Raises:
        InputError: shapes that do not agree, values that are not finite, times or points that do not increase.
    """

    name: str
    values: Tensor
    times: Tensor
    channels: tuple[str, ...]
    coordinates: tuple[Tensor, ...] = ()
    lengths: tuple[float, ...] = ()
    periodic: tuple[bool, ...] = ()
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    constants: Tensor | None = None
    constant_names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str | float | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that all agrees."""
        wanted = (len(self.times), len(self.channels), *(len(x) for x in self.coordinates))
        if tuple(self.values.shape[1:]) != wanted:
            raise InputError(
                f"{self.name}: values of shape {tuple(self.values.shape)} do not fit {wanted[0]} times, {wanted[1]} "
                f"channels and a grid of {wanted[2:]}: they must be (samples, times, channels, *grid)."
            )
        if not len(self.coordinates) == len(self.lengths) == len(self.periodic):
            raise InputError(f"{self.name}: give coordinates, length and periodic for each of the axes.")
        for label, points in (("times", self.times), *((f"axis {i}", x) for i, x in enumerate(self.coordinates))):
            if not bool((points.diff() > 0).all()):
                raise InputError(f"{self.name}: {label} must increase.")
        if self.constants is not None and self.constants.shape != (
            len(self.values),
            len(self.constant_names),
            *wanted[2:],
        ):
            raise InputError(f"{self.name}: constants have shape {tuple(self.constants.shape)}, which fits not.")
        for name, each in self.parameters.items():
            if each.shape != self.values.shape[:1]:
                raise InputError(f"{self.name}: parameter {name} has shape {tuple(each.shape)}: one for each sample.")
        bad = ~torch.isfinite(self.values.flatten(2)).all(-1)
        if bool(bad.any()):
            sample, time = bad.nonzero()[0].tolist()
            raise InputError(
                f"{self.name}: sample {sample} is not finite at time {float(self.times[time]):g}: leave it out."
            )

    def __len__(self) -> int:
        """Return the number of samples N."""
        return len(self.values)

    @property
    def dims(self) -> int:
        """Number of axes, 0 for a system."""
        return len(self.coordinates)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(self.values.shape[3:])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbours along each axis."""
        return tuple(float(x[1] - x[0]) for x in self.coordinates)

    def select(self, samples: Sequence[int] | Tensor) -> "Simulations":
        """Return some of the samples."""
        index = torch.as_tensor(samples, dtype=torch.long)
        return replace(
            self,
            values=self.values[index],
            parameters={name: each[index] for name, each in self.parameters.items()},
            constants=None if self.constants is None else self.constants[index],
        )

    def every(self, stride: int | Sequence[int]) -> "Simulations":
        """Return every so many points along each axis, or along all.

        Raises:
            InputError: on a periodic axis the stride does not divide the points.
        """
        strides = (stride,) * self.dims if isinstance(stride, int) else tuple(stride)
        for n, periodic, each in zip(self.shape, self.periodic, strides, strict=True):
            if each < 1 or (periodic and n % each):
                raise InputError(f"{self.name}: {n} periodic points cannot be thinned by {each}: take a divisor.")
        cut = (..., *(slice(None, None, each) for each in strides))
        return replace(
            self,
            values=self.values[cut],
            coordinates=tuple(x[::each] for x, each in zip(self.coordinates, strides, strict=True)),
            constants=None if self.constants is None else self.constants[cut],
        )

    @property
    def checksum(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over values, times, points, constants and parameters."""
        sha = hashlib.sha256()
        parts = [self.values, self.times, *self.coordinates, *(each for _, each in sorted(self.parameters.items()))]
        for part in [*parts, *([] if self.constants is None else [self.constants])]:
            sha.update(part.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()[:16]


def joined(parts: Sequence[Simulations]) -> Simulations:
    """Return the samples of several as one: the same times, grid, channels, constants and names of parameters.

    What is known of how they were made is the first part's; its ``time_step_error`` is the greatest of all.

    Raises:
        InputError: they differ in more than their samples.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for other in parts[1:]:
        for label, one, two in (
            ("grid", first.coordinates, other.coordinates),
            ("times", (first.times,), (other.times,)),
        ):
            if len(one) != len(two) or not all(torch.equal(a, b) for a, b in zip(one, two, strict=True)):
                raise InputError(f"{first.name} and {other.name} have not the same {label}: they cannot be joined.")
        for label in ("channels", "constant_names", "lengths", "periodic"):
            if getattr(first, label) != getattr(other, label):
                raise InputError(
                    f"{first.name} and {other.name} have not the same {label} ({getattr(first, label)} and "
                    f"{getattr(other, label)}): they cannot be joined."
                )
        if first.parameters.keys() != other.parameters.keys():
            raise InputError(f"{first.name} and {other.name} have not the same parameters: they cannot be joined.")
    errors = [part.provenance["time_step_error"] for part in parts if "time_step_error" in part.provenance]
    return replace(
        first,
        values=torch.cat([part.values for part in parts]),
        parameters={name: torch.cat([part.parameters[name] for part in parts]) for name in first.parameters},
        constants=(
            None
            if first.constants is None
            else torch.cat([part.constants for part in parts if part.constants is not None])
        ),
        provenance={**first.provenance, **({"time_step_error": max(map(float, errors))} if errors else {})},
    )
