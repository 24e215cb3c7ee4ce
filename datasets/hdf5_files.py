"""What the readers of HDF5 files share: how a file is opened, how a part of it is read, what is wrong with it.

Dimension letters: N samples, T times, C channels, K constants, X Y Z grid.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError, listed
from integrand.datasets.simulations import Simulations

SUFFIXES = (".h5", ".hdf5")
EVEN = 0.01
"""By how much of itself a spacing may differ from the mean one: coordinates in single precision are rounded."""


def h5py_module() -> ModuleType:
    """Return h5py, which is needed where files are read or written and nowhere else.

    Raises:
        InputError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError("HDF5 files need h5py, which is not installed: pip install 'integrand[physics]'.") from error
    return h5py


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file to read it.

    Raises:
        InputError: there is no such file, it is empty, of another kind or damaged, or h5py is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: check the path.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: make or download it again.")
    h5py = h5py_module()
    if not h5py.is_hdf5(path):
        raise InputError(f"{path} is not an HDF5 file: give one in the layout of The Well or of PDEBench.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{path} is damaged, as after a write or a download that was interrupted ({str(error).splitlines()[0]}): "
            "make or download it again."
        ) from error


class Part(NamedTuple):
    """What is read of a file: some of the samples, every so many of the times, and of the points of each axis."""

    samples: slice = slice(None)
    every_time: int = 1
    every_point: int = 1


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Simulations in an open file, of which nothing large has been read yet.

    Attributes:
        path: the file.
        count: number of samples N.
        read: reads values (n, t, C, *x) of a part of which the file is asked for no more than that.
        read_constants: the same for constants (n, K, *x); None where there are none.
        name: as in ``Simulations``; so are the rest, ``parameters`` with one value for each of the N samples.
    """

    path: Path
    count: int
    read: Callable[[Part], np.ndarray]
    name: str
    times: Tensor
    channels: tuple[str, ...]
    coordinates: tuple[Tensor, ...]
    lengths: tuple[float, ...]
    periodic: tuple[bool, ...]
    parameters: Mapping[str, Tensor]
    read_constants: Callable[[Part], np.ndarray] | None = None
    constant_names: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str | float | int] = field(default_factory=dict)

    def load(self, part: Part) -> Simulations:
        """Read a part.

        Raises:
            InputError: a number that is not finite, or a periodic axis that cannot be thinned so.
        """
        step = part.every_point
        for points, periodic in zip(self.coordinates, self.periodic, strict=True):
            if periodic and len(points) % step:
                raise InputError(
                    f"{self.path}: {len(points)} periodic points cannot be thinned by {step}: take a divisor."
                )
        chosen = range(*part.samples.indices(self.count))
        times = self.times[:: part.every_time]
        values = self.read(part)
        self._demand_finite("", values, chosen, times)
        constants = None if self.read_constants is None else self.read_constants(part)
        if constants is not None:
            self._demand_finite("a constant of ", constants[:, None], chosen, None)
        return Simulations(
            name=self.name,
            values=torch.from_numpy(values),
            times=times,
            channels=self.channels,
            coordinates=tuple(points[::step] for points in self.coordinates),
            lengths=self.lengths,
            periodic=self.periodic,
            parameters={name: each[part.samples] for name, each in self.parameters.items()},
            constants=None if constants is None else torch.from_numpy(constants),
            constant_names=self.constant_names,
            units=self.units,
            provenance=self.provenance,
        )

    def _demand_finite(self, what: str, values: np.ndarray, chosen: range, times: Tensor | None) -> None:
        bad = ~np.isfinite(values).reshape(*values.shape[:2], -1).all(-1)
        if bad.any():
            sample, time = np.argwhere(bad)[0].tolist()
            when = "" if times is None else f" at time {float(times[time]):g}"
            raise InputError(
                f"{self.path}: {what}sample {chosen[sample]} is not finite{when}: leave it out with samples=, or make "
                "the file again."
            )


def demand(group: Any, name: str, path: Path, what: str) -> Any:
    """Return what lies under ``name``.

    Raises:
        InputError: nothing does; the message says what the file needs it for.
    """
    if name not in group:
        raise InputError(
            f"{path} has no {name!r}, {what}: it holds {listed(group)}; write it, as the layout of The Well or of "
            "PDEBench asks."
        )
    return group[name]


def even_points(points: Any, path: Path, label: str) -> Tensor:
    """Return the points of an axis, (X,), in float64.

    Those in single precision are put back where they belong: evenly from the first to the last.

    Raises:
        InputError: they are not evenly spaced, or do not increase.
    """
    given = np.asarray(points)
    precise = given.astype(np.float64)
    if precise.ndim != 1 or len(precise) < 2:
        raise InputError(
            f"{path}: the coordinate {label} has shape {precise.shape}: at least two numbers in a row are needed."
        )
    steps = np.diff(precise)
    mean = steps.mean()
    if not (np.isfinite(precise).all() and mean > 0 and np.abs(steps - mean).max() <= EVEN * mean):
        raise InputError(
            f"{path}: the points of {label} are not evenly spaced and increasing: such a grid is not held here; put "
            "the fields on an even one."
        )
    even = precise if given.dtype == np.float64 else np.linspace(precise[0], precise[-1], len(precise))
    return torch.from_numpy(even)


def demand_shape(path: Path, label: str, found: Sequence[int], wanted: Mapping[str, int | None]) -> None:
    """Compare the shape of an array with what the coordinates say.

    Args:
        path: the file.
        label: the array's name in it.
        found: its shape.
        wanted: for each dimension, in order, its name and its length; None where any will do.

    Raises:
        InputError: they differ; where another order of the dimensions would fit, the message says which.
    """
    names, lengths = list(wanted), list(wanted.values())

    def fits(shape: Sequence[int]) -> bool:
        return len(shape) == len(lengths) and all(n in (None, m) for n, m in zip(lengths, shape, strict=True))

    if fits(found):
        return
    expected = ", ".join(f"{name} {'any' if n is None else n}" for name, n in wanted.items())
    text = f"{path}: {label} has shape {tuple(found)} where its coordinates ask for ({expected})"
    orders = [order for order in itertools.permutations(range(len(found))) if fits([found[i] for i in order])]
    if len(orders) == 1:
        there = sorted(range(len(names)), key=lambda i: orders[0][i])
        raise InputError(
            f"{text}: its dimensions lie in the order ({', '.join(names[i] for i in there)}); transpose them."
        )
    raise InputError(f"{text}: put its dimensions in that order, or give it the coordinates it was made with.")
