"""A run's trained module, built again from its checkpoint alone for a command that needs no data."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from integrand.apps.application import Task
from integrand.core.errors import InputError


class Reopened(NamedTuple):
    """A run folder, its task and its module, ready to be asked, on its device."""

    run: Any
    task: Task
    module: Any


def reopened(folder: Path | str, *, checkpoint: str = "best", accelerator: str = "auto") -> Reopened:
    """Open a run and build its module on the device that the accelerator option names.

    Raises:
        InputError: it is no run, its checkpoint does not fit this version, or there is no such accelerator.
    """
    from integrand.apps.application import load
    from integrand.apps.registry import application
    from integrand.apps.training.checkpoints import read_checkpoint
    from integrand.apps.training.run_folder import RunFolder

    opened = RunFolder.open(folder)
    said = opened.read("environment.json")
    app = application(said.get("app", ""))
    task = app.task(said.get("task"))
    path = opened.checkpoints / f"{checkpoint}.ckpt"
    module = _build(load(task.module), read_checkpoint(path, app=app.name), path).to(_device(accelerator))
    return Reopened(opened, task, module)


def notify(line: str) -> None:
    """Tell the user something on standard error."""
    print(line, file=sys.stderr, flush=True)


def _build(kind: Any, checkpoint: dict[str, Any], path: Path) -> Any:
    """Build the module a checkpoint describes."""
    try:
        return kind.from_checkpoint(checkpoint)
    except (KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        from integrand import __version__

        raise InputError(
            f"{path} does not fit integrand {__version__} (it was written by {checkpoint['integrand'].get('version')}; "
            f"{type(error).__name__}): use that version, or train again."
        ) from error


def _device(accelerator: str) -> Any:
    from lightning.fabric import Fabric

    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (RuntimeError, ValueError) as error:
        raise InputError(f"--accelerator {accelerator} is not available here ({error}): take auto or cpu.") from error
