"""Simulations by name and options, made once: piece by piece, kept in a file, and read from it the next time."""

import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from integrand.core.errors import InputError
from integrand.datasets.catalogue import data_directory
from integrand.datasets.hdf5_files import h5py_module
from integrand.datasets.simulation_files import read_simulations
from integrand.datasets.simulations import Simulations, joined
from integrand.datasets.synthetic.simulator import Range, Simulator
from integrand.datasets.synthetic.simulators import simulator
from integrand.datasets.well_files import write_simulations

FIELDS_AT_ONCE = 64
STATES_AT_ONCE = 1024
"""Samples of a piece, of an equation and of a system."""
WORTH_KEEPING = 1.0
"""Seconds of work from which on data are kept in files."""
SOURCES = "integrand.datasets.synthetic"

Progress = Callable[[float, str], None]
"""What is told of the work: its share that is done, from 0 to 1, and a few words."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a simulator; see ``Simulator.simulate`` for all but these.

    Attributes:
        name: the simulator.
        samples: how many, N.
        sizes: those that are not to have their default, as ``simulator`` takes them.
        dtype: precision of values and constants that is kept; they are computed in double precision.
    """

    name: str
    samples: int
    seed: int = 0
    times: Sequence[float] | None = None
    points: tuple[int, ...] | None = None
    lengths: tuple[float, ...] | None = None
    parameters: Mapping[str, Range] | None = None
    sizes: Mapping[str, int] | None = None
    step_size: float | None = None
    device: str = "cpu"
    dtype: torch.dtype = torch.float64

    @property
    def simulator(self) -> Simulator:
        """The simulator that is asked."""
        return simulator(self.name, **(self.sizes or {}))

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of SHA-256 over all options and the source of the simulator.

        Its source is that of all modules of ``datasets/synthetic`` that it is built from: a change in one of them
        makes other data. The device counts by its type, for each rounds in its own way.
        """
        options = dataclasses.asdict(self) | {
            "name": self.simulator.name,
            "times": _floats(self.times),
            "lengths": _floats(self.lengths),
            "parameters": sorted(
                [name, _floats(value if isinstance(value, (tuple, list)) else (value,))]
                for name, value in (self.parameters or {}).items()
            ),
            "sizes": sorted(self.simulator.sizes.items()),
            "step_size": None if self.step_size is None else float(self.step_size),
            "device": torch.device(self.device).type,
            "dtype": str(self.dtype),
        }
        sha = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
        for module in _sources(self.simulator):
            sha.update(inspect.getsource(module).encode())
        return sha.hexdigest()[:12]

    def file(self, folder: Path | str | None = None) -> Path:
        """Return where the data are kept: ``NAME-KEY.h5`` in ``folder``, or ``simulated`` in the data directory."""
        folder = data_directory() / "simulated" if folder is None else Path(folder)
        return folder / f"{self.simulator.name}-{self.key}.h5"

    def piece(self, first: int, count: int) -> Simulations:
        """Make some of the samples, on the host and in the precision that is kept."""
        made = self.simulator.simulate(
            count,
            first=first,
            times=self.times,
            points=self.points,
            lengths=self.lengths,
            parameters=self.parameters,
            seed=self.seed,
            step_size=self.step_size,
            device=self.device,
        )
        return dataclasses.replace(
            made,
            values=made.values.to("cpu", self.dtype),
            constants=None if made.constants is None else made.constants.to("cpu", self.dtype),
            provenance={
                **made.provenance,
                "key": self.key,
                "torch": torch.__version__,
                "device": torch.device(self.device).type,
            },
        )


def simulated(
    name: str,
    *,
    samples: int,
    seed: int = 0,
    times: Sequence[float] | None = None,
    points: tuple[int, ...] | None = None,
    lengths: tuple[float, ...] | None = None,
    parameters: Mapping[str, Range] | None = None,
    sizes: Mapping[str, int] | None = None,
    step_size: float | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float64,
    folder: Path | str | None = None,
    progress: Progress | None = None,
) -> Simulations:
    """Return a simulator's data: from their file where it is there, else made and kept.

    What takes less than a second is not kept, but made again. A generation that is interrupted goes on where it
    stopped, and its data are bit by bit those of one that was not.

    Args:
        name: the simulator.
        samples: how many, N.
        seed: of all that is drawn.
        times: (T,), as in ``Simulator.simulate``; so are the next three.
        points: points along each axis.
        lengths: length of the box along each axis.
        parameters: values or bounds for those that are not to have their default.
        sizes: those of the simulator, such as ``{"masses": 8}``, that are not to have their default.
        step_size: step of the reference solver.
        device: where it is solved; the result lies on the host.
        dtype: precision that is kept, float64 or float32.
        folder: where files are kept; ``simulated`` in the data directory where None.
        progress: called with the share that is done and a few words.

    Raises:
        InputError: as in ``Simulator.simulate``; nothing is left of data that cannot be made.

    Example:
        >>> data = simulated("pendulum", samples=3, times=[0.0, 0.5, 1.0])
        >>> data.values.shape
        torch.Size([3, 3, 2])
    """
    request = Request(
        name=name,
        samples=samples,
        seed=seed,
        times=times,
        points=points,
        lengths=lengths,
        parameters=parameters,
        sizes=sizes,
        step_size=step_size,
        device=device,
        dtype=dtype,
    )
    return generate(request, request.file(folder), progress=progress)


def generate(request: Request, file: Path, *, always: bool = False, progress: Progress | None = None) -> Simulations:
    """Return the data of a request from a file or, where it is not there, make them and write it.

    Pieces are kept in the folder ``FILE.pieces`` until all are there; each appears under its name when it is whole, so
    that neither an interrupt nor another process at the same work leaves a file that is half written.

    Args:
        request: what to make.
        file: where it belongs.
        always: also write what takes less than a second.
        progress: called with the share that is done and a few words.

    Raises:
        InputError: as in ``Simulator.simulate``; or there is a file of that name with other data.
    """
    if request.samples < 1:
        raise InputError(f"{request.name}: samples={request.samples!r} is out of range: at least 1.")
    tell = progress or (lambda share, text: None)
    if found := _read(file, request.key, rebuild=not always):
        tell(1.0, f"read from {file}")
        return found
    keep = _able_to_keep(always)
    size = FIELDS_AT_ONCE if request.simulator.dims else STATES_AT_ONCE
    folder = file.with_name(f"{file.name}.pieces")
    pieces: dict[Path, Simulations] = {}
    began, kept = time.monotonic(), False
    try:
        for first in range(0, request.samples, size):
            count = min(size, request.samples - first)
            tell(first / request.samples, f"{request.simulator.name}: {first} of {request.samples} samples")
            path = folder / f"{request.key}-{first:08d}.h5"
            there = _read(path, request.key, rebuild=True)
            kept = kept or there is not None
            pieces[path] = there or request.piece(first, count)
            if keep and time.monotonic() - began >= WORTH_KEEPING and request.samples > size:
                kept = True
                _write_pieces(pieces)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)  # data that cannot be made whole are of no use
        raise
    data = joined(list(pieces.values()))
    if always or kept or (keep and time.monotonic() - began >= WORTH_KEEPING):
        write_simulations(file, data)
    shutil.rmtree(folder, ignore_errors=True)
    tell(1.0, f"{request.simulator.name}: {request.samples} samples")
    return data


def _read(path: Path, key: str, *, rebuild: bool) -> Simulations | None:
    """Return the data of a file, or None where it is not there or, to ``rebuild``, cannot be read.

    Raises:
        InputError: it holds other data, or cannot be read and is the user's own.
    """
    if not path.is_file():
        return None
    try:
        found = read_simulations(path)
    except InputError:
        if rebuild:
            return None
        raise
    if found.provenance.get("key") != key:
        raise InputError(f"{path} holds other data than those asked for: choose another file, or move it away.")
    return found


def _write_pieces(pieces: Mapping[Path, Simulations]) -> None:
    for path, piece in pieces.items():
        # Another process at the same work may be done, and clear the folder away, while this one writes to it.
        with contextlib.suppress(FileNotFoundError):
            if not path.is_file():
                write_simulations(path, piece)


def _able_to_keep(always: bool) -> bool:
    try:
        h5py_module()
    except InputError as error:
        if always:
            raise
        warnings.warn(f"simulated data are made again each time, for they are not kept: {error}", stacklevel=3)
        return False
    return True


def _sources(made: Simulator) -> list[ModuleType]:
    """Return the modules of ``datasets/synthetic`` that a simulator is built from, itself and what they import."""
    found: dict[str, ModuleType] = {}
    open_ends = [type(made).__module__]
    while open_ends:
        name = open_ends.pop()
        if name.startswith(SOURCES) and name not in found:
            found[name] = importlib.import_module(name)
            for value in vars(found[name]).values():
                open_ends.append(
                    value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "") or ""
                )
    return [found[name] for name in sorted(found)]


def _floats(numbers: Sequence[float] | None) -> list[float] | None:
    return None if numbers is None else [float(number) for number in numbers]
