"""Solutions for a file of initial states, or of constants: what a trained surrogate makes of them.

Dimension letters: N samples, T times, C channels, K constants, X Y Z grid.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.surrogate.module import SurrogateModule
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError
from integrand.datasets.fields import FieldTask
from integrand.datasets.simulations import Simulations

Notify = Callable[[str], None]
ARRAYS, FILES = (".npy",), (".h5", ".hdf5")
SUFFIXES = (*ARRAYS, *FILES)


def predict(
    module: SurrogateModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    steps: int | None = None,
    parameters: Mapping[str, float] | Sequence[tuple[str, float]] | None = None,
    notify: Notify = lambda line: None,
) -> Simulations:
    """Roll a surrogate out from the states of a file, or solve a steady problem for its constants.

    Args:
        module: a trained module, on the device it is to run on.
        input: an ``.npy`` of initial states (N, C, *X), (C, *X), or (*X) for one channel, of constants likewise where
            the problem is steady, or of states and constants along the axis of channels; or an ``.h5`` of solutions,
            whose first states and constants are taken. The grid may be another than the trained one.
        output: the file to write: ``.npy`` with states (N, T, C, *X), or ``.h5`` in the layout of The Well.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        steps: how many; as many as were trained where None.
        parameters: of the equation, the same for all samples, where the network is told some and the file does not say.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file, its shape, a parameter or a place to write is not right.
    """
    task = module.network.built_for
    if output.suffix not in SUFFIXES:
        raise InputError(f"--output {output}: solutions are written as .npy or .h5: name it so.")
    if input.resolve() == output.resolve():
        raise InputError(f"--output {output} is the input: name another file.")
    if steps is not None and (task.steady or steps < 1):
        why = "the problem is steady" if task.steady else "at least 1"
        raise InputError(f"--steps {steps} is out of range: {why}.")
    count = task.steps if steps is None else steps
    if count > task.steps:
        notify(f"{count} steps are more than the {task.steps} that were trained on: what lies beyond may be wrong")
    start, constants, known = read_start(input, task)
    told = _parameters(task, known, dict(parameters or {}), len(_first(start, constants)))
    shape = _first(start, constants).shape[2:]
    if list(shape) != task.shape:
        note = module.network.any_resolution
        notify(f"asked at {tuple(shape)} points, trained at {tuple(task.shape)}" + (f": {note}" if note else ""))
    made = _solutions(module, start, constants, told, count)
    solutions = Simulations(
        name=task.name,
        values=made,
        times=torch.arange(made.shape[1], dtype=torch.float64) * task.interval,
        channels=tuple(task.channels),
        coordinates=tuple(
            torch.arange(n, dtype=torch.float64) * (length / (n if joined else n - 1))
            for n, length, joined in zip(shape, task.lengths, task.periodic, strict=True)
        ),
        lengths=tuple(task.lengths),
        periodic=tuple(task.periodic),
        parameters={name: each.double() for name, each in told.items()},
        constants=constants,
        constant_names=tuple(task.constants),
        units={name: unit for name, unit in zip(task.channels, task.units, strict=True) if unit},
        provenance={"made by": "integrand predict"},
    )
    picture = None if figure is None else _picture(solutions, figure.suffix)
    if output.suffix in FILES:
        from integrand.datasets.well_files import write_simulations

        write_simulations(output, solutions)
    else:
        content = io.BytesIO()
        np.save(content, made.numpy())
        write_atomically(output, content.getvalue())
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return solutions


def read_start(path: Path, task: FieldTask) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor]]:
    """Read initial states (N, C, *X), constants (N, K, *X) and parameters (N,), those that there are.

    Raises:
        InputError: no such file, another kind of file, another shape, or a number that is not finite.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path.")
    if path.suffix in FILES:
        from integrand.datasets.simulation_files import read_simulations

        given = read_simulations(path)
        if given.dims != task.dims or list(given.channels) != task.channels:
            raise InputError(
                f"{path} holds {', '.join(given.channels)} on {given.dims} axes; the run was trained on "
                f"{', '.join(task.channels)} on {task.dims}."
            )
        constants = None if given.constants is None else given.constants.float()
        return (None if task.steady else given.values[:, 0].float()), constants, dict(given.parameters)
    if path.suffix not in ARRAYS:
        raise InputError(f"{path} is neither .npy nor .h5: write the states with numpy.save, (N, C, *X).")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} cannot be read as an array ({error}): write it with numpy.save.") from error
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path} holds {array.dtype}: real numbers are needed.")
    values = torch.from_numpy(np.ascontiguousarray(array)).float()
    states = 0 if task.steady else len(task.channels)
    wanted = states + len(task.constants)
    if values.dim() == task.dims and wanted == 1:
        values = values[None]
    if values.dim() == task.dims + 1:
        values = values[None]
    if values.dim() != task.dims + 2 or values.shape[1] != wanted:
        names = ", ".join([*([] if task.steady else task.channels), *task.constants])
        axes = ", ".join("XYZ"[: task.dims])
        raise InputError(
            f"{path} has shape {array.shape}: it must be (N, {wanted}, {axes}), with the channels {names}; N may be "
            "left out."
        )
    if not bool(torch.isfinite(values).all()):
        bad = (~torch.isfinite(values)).flatten(1).any(1).nonzero()[0].item()
        raise InputError(f"{path}: sample {bad} is not finite: leave it out.")
    return (
        values[:, :states] if states else None,
        values[:, states:] if task.constants else None,
        {},
    )


def _first(start: Tensor | None, constants: Tensor | None) -> Tensor:
    given = constants if start is None else start
    assert given is not None
    return given


def _parameters(
    task: FieldTask, known: Mapping[str, Tensor], given: Mapping[str, float], count: int
) -> dict[str, Tensor]:
    """Return the parameters that the network is told, (N,) each."""
    for name in given:
        if name not in task.parameters:
            told = ", ".join(task.parameters) or "none"
            raise InputError(f"--parameter {name}: the network is told {told} of each sample: leave {name} out.")
    made = {}
    for name in task.parameters:
        if name in given:
            made[name] = torch.full((count,), float(given[name]))
        elif name in known:
            made[name] = known[name].float()
        else:
            raise InputError(f"the network is told {name} of each sample: give it as --parameter {name}=VALUE.")
    return made


@torch.no_grad()
def _solutions(
    module: SurrogateModule, start: Tensor | None, constants: Tensor | None, told: Mapping[str, Tensor], steps: int
) -> Tensor:
    """Return the states (N, T, C, *X) on the host.

    Raises:
        InputError: they cease to be finite.
    """
    module.eval()
    here = module.device
    made = module.network.roll(
        None if start is None else start.to(here),
        None if constants is None else constants.to(here),
        {name: each.to(here) for name, each in told.items()},
        steps,
    ).cpu()
    bad = ~torch.isfinite(made.flatten(2)).all(-1)
    if bool(bad.any()):
        sample, step = bad.nonzero()[0].tolist()
        raise InputError(f"the rollout of sample {sample} ceases to be finite at step {step}: take fewer --steps.")
    return made


def _picture(solutions: Simulations, suffix: str) -> bytes:
    """Draw the first sample."""
    from integrand.apps.physics.surrogate.figures import solution_chart
    from integrand.apps.training.figures import style

    content = io.BytesIO()
    with style():
        solution_chart(solutions).savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
