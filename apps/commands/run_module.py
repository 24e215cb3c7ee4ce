"""A run's trained module, built again from its checkpoint alone for a command that needs no data."""

import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

from integrand.apps.application import Task
from integrand.apps.commands.parsing import CommandParser
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
    from integrand.apps.training.checkpoints import StoredRun, build_module
    from integrand.apps.training.run_folder import RunFolder

    opened = RunFolder.open(folder)
    _, task, path, stored = StoredRun.of(opened, checkpoint)
    module = build_module(load(task.module), stored, path, version=stored["integrand"].get("version"))
    return Reopened(opened, task, module.to(_device(accelerator)))


def add_checkpoint(parser: CommandParser) -> None:
    """Add the option that chooses the weights of a run."""
    parser.add_argument(
        "--checkpoint", choices=("best", "last"), default="best", help="which weights (best by validation)"
    )


def add_accelerator(parser: CommandParser) -> None:
    """Add the option that chooses the device."""
    parser.add_argument("--accelerator", default="auto", help="as in Lightning's Trainer: auto, cpu, gpu, mps")


def carry_out(part: Literal["sample", "likelihood", "inpaint"], given: dict[str, Any], refusal: str) -> int:
    """Call what a run's task declares for a command and print the lines that it returns.

    Args:
        part: the attribute of ``Task``.
        given: the command's options by name; run, checkpoint and accelerator are taken out, the others handed on.
        refusal: what to say of a run whose task declares nothing, after its name.

    Raises:
        InputError: it declares nothing; see ``reopened``.
    """
    from integrand.apps.application import load

    folder, checkpoint, accelerator = (given.pop(name) for name in ("run", "checkpoint", "accelerator"))
    opened, task, module = reopened(folder, checkpoint=checkpoint, accelerator=accelerator)
    place = getattr(task, part)
    if place is None:
        raise InputError(f"{opened.path} is a run of {task.name}, which {refusal}")
    for line in load(place)(module, **given, notify=notify):
        print(line)
    return 0


def notify(line: str) -> None:
    """Tell the user something on standard error."""
    print(line, file=sys.stderr, flush=True)


def _device(accelerator: str) -> Any:
    from lightning.fabric import Fabric

    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (RuntimeError, ValueError) as error:
        raise InputError(f"--accelerator {accelerator} is not available here ({error}): take auto or cpu.") from error
