"""Simulations as HDF5 in the layout of The Well.

A file holds scalar, vector and tensor fields on an even grid in the groups ``t0_fields``, ``t1_fields`` and
``t2_fields``, each field in the order (trajectory, time, *space, *components); ``dimensions`` has the times and the
points of the axes, ``boundary_conditions`` what joins or ends them, ``scalars`` the parameters of the equation.

Here every channel is written as a scalar field and every constant as one that does not vary in time. Three things are
added, which other readers leave aside: the root's attributes ``lengths``, ``units`` and ``provenance`` (the last two as
JSON), its mark ``complete``, and a system of ordinary differential equations as a file of ``n_spatial_dims`` 0, whose
fields have the order (trajectory, time).

Source: Ohana et al. (2024), The Well: a large-scale collection of diverse physics simulations for machine learning;
its page "Data format".

Dimension letters: N samples, T times, C channels, K constants, D axes, X Y Z grid.
"""

import itertools
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.hdf5_files import Part, Stored, demand, demand_shape, even_points, h5py_module
from integrand.datasets.simulations import Simulations

AXES = ("x", "y", "z")
ORDERS = ("t0_fields", "t1_fields", "t2_fields")
WRITER = "integrand"


def write_simulations(path: Path | str, data: Simulations) -> Path:
    """Write simulations to a file, which appears under its name when it is whole.

    ``read_simulations`` gives back the same: values, constants, points, times and parameters bit by bit, in their
    precision.

    Args:
        path: the file; its folder is made where it is missing, and a file of that name replaced.
        data: on any device.

    Raises:
        InputError: something the layout cannot hold, or h5py is missing.
    """
    path = Path(path)
    _demand_writable(path, data)
    h5py = h5py_module()
    path.parent.mkdir(parents=True, exist_ok=True)
    growing = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with h5py.File(growing, "w") as file:
            _write(file, data, h5py.string_dtype())
        os.replace(growing, path)
    finally:
        growing.unlink(missing_ok=True)
    return path


def _demand_writable(path: Path, data: Simulations) -> None:
    if data.dims > len(AXES):
        raise InputError(f"{path}: {data.dims} axes are more than the layout of The Well has, {len(AXES)}.")
    for names in ((*data.channels, *data.constant_names), tuple(data.parameters)):
        for name in names:
            if not name or "/" in name or name == "." or names.count(name) > 1:
                raise InputError(f"{path}: {name!r} cannot name a field or parameter of a file: rename it.")
    for label, tensor in (("values", data.values), ("constants", data.constants)):
        if tensor is not None and tensor.dtype not in (torch.float32, torch.float64):
            raise InputError(f"{path}: {label} are {tensor.dtype}, which is not written: make them float32 or float64.")


def _write(file: Any, data: Simulations, text: Any) -> None:
    def words(group: Any, name: str, given: Sequence[str]) -> None:
        group.attrs.create(name, list(given), shape=(len(given),), dtype=text)

    axes = AXES[: data.dims]
    file.attrs.update(
        dataset_name=data.name,
        grid_type="cartesian",
        n_spatial_dims=data.dims,
        n_trajectories=len(data),
        writer=WRITER,
        complete=False,
        lengths=np.asarray(data.lengths, dtype=np.float64),
        units=json.dumps(dict(data.units)),
        provenance=json.dumps(dict(data.provenance)),
    )
    dimensions = file.create_group("dimensions")
    words(dimensions, "spatial_dims", axes)
    dimensions.create_dataset("time", data=_array(data.times)).attrs["sample_varying"] = False
    for axis, points in zip(axes, data.coordinates, strict=True):
        dimensions.create_dataset(axis, data=_array(points)).attrs.update(sample_varying=False, time_varying=False)
    _write_boundaries(file.create_group("boundary_conditions"), data, words)

    scalars = file.create_group("scalars")
    words(scalars, "field_names", tuple(data.parameters))
    shared = [name for name, each in data.parameters.items() if bool((each == each[0]).all())]
    words(file, "simulation_parameters", [name for name in shared if name not in file.attrs])
    for name, each in data.parameters.items():
        scalars.create_dataset(name, data=_array(each)).attrs.update(sample_varying=True, time_varying=False)
        if name in shared and name not in file.attrs:
            file.attrs[name] = float(each[0])

    fields = file.create_group("t0_fields")
    words(fields, "field_names", (*data.channels, *data.constant_names))
    for i, name in enumerate(data.channels):
        fields.create_dataset(name, data=_array(data.values[:, :, i])).attrs["time_varying"] = True
    for i, name in enumerate(data.constant_names if data.constants is not None else ()):
        assert data.constants is not None
        fields.create_dataset(name, data=_array(data.constants[:, i])).attrs["time_varying"] = False
    for each in fields.values():
        each.attrs.update(sample_varying=True, dim_varying=np.ones(data.dims, dtype=bool))
    for name in ORDERS[1:]:
        words(file.create_group(name), "field_names", ())
    file.flush()
    file.attrs["complete"] = True


