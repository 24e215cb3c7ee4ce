"""Reader of PDEBench's HDF5 files, as they are published and as its generators write them.

| layout | what is in it | becomes |
|---|---|---|
| one-dimensional | ``tensor`` (N, T, X), ``x-coordinate``, ``t-coordinate`` | channel u, periodic |
| Darcy | ``tensor`` (N, 1, X, Y), ``nu`` (N, X, Y), ``x-coordinate``, ``y-coordinate`` | channel u, constant nu |
| compressible flow | ``density``, ``pressure``, ``Vx``, ... (N, T, *X) and coordinates | a channel each |
| one group a sample | ``0000/data`` (T, *X, C), ``0000/grid/x``, ``t``, ... | channels u, v, ... |

Points are the centres of cells, so that the box along an axis is as long as its points times their distance.
``t-coordinate`` may have one entry more than there are states, an end that was never reached: it is left out. The
parameters are the file's attributes or, where it has none, those in its name, such as ``Nu0.01``. Files of
incompressible flow have no coordinates: they are refused.

Source: Takamoto et al. (2022), PDEBench: an extensive benchmark for scientific machine learning, Appendix; layouts as
its repository writes and reads them.

Dimension letters: N samples, T times, C channels, X Y Z grid.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.hdf5_files import Part, Stored, demand, demand_shape, even_points

FLOW = ("density", "pressure", "Vx", "Vy", "Vz")
LETTERS = ("u", "v", "w")
_PARAMETER = re.compile(r"(?:^|_)(beta|nu|rho|eta|zeta|m)(\d[\d.]*(?:e-?\d+)?)(?=_|$)", re.IGNORECASE)


def is_pdebench(file: Any) -> bool:
    """Tell whether a file has one of PDEBench's layouts, be it right or wrong."""
    return "tensor" in file or "density" in file or bool(_numbered(file))


def stored_pdebench(file: Any, path: Path, *, periodic: bool | None = None) -> Stored:
    """Return what a file in one of PDEBench's layouts holds.

    Args:
        file: open, of h5py.
        path: for messages, and for the parameters and the boundary that its name tells.
        periodic: whether the ends of all axes are joined; where None, they are in one-dimensional files, not in those
            of Darcy's flow and of one group a sample, and as the name says in those of compressible flow.

    Raises:
        InputError: a coordinate that is missing, dimensions in another order, or a boundary that is not known.
    """
    if _numbered(file):
        return _grouped(file, path, periodic)
    if "density" in file:
        arrays = {name: file[name] for name in FLOW if name in file}
        joined = _joined(path) if periodic is None else periodic
        return _whole(file, path, arrays, joined, None)
    constant = file.get("nu")
    joined = constant is None and len(file["tensor"].shape) == 3 if periodic is None else periodic
    return _whole(file, path, {"u": file["tensor"]}, joined, constant)


def _whole(file: Any, path: Path, arrays: dict[str, Any], periodic: bool, constant: Any | None) -> Stored:
    """Return a file whose arrays hold all samples, (N, T, *X)."""
    shape = next(iter(arrays.values())).shape
    axes = ("x", "y", "z")[: max(1, len(shape) - 2)]
    what = "without which its fields have no place in space and time"
    coordinates = tuple(
        even_points(demand(file, f"{axis}-coordinate", path, what)[()], path, f"{axis}-coordinate") for axis in axes
    )
    points = tuple(len(each) for each in coordinates)
    if len(shape) > 1 and shape[1] == 1 and "t-coordinate" not in file:
        times = np.zeros(1)
    else:
        times = demand(file, "t-coordinate", path, what)[()].astype(np.float64)
    ends_early = len(times) - 1 in shape and len(times) not in shape
    if ends_early or (len(shape) > 1 and shape[1] == len(times) - 1):
        times = times[:-1]
    grid = dict(zip(axes, points, strict=True))
    for array in arrays.values():
        demand_shape(path, array.name.lstrip("/"), array.shape, {"samples": None, "times": len(times), **grid})
    count = shape[0]
    if constant is not None:
        demand_shape(path, "nu", constant.shape, {"samples": count, **grid})

    def read(part: Part) -> np.ndarray:
        thin = [slice(None, None, part.every_point)] * len(axes)
        cut = (part.samples, slice(None, None, part.every_time), *thin)
        return _native(np.stack([array[cut] for array in arrays.values()], axis=2))

    def read_constant(part: Part) -> np.ndarray:
        assert constant is not None
        thin = [slice(None, None, part.every_point)] * len(axes)
        return _native(constant[(part.samples, *thin)][:, None])

    return Stored(
        path=path,
        count=count,
        read=read,
        name=path.stem,
        times=torch.from_numpy(times),
        channels=tuple(arrays),
        coordinates=coordinates,
        lengths=_lengths(coordinates),
        periodic=(periodic,) * len(axes),
        parameters=_parameters(file, path, count),
        read_constants=None if constant is None else read_constant,
        constant_names=() if constant is None else ("nu",),
        provenance={"file": path.name, "layout": "PDEBench"},
    )


