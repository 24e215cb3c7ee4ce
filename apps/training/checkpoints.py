"""Checkpoints: written atomically, read as weights only, refused with a reason."""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins import TorchCheckpointIO

import integrand
from integrand.apps.application import Application, Task
from integrand.apps.registry import application
from integrand.apps.training.files import write_atomically
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's file format, written whole or not at all, read without running code from it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, buffer.getvalue())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read a checkpoint; see ``read_checkpoint``."""
        return read_checkpoint(Path(path), map_location=map_location)


def read_checkpoint(path: Path, *, app: str | None = None, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values; nothing in it is executed.

    Args:
        path: the file.
        app: the application it must be of; any when None.
        map_location: where its tensors go, as in ``torch.load``.

    Raises:
        InputError: the file is missing, truncated, damaged, holds objects, or is of another application.
    """
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: train first, or name a run folder that holds one.")
    damaged = InputError(
        f"the checkpoint {path} is truncated or damaged ({path.stat().st_size:,} bytes): copy it again, or take the "
        "run's other checkpoint."
    )
    if not zipfile.is_zipfile(path):  # torch would try to read it as a pickle
        with path.open("rb") as file:
            head = file.read(2)
        if head[:1] == pickle.PROTO:
            reason = "it is a bare pickle, not a checkpoint; reading it could run code"
            raise InputError(f"refused to load {path}: {reason}.")
        raise damaged
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "it holds Python objects, which could run code when read; only tensors and plain values are taken"
        raise InputError(f"refused to load {path}: {reason}.") from error
    except (RuntimeError, EOFError, ValueError, LookupError, OSError, struct.error, zipfile.BadZipFile) as error:
        raise damaged from error
    said = checkpoint.get("integrand") if isinstance(checkpoint, dict) else None
    if not isinstance(said, dict) or "state_dict" not in checkpoint:
        raise InputError(f"{path} is not a checkpoint of integrand: name one that `integrand train` wrote.")
    if app is not None and said.get("app") != app:
        raise InputError(f"{path} is a checkpoint of the application {said.get('app')!r}, not of {app!r}.")
    return checkpoint


class StoredRun(NamedTuple):
    """What a run folder holds of a training.

    Attributes:
        app, task: what was trained.
        path: of the checkpoint.
        checkpoint: as ``read_checkpoint`` gives it.
    """

    app: Application
    task: Task
    path: Path
    checkpoint: dict[str, Any]

    @classmethod
    def of(cls, run: RunFolder, name: str) -> "StoredRun":
        """Read the checkpoint ``"best"`` or ``"last"`` of a run.

        Raises:
            InputError: the run names no application or task that there is; see ``read_checkpoint``.
        """
        said = run.read("environment.json")
        app = application(said.get("app", ""))
        path = run.checkpoints / f"{name}.ckpt"
        return cls(app, app.task(said.get("task")), path, read_checkpoint(path, app=app.name))


def build_module(kind: Any, checkpoint: dict[str, Any], path: Path, *, version: str | None) -> Any:
    """Build the module that a checkpoint describes, with its averaged weights.

    Args:
        kind: the class of the module, whose ``from_checkpoint`` does it.
        checkpoint: its description under ``"integrand"``, its weights under ``"state_dict"``.
        path: where it was read from, for the message.
        version: of integrand, that wrote it.

    Raises:
        InputError: it does not fit this version.
    """
    try:
        return kind.from_checkpoint(checkpoint)
    except (KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        raise misfit(path, version, error) from error


def build_data(kind: Any, checkpoint: dict[str, Any], path: Path, *, version: str | None) -> Any:
    """Build the data module that a checkpoint describes; nothing is read yet.

    Args:
        kind: the class of the data module.
        checkpoint, path, version: see ``build_module``.

    Raises:
        InputError: it does not fit this version, or an option of it is out of range.
    """
    try:
        return kind(**checkpoint["integrand"]["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise misfit(path, version, error) from error


def misfit(path: Path, version: str | None, error: Exception) -> InputError:
    """Return the error for a file that does not fit this version of integrand, by what went wrong."""
    return InputError(
        f"{path} does not fit integrand {integrand.__version__} (it was written by {version}; "
        f"{type(error).__name__}): use that version, or train again."
    )
