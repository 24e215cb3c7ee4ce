"""Simulations from files, whichever layout they have."""

import contextlib
from pathlib import Path

import torch

from integrand.core.errors import InputError, listed
from integrand.datasets.hdf5_files import SUFFIXES, Part, Stored, opened
from integrand.datasets.pdebench_files import is_pdebench, stored_pdebench
from integrand.datasets.simulations import Simulations, joined
from integrand.datasets.well_files import is_well, stored_well


def read_simulations(
    path: Path | str,
    *,
    samples: slice | None = None,
    every_time: int = 1,
    every_point: int = 1,
    periodic: bool | None = None,
) -> Simulations:
    """Read an HDF5 file in the layout of The Well or of PDEBench, told apart by what is inside, or a folder of such.

    No more of a file is read than is asked for, so that a part of a large one fits in memory.

    Args:
        path: a file, or a folder whose files hold samples on the same grid, at the same times; they follow one another
            in the order of their names.
        samples: which, such as ``slice(100)`` or ``slice(0, 1000, 10)``; all where None.
        every_time: of the times, every so many.
        every_point: of the points along each axis, every so many; on a periodic axis it must divide them.
        periodic: whether the ends of all axes are joined, where the file does not say it or says it wrong.

    Returns:
        The samples, on the host, in the precision they are stored in.

    Raises:
        InputError: no such file; one that is empty, damaged, not HDF5, or one of ours that was not finished; a layout
            that is not known, a missing coordinate, dimensions in another order, a number that is not finite, files of
            a folder that do not fit together; h5py is missing. The message names the file, the place and the cure.
    """
    path = Path(path)
    for label, value in (("every_time", every_time), ("every_point", every_point)):
        if value < 1:
            raise InputError(f"{label}={value!r} is out of range: at least 1.")
    if samples is not None and (samples.step or 1) < 1:
        raise InputError(f"samples={samples!r} goes backwards: give a positive step.")
    files = _files(path)
    with contextlib.ExitStack() as stack:
        stored = [_stored(stack, file, periodic) for file in files]
        for other in stored[1:]:
            _demand_alike(stored[0], other)
        total = sum(each.count for each in stored)
        chosen = range(*(samples or slice(None)).indices(total))
        if not chosen:
            raise InputError(f"{path} has {total} samples: none of them is in samples={samples!r}.")
        parts, start = [], 0
        for each in stored:
            inside = [i - start for i in chosen if start <= i < start + each.count]
            if inside:
                cut = slice(inside[0], inside[-1] + 1, chosen.step)
                parts.append(each.load(Part(cut, every_time, every_point)))
            start += each.count
    return joined(parts)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and not each.name.startswith("."))
    if not files:
        raise InputError(
            f"{path} holds no file that ends in {' or '.join(SUFFIXES)}: give a file, or a folder of some."
        )
    return files


def _stored(stack: contextlib.ExitStack, path: Path, periodic: bool | None) -> Stored:
    file = stack.enter_context(opened(path))
    if is_well(file):
        return stored_well(file, path, periodic=periodic)
    if is_pdebench(file):
        return stored_pdebench(file, path, periodic=periodic)
    raise InputError(
        f"{path} has neither the layout of The Well nor one of PDEBench: it holds {listed(sorted(file))} at its root; "
        "write it with integrand.datasets.well_files.write_simulations."
    )


def _demand_alike(one: Stored, two: Stored) -> None:
    shapes = [tuple(len(points) for points in each.coordinates) for each in (one, two)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{one.path.name} has {_grid(shapes[0])} points and {two.path.name} {_grid(shapes[1])}: files of mixed "
            "resolution cannot be read together; put each resolution in a folder of its own."
        )
    same = (
        ("points", all(torch.equal(a, b) for a, b in zip(one.coordinates, two.coordinates, strict=True))),
        ("times", torch.equal(one.times, two.times)),
        ("channels", one.channels == two.channels),
        ("constants", one.constant_names == two.constant_names),
        ("parameters", one.parameters.keys() == two.parameters.keys()),
        ("boundaries", one.periodic == two.periodic),
    )
    for label, alike in same:
        if not alike:
            raise InputError(f"{one.path.name} and {two.path.name} have not the same {label}: read them one by one.")


def _grid(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "no"
