"""Trajectories from a file of initial states: where a trained network leads.

Dimension letters: N starts, T times, D state.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from integrand.apps.physics.dynamics.evaluation import precise, rollout
from integrand.apps.physics.dynamics.models.neural_sde import NeuralSDENetwork
from integrand.apps.physics.dynamics.module import DynamicsModule
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError
from integrand.datasets.simulations import Simulations

Array = np.ndarray
Notify = Callable[[str], None]
HDF5 = (".h5", ".hdf5")
SUFFIXES = (".npy", ".csv", *HDF5)
PICTURES = (".png", ".pdf", ".svg")
MOST = 1_000_000
"""Most states of a trajectory."""


@dataclass(frozen=True)
class Trajectories:
    """What was predicted: states (N, T, D) at times (T,), in the channels' own units."""

    times: Array
    states: Array


def predict(
    module: DynamicsModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    span: float | None = None,
    every: float | None = None,
    notify: Notify = lambda line: None,
) -> Trajectories:
    """Predict a trajectory from each initial state of a file; write all states, and a picture of the first few.

    Args:
        module: a trained module.
        input: ``.npy`` of states (N, D) or (D,); ``.csv`` with a column a channel; or ``.h5`` of trajectories, in the
            layout of The Well, whose first states are taken.
        output: the file to write: ``.npy`` with states (N, T, D); ``.csv`` with columns ``start``, ``time`` and the
            channels; or ``.h5``.
        figure: the picture to write; None for none.
        span: of a trajectory; that of training where None.
        every: between two states; as in training where None.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file, its shape, an option or a place to write is not right.
    """
    task = module.network.built_for
    _require_places(input, output, figure)
    span, every = task.span if span is None else span, task.interval if every is None else every
    if not (span > 0 and every > 0 and every <= span * (1 + 1e-9) and span / every < MOST):
        raise InputError(
            f"--span {span:g} --every {every:g} is out of range: both must be positive, --every the smaller one, and "
            "give less than a million states."
        )
    if span > task.span * (1 + 1e-9):
        notify(f"prediction beyond the trained time: training saw trajectories up to t = {task.span:g}")
    starts = read_starts(input, task)
    away = np.abs((starts - np.asarray(task.location)) / np.asarray(task.scale)).max(1)
    if (far := int((away > 4).sum())) > 0:
        notify(f"{far} of {len(starts)} starts lie more than 4 deviations from what training saw: do not rely on them")
    times = every * np.arange(round(span / every * (1 - 1e-12)) + 1)
    network, start, at = precise(module.network), torch.tensor(starts), torch.tensor(times)
    if isinstance(network, NeuralSDENetwork):
        notify("each start has one path of the many that noise may take, of seed its row: repeat a start for more")
        weight = next(network.parameters())
        states = network.paths(start.to(weight), at.to(weight), seeds=range(len(start)))
    else:
        states = rollout(network, start, at).states
    made = Trajectories(times, states.cpu().double().numpy())
    picture = None if figure is None else _picture(made, task, figure.suffix)
    _write(made, task, output)
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return made


def read_starts(path: Path, task: DynamicsTask) -> Array:
    """Return the initial states (N, D) of a file; see ``predict``.

    Raises:
        InputError: it is missing, damaged, of another shape, lacks a channel, or holds what is not finite.
    """
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path.")
    if path.suffix in HDF5:
        from integrand.datasets.simulation_files import read_simulations

        found = read_simulations(path)
        if list(found.channels) != task.channels:
            raise InputError(f"{path} has channels {', '.join(found.channels)}, not {', '.join(task.channels)}.")
        states = found.values[:, 0].double().numpy()
    elif path.suffix == ".csv":
        states = _read_csv(path, task)
    elif path.suffix == ".npy":
        try:
            states = np.atleast_2d(np.load(path, allow_pickle=False))
            states = states.astype(np.float64)
        except (ValueError, EOFError, OSError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is not an array of numbers: write it with numpy.save.") from error
    else:
        raise InputError(f"--input {path}: initial states are read from {', '.join(SUFFIXES)}: name it so.")
    if states.ndim != 2 or states.shape[1] != task.dim or not len(states):
        raise InputError(
            f"{path} has shape {tuple(states.shape)}: initial states must be (N, {task.dim}), with the channels "
            f"{', '.join(task.channels)}."
        )
    if not np.isfinite(states).all():
        row = int(np.flatnonzero(~np.isfinite(states).all(1))[0])
        raise InputError(f"{path}: start {row} is not finite: leave it out.")
    return states


def _read_csv(path: Path, task: DynamicsTask) -> Array:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV: {' '.join(str(error).split())}") from error
    missing = [channel for channel in task.channels if channel not in frame.columns]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}: name its columns {', '.join(task.channels)}.")
    numbers = frame[task.channels].apply(pd.to_numeric, errors="coerce")
    return numbers.to_numpy(dtype=np.float64)


def _require_places(input: Path, output: Path, figure: Path | None) -> None:
    if output.suffix not in SUFFIXES:
        raise InputError(f"--output {output}: trajectories are written as {', '.join(SUFFIXES)}: name it so.")
    if figure is not None and figure.suffix.lower() not in PICTURES:
        raise InputError(f"--figure {figure} must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")
    for option, path in (("--output", output), ("--figure", figure)):
        if path is None:
            continue
        if path.resolve() == input.resolve():
            raise InputError(f"{option} {path} is the file of --input too: name another.")
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}; make it, or name another.")


def _write(made: Trajectories, task: DynamicsTask, output: Path) -> None:
    if output.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, made.states)
        write_atomically(output, content.getvalue())
    elif output.suffix == ".csv":
        import pandas as pd

        count, steps = made.states.shape[:2]
        frame = pd.DataFrame(made.states.reshape(-1, task.dim), columns=task.channels)
        frame.insert(0, "time", np.tile(made.times, count))
        frame.insert(0, "start", np.repeat(np.arange(count), steps))
        write_atomically(output, frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    else:
        from integrand.datasets.well_files import write_simulations

        write_simulations(
            output,
            Simulations(
                name=task.system,
                values=torch.from_numpy(made.states),
                times=torch.from_numpy(made.times),
                channels=tuple(task.channels),
            ),
        )


def _picture(made: Trajectories, task: DynamicsTask, suffix: str) -> bytes:
    from integrand.apps.physics.dynamics.figures import trajectories_chart
    from integrand.apps.training.figures import style

    content = io.BytesIO()
    with style():
        trajectories_chart(made.states, made.times, task).savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
