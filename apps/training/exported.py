"""A trained module for others to load: its weights as safetensors, and beside them a JSON file that says what it is."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

import integrand
from integrand.apps.application import load
from integrand.apps.registry import application
from integrand.apps.training.checkpoints import StoredRun, build_module, misfit
from integrand.apps.training.files import require_folder, write_atomically, write_json
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError

WEIGHTS = "model.safetensors"
CONFIG = "model.json"
FORMAT = 1
"""Version of the layout of the two files."""
LEFT_OUT = ("data", "version", "app")
"""What a checkpoint says that the description does not: the options of the data hold paths of the user's machine."""


def export_safetensors(run: RunFolder, output: Path, *, checkpoint: str = "best") -> list[Path]:
    """Write a run's averaged weights to ``model.safetensors`` in a folder, and their description to ``model.json``.

    Names that share one tensor, as tied weights do, are stored once; the description tells the others. The module is
    built from what was written before anything is, so that what is exported can be loaded.

    Args:
        run: the run's folder.
        output: the folder to write, made where there is none.
        checkpoint: ``"best"`` or ``"last"``.

    Returns:
        The two files.

    Raises:
        InputError: the run's checkpoint is missing or damaged, or does not fit this version.
    """
    from safetensors.torch import save

    require_folder(output)
    said = run.read("environment.json")
    app, task, path, stored = StoredRun.of(run, checkpoint)
    tensors, aliases = _unshared(stored["state_dict"])
    description = {
        "format": FORMAT,
        "integrand": integrand.__version__,
        "trained_with": stored["integrand"].get("version"),
        "app": app.name,
        "task": task.name,
        "dataset": said.get("dataset"),
        "seed": said.get("seed"),
        "checkpoint": checkpoint,
        "module": {name: value for name, value in stored["integrand"].items() if name not in LEFT_OUT},
        "aliases": aliases,
    }
    _built(description, tensors, path)
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(output / WEIGHTS, save(tensors, metadata={"format": "pt", "integrand": integrand.__version__}))
    write_json(output / CONFIG, description)
    return [output / WEIGHTS, output / CONFIG]


def load_exported(path: Path | str) -> Any:
    """Return the Lightning module that ``integrand export`` wrote, with its weights, on the host, ready to be asked.

    Nothing in the files is executed.

    Args:
        path: the folder, or the ``.safetensors`` file in it.

    Raises:
        InputError: a file is missing or damaged, or does not fit this version.

    Example::

        module = load_exported("exported")
        drawn = draw(module, range(16))  # of integrand.apps.generation.sampling
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    given = Path(path).expanduser()
    weights = given / WEIGHTS if given.is_dir() else given
    config = weights.with_name(CONFIG)
    for file in (weights, config):
        if not file.is_file():
            raise InputError(f"no file at {file}: name a folder that 'integrand export' wrote.")
    try:
        description = json.loads(config.read_text(encoding="utf-8"))
        tensors = load_file(weights)
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"cannot read {given} ({' '.join(str(error).split())}): export the run again.") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{config} is not of layout {FORMAT}: export the run again with integrand's present version.")
    return _built(description, tensors, weights)


def _unshared(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return each tensor under its first name, contiguous, and the other names with the one that has it."""
    first: dict[Any, str] = {}
    tensors, aliases = {}, {}
    for name, tensor in state.items():
        whole = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and whole in first:
            aliases[name] = first[whole]
            continue
        first[whole] = name
        tensors[name] = tensor.detach().contiguous().clone()  # a view of a larger storage would bring all of it
    return tensors, aliases


def _built(description: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> Any:
    """Build the module that a description names, and load its weights."""
    version = description.get("integrand")
    try:
        task = application(description["app"]).task(description["task"])
        state = {**tensors, **{name: tensors[kept] for name, kept in description["aliases"].items()}}
        kind, stored = load(task.module), {"integrand": description["module"], "state_dict": state}
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        raise misfit(path, version, error) from error
    return build_module(kind, stored, path, version=version)