def _write_boundaries(group: Any, data: Simulations, words: Any) -> None:
    """Write both ends of each axis as joined or, where they are not, as a wall: what holds there is not known here."""
    for axis, points, periodic in zip(AXES, data.coordinates, data.periodic, strict=False):
        boundary = group.create_group(f"{axis}_{'periodic' if periodic else 'wall'}")
        words(boundary, "associated_dims", (axis,))
        words(boundary, "associated_fields", ())
        boundary.attrs.update(bc_type="PERIODIC" if periodic else "WALL", sample_varying=False, time_varying=False)
        mask = np.zeros(len(points), dtype=bool)
        mask[[0, -1]] = True
        boundary.create_dataset("mask", data=mask)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


def is_well(file: Any) -> bool:
    """Tell whether a file has the layout of The Well, be it right or wrong."""
    return "n_spatial_dims" in file.attrs or "dimensions" in file or "t0_fields" in file


class _Field(NamedTuple):
    """One component of a field of a file.

    Attributes:
        name: of the component.
        array: the field, with the dimensions that are ``kept`` of (N, T, *X), then those of its components.
        component: which of them, (D,) * order.
        varies: for each of (N, T, *X), whether the field varies along it.
        kept: for each of them, whether the array has it.
    """

    name: str
    array: Any
    component: tuple[int, ...]
    varies: tuple[bool, ...]
    kept: tuple[bool, ...]

    def read(self, part: Part) -> np.ndarray:
        """Return a part, (n or 1, t or 1, *x or 1)."""
        every = [slice(None, None, part.every_point)] * (len(self.varies) - 2)
        cuts = [part.samples, slice(None, None, part.every_time), *every]
        index = [cut if varies else slice(None) for cut, varies in zip(cuts, self.varies, strict=True)]
        read = self.array[(*itertools.compress(index, self.kept), *self.component)]
        return np.expand_dims(read, [i for i, kept in enumerate(self.kept) if not kept])


def stored_well(file: Any, path: Path, *, periodic: bool | None = None) -> Stored:
    """Return what a file in the layout of The Well holds.

    Args:
        file: open, of h5py.
        path: for messages.
        periodic: whether the ends of all axes are joined, where that is to be said otherwise than in the file.

    Raises:
        InputError: one of ours that was not finished, a part that is missing, dimensions in another order, or what is
            not held here: other grids, times or points that vary between samples, scalars that vary in time.
    """
    if file.attrs.get("writer") == WRITER and not bool(file.attrs.get("complete", False)):
        raise InputError(f"{path} was not written to its end: delete it and make it again (integrand data simulate).")
    kind = _text(file.attrs.get("grid_type", "cartesian"))
    if kind != "cartesian":
        raise InputError(f"{path}: the grid is {kind}: only cartesian ones are held here.")
    dimensions = demand(file, "dimensions", path, "the times and points of the fields")
    axes = tuple(_words(dimensions, "spatial_dims", path))
    times = _shared(dimensions, "time", path).astype(np.float64)
    coordinates = tuple(even_points(_shared(dimensions, axis, path), path, axis) for axis in axes)
    points = tuple(len(each) for each in coordinates)
    if "n_trajectories" not in file.attrs:
        raise InputError(f"{path} has no attribute 'n_trajectories': write it, as the layout of The Well asks.")
    count = int(file.attrs["n_trajectories"])
    fields = _fields(file, path, axes, {"samples": count, "times": len(times), **dict(zip(axes, points, strict=True))})
    moving, still = [each for each in fields if each.varies[1]], [each for each in fields if not each.varies[1]]
    if not moving:
        raise InputError(f"{path} has no field that varies in time: there is nothing to learn from it.")
    joins = tuple(_joined(file, axis, path) if periodic is None else periodic for axis in axes)
    lengths = [
        float(each[-1] - each[0]) + (float(each[1] - each[0]) if joined else 0)
        for each, joined in zip(coordinates, joins, strict=True)
    ]
    return Stored(
        path=path,
        count=count,
        name=_text(file.attrs.get("dataset_name", path.stem)),
        times=torch.from_numpy(times),
        channels=tuple(each.name for each in moving),
        coordinates=coordinates,
        lengths=tuple(float(each) for each in file.attrs.get("lengths", lengths)),
        periodic=joins,
        parameters=_parameters(file, count, path),
        constant_names=tuple(each.name for each in still),
        units=json.loads(file.attrs.get("units", "{}")),
        provenance=json.loads(file.attrs.get("provenance", json.dumps({"file": path.name, "layout": "The Well"}))),
        read=lambda part: _stacked(moving, part, count, len(times), points),
        read_constants=(lambda part: _stacked(still, part, count, 1, points)[:, 0]) if still else None,
    )


