"""``integrand doctor``: is everything here that a run needs, and what cures what is not."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from integrand.apps.commands.columns import columns
from integrand.apps.commands.parsing import CommandParser
from integrand.datasets.catalogue import ENVIRONMENT_VARIABLE, data_directory

OLDEST_PYTHON = (3, 11)
LITTLE_ROOM = 1_000_000_000  # bytes
RUNS = Path("runs")
REINSTALL = "pip install --upgrade --force-reinstall integrand"

OPTIONAL = {
    "tensorboard": "logs in TensorBoard",
    "h5py": "simulations in HDF5 files",
    "wfdb": "ECG records of PhysioNet",
    "pyedflib": "recordings in EDF files",
    "pyarrow": "tables in Parquet files",
}
"""Packages that only some work needs, and the work."""


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether it will do, and the cure where it won't.

    ``warn`` leaves the default run possible, ``fail`` does not.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


def run(arguments: list[str]) -> int:
    """Print a line for each thing looked at; 0 where none that is required is broken, else 2."""
    parser = CommandParser(
        "integrand doctor",
        description="Check Python, packages, devices and folders; exit code 2 where something required is broken.",
        examples=("integrand doctor", "integrand doctor --json > doctor.json"),
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for a bug report or a script")
    as_json = parser.parse_args(arguments).json
    checks = list(examine())
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        print(columns([(check.status, check.name, _told(check)) for check in checks], indent=0))
    return 0 if healthy else 2


def examine() -> Iterator[Check]:
    """Look at everything, from what the rest rests on to what few need."""
    yield check_python(sys.version_info[:3])
    yield Check("platform", "ok", f"{platform.platform()}, {platform.machine()}")
    yield from check_packages()
    yield from check_torch()
    yield check_folder("data directory", data_directory(), "warn", f"set {ENVIRONMENT_VARIABLE} to another folder")
    yield check_folder("runs folder", RUNS.absolute(), "fail", "work in another folder")
    yield from (check_optional(name, work) for name, work in OPTIONAL.items())


def check_python(version: tuple[int, int, int]) -> Check:
    """Compare ``version`` with the oldest that works."""
    found = f"{'.'.join(map(str, version))} ({sys.executable})"
    if version < OLDEST_PYTHON:
        return Check("python", "fail", found, f"install Python {'.'.join(map(str, OLDEST_PYTHON))} or later")
    return Check("python", "ok", found)


def check_packages() -> Iterator[Check]:
    """Look at this package and those it requires, by their metadata: none is imported."""
    try:
        version = importlib.metadata.version("integrand")
        required = importlib.metadata.requires("integrand") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("integrand", "warn", f"not installed, runs from {Path(__file__).parents[2]}", "pip install -e .")
        return
    yield Check("integrand", "ok", version)
    yield from (check_requirement(line) for line in required if "extra ==" not in line)


def check_requirement(line: str) -> Check:
    """Compare an installed package with a requirement such as ``"torch>=2.5"``; of bounds the lower one is read."""
    found = re.match(r"[\w.-]+", line)
    name = found[0] if found else line
    bound = re.search(r">=\s*([\d.]+)", line)
    cure = f"pip install --upgrade '{line}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "fail", "not installed", cure)
    if bound and _release(version) < _release(bound[1]):
        return Check(name, "fail", f"{version}, too old", cure)
    return Check(name, "ok", version)


def check_optional(name: str, work: str) -> Check:
    """Tell whether a package that only some work needs is there."""
    try:
        return Check(name, "ok", f"{importlib.metadata.version(name)} (optional, {work})")
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "ok", f"not installed (optional, {work}: pip install {name})")


def check_torch() -> Iterator[Check]:
    """Import torch and look at its build, the accelerator it finds and its threads."""
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything, which is what we are here to tell
        yield Check("torch build", "fail", f"does not import: {type(error).__name__}: {_first_line(error)}", REINSTALL)
        return
    kits = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    build = ", ".join(f"{name} {version}" for name, version in kits.items() if version) or "CPU"
    yield Check("torch build", "ok", f"{torch.__version__}, {build}")
    yield check_accelerator(build)
    usable, threads = _usable_cores(), torch.get_num_threads()
    told = f"{threads} threads on {usable} usable cores"
    if threads > usable:
        yield Check(
            "CPU threads", "warn", told, f"export OMP_NUM_THREADS={usable}, for more threads than cores are slow"
        )
    else:
        yield Check("CPU threads", "ok", told)


def check_accelerator(build: str) -> Check:
    """Find the accelerator and compute on it; ``build`` is what torch was built for."""
    import torch

    name = "accelerator"
    accelerator = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if accelerator is None:
        return Check(name, "warn", f"torch {torch.__version__} can't tell", "pip install --upgrade 'torch>=2.6'")
    if accelerator.is_available():
        device = accelerator.current_accelerator()
        found = f"{accelerator.device_count()} x {_device_name(device)} ({device.type})"
        try:
            torch.ones(2, device=device).sum().item()
        except RuntimeError as error:
            cure = "update its driver, or train with --trainer.accelerator cpu"
            return Check(name, "warn", f"{found} does not compute: {_first_line(error)}", cure)
        return Check(name, "ok", found)
    if build != "CPU":
        cure = "check the driver (nvidia-smi or rocm-smi) and CUDA_VISIBLE_DEVICES; runs take the CPU meanwhile"
        return Check(name, "warn", f"none, though torch is built for {build}", cure)
    if shutil.which("nvidia-smi") or shutil.which("rocm-smi"):
        cure = "install the build of torch for your GPU (https://pytorch.org/get-started); runs take the CPU meanwhile"
        return Check(name, "warn", "there is a GPU's driver here, but torch is built for the CPU", cure)
    return Check(name, "ok", "none: runs take the CPU")


def check_folder(name: str, folder: Path, severity: Literal["warn", "fail"], other: str) -> Check:
    """Write to ``folder``, or to the one it would be made in, and look at the room there.

    Args:
        name: what the folder is.
        folder: an absolute path; it is not made.
        severity: the status where nothing can be written.
        other: how to take another folder, to end a cure.
    """
    place = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    missing = "" if place == folder else ", not made yet"
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free = shutil.disk_usage(place).free
    except OSError as error:
        found = f"{folder} can't be written: {place}: {error.strerror or error}"
        return Check(name, severity, found, f"make {place} a folder you may write to, or {other}")
    found = f"{folder}{missing}, {free / 1e9:,.1f} GB free"
    return Check(name, "warn", found, f"make room, or {other}") if free < LITTLE_ROOM else Check(name, "ok", found)


def _told(check: Check) -> str:
    return f"{check.found}: {check.cure}" if check.cure else check.found


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, ``(2, 13, 0)`` of ``2.13.0+cpu``, without zeros at the end."""
    numbers: Iterable[str] = re.findall(r"\d+", re.split(r"[^\d.]", version, maxsplit=1)[0])
    return tuple(int(number) for number in re.sub(r"(\.0)+$", "", ".".join(numbers)).split(".") if number)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _device_name(device: object) -> str:
    import torch

    module = torch.get_device_module(device)  # pyright: ignore[reportArgumentType]
    return module.get_device_name(0) if hasattr(module, "get_device_name") else platform.processor() or "device"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")