def _grouped(file: Any, path: Path, periodic: bool | None) -> Stored:
    """Return a file with a group for each sample, whose ``data`` are (T, *X, C)."""
    names = _numbered(file)
    first = file[names[0]]
    shape = demand(first, "data", path, "the states of a sample").shape
    axes = ("x", "y", "z")[: max(1, len(shape) - 2)]
    what = f"the coordinates of group {names[0]}"
    coordinates = tuple(even_points(demand(first, f"grid/{axis}", path, what)[()], path, axis) for axis in axes)
    times = demand(first, "grid/t", path, what)[()].astype(np.float64)
    sizes = {"times": len(times), **{axis: len(each) for axis, each in zip(axes, coordinates, strict=True)}}
    channels = shape[-1]

    def read(part: Part) -> np.ndarray:
        thin = [slice(None, None, part.every_point)] * len(axes)
        states = []
        for name in names[part.samples]:
            array = demand(file[name], "data", path, "the states of a sample")
            demand_shape(path, f"{name}/data", array.shape, {**sizes, "channels": channels})
            states.append(array[(slice(None, None, part.every_time), *thin)])
        return _native(np.moveaxis(np.stack(states), -1, 2))

    return Stored(
        path=path,
        count=len(names),
        read=read,
        name=path.stem,
        times=torch.from_numpy(times),
        channels=LETTERS[:channels] if channels <= len(LETTERS) else tuple(f"u{i}" for i in range(channels)),
        coordinates=coordinates,
        lengths=_lengths(coordinates),
        periodic=(bool(periodic),) * len(axes),
        parameters=_parameters(file, path, len(names)),
        provenance={"file": path.name, "layout": "PDEBench"},
    )


def _numbered(file: Any) -> list[str]:
    """Return the groups named by a number, in its order."""
    return sorted(name for name in file if name.isdigit())


def _lengths(coordinates: Sequence[Tensor]) -> tuple[float, ...]:
    return tuple(float(each[-1] - each[0]) * len(each) / (len(each) - 1) for each in coordinates)


def _joined(path: Path) -> bool:
    """Tell from the name of a file of compressible flow whether its box is periodic."""
    words = path.stem.lower().split("_")
    if ("periodic" in words) == ("trans" in words):
        raise InputError(
            f"{path}: neither the file nor its name says whether its box is periodic: say it with periodic=."
        )
    return "periodic" in words


def _parameters(file: Any, path: Path, count: int) -> dict[str, Tensor]:
    """Return the numbers among the file's attributes or, where there are none, those in its name."""
    found: dict[str, float] = {
        name.lower(): float(value)
        for name, value in file.attrs.items()
        if isinstance(value, (int, float, np.integer, np.floating))
    }
    if not found:
        found = {name.lower(): float(number) for name, number in _PARAMETER.findall(path.stem)}
    return {name: torch.full((count,), value, dtype=torch.float64) for name, value in found.items()}


def _native(array: np.ndarray) -> np.ndarray:
    """Return single or double precision in this machine's order of bytes, which torch asks for."""
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 4
    return np.ascontiguousarray(array, dtype=np.float64 if wide else np.float32)