def _fields(file: Any, path: Path, axes: tuple[str, ...], sizes: dict[str, int]) -> list[_Field]:
    """Return the components of all fields, after comparing their shapes with the ``sizes`` of (N, T, *X)."""
    found = []
    for order, label in enumerate(ORDERS):
        group = file.get(label)
        for name in _words(group, "field_names", path) if group is not None else ():
            array = demand(group, name, path, f"a field that {label} names")
            along = [array.attrs.get(f"{kind}_varying", True) for kind in ("sample", "time")]
            varies = tuple(map(bool, (*along, *array.attrs.get("dim_varying", [True] * len(axes)))))
            tail = {f"component {i + 1}": len(axes) for i in range(order)}
            short = {size: n for (size, n), each in zip(sizes.items(), varies, strict=True) if each}
            # A dimension of space along which nothing varies is left out, or has one point.
            kept = tuple(each or i > 1 for i, each in enumerate(varies))
            wide = [n if each else 1 for n, each, is_kept in zip(sizes.values(), varies, kept, strict=True) if is_kept]
            if array.shape != (*wide, *tail.values()):
                demand_shape(path, f"{label}/{name}", array.shape, {**short, **tail})
                kept = varies
            for component in itertools.product(range(len(axes)), repeat=order):
                suffix = "".join(axes[i] for i in component)
                found.append(_Field(f"{name}_{suffix}" if suffix else name, array, component, varies, kept))
    return found


def _stacked(fields: list[_Field], part: Part, count: int, times: int, points: tuple[int, ...]) -> np.ndarray:
    """Read components side by side, (n, t, C, *x), those that do not vary along a dimension repeated along it."""
    shape = (
        len(range(*part.samples.indices(count))),
        len(range(0, times, part.every_time)),
        len(fields),
        *(len(range(0, n, part.every_point)) for n in points),
    )
    values = np.empty(shape, dtype=np.result_type(np.float32, *(each.array.dtype for each in fields)))
    for i, each in enumerate(fields):
        values[:, :, i] = each.read(part)
    return values


def _shared(dimensions: Any, name: str, path: Path) -> np.ndarray:
    """Return times or points, which all samples must share."""
    given = demand(dimensions, name, path, "the coordinates of a dimension")
    array = given[()]
    if array.ndim > 1 and (array == array[:1]).all():
        array = array[0]
    if array.ndim != 1:
        raise InputError(f"{path}: {name!r} differs between samples: simulations here share times and points.")
    return array


def _joined(file: Any, axis: str, path: Path) -> bool:
    """Tell whether the ends of an axis are joined."""
    boundaries = demand(file, "boundary_conditions", path, "which axes are periodic (or say it with periodic=)")
    return any(
        axis in _words(each, "associated_dims", path) and _text(each.attrs.get("bc_type", "")).lower() == "periodic"
        for each in boundaries.values()
    )


def _parameters(file: Any, count: int, path: Path) -> dict[str, Tensor]:
    group = file.get("scalars")
    found = {}
    for name in _words(group, "field_names", path) if group is not None else ():
        scalar = demand(group, name, path, "a scalar that is named")
        if bool(scalar.attrs.get("time_varying", False)):
            raise InputError(f"{path}: the scalar {name!r} varies in time: parameters here do not.")
        value = np.asarray(scalar[()]).reshape(-1)
        if len(value) not in (1, count):
            raise InputError(
                f"{path}: the scalar {name!r} has {len(value)} values for {count} samples: one each is needed."
            )
        found[name] = torch.from_numpy(np.resize(value, count))
    for name in _words(file, "simulation_parameters", path) if "simulation_parameters" in file.attrs else ():
        if name not in found and name in file.attrs:
            found[name] = torch.full((count,), float(file.attrs[name]), dtype=torch.float64)
    return found


def _words(group: Any, name: str, path: Path) -> list[str]:
    if name not in group.attrs:
        raise InputError(f"{path}: {group.name} has no attribute {name!r}: write it, as the layout of The Well asks.")
    return [_text(each) for each in group.attrs[name]]


def _text(word: Any) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)
