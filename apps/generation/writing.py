"""What ``sample`` and ``likelihood`` write."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.apps.generation.densities import likelihood
from integrand.apps.generation.figures import draw_path, draw_samples
from integrand.apps.generation.module import GenerationModule
from integrand.apps.generation.sampling import draw, sampling_options
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.files import require_folder, write_atomically
from integrand.core.errors import InputError, unknown
from integrand.datasets.load_samples import load_samples

Notify = Callable[[str], None]
SHOWN = 100
"""Samples on one picture, at most."""


def write_samples(
    module: GenerationModule,
    *,
    seeds: Sequence[int],
    output: Path,
    label: str | None = None,
    method: str | None = None,
    steps: int | None = None,
    spacing: str | None = None,
    guidance: float | None = None,
    notify: Notify,
) -> list[str]:
    """Draw a sample a seed and write ``samples.npy`` (points: ``.csv`` too), ``samples.png`` and ``path.gif``.

    Returns:
        A line on each file.

    Raises:
        InputError: see ``draw``; a class the model does not know; a file in the place of the folder.
    """
    task = module.sample_task
    require_folder(output)
    options = sampling_options(module, method=method, steps=steps, spacing=spacing, guidance=guidance)
    labels = None if label is None else torch.full((len(seeds),), class_number(task, label))
    path: list[Tensor] = []
    drawn = draw(
        module,
        seeds,
        labels,
        options=options,
        watch=lambda step, t, x: path.append(module.decoded(x[:SHOWN]).cpu()),
        progress=lambda done: notify(f"{done:,} of {len(seeds):,} samples") if done < len(seeds) else None,
    )
    output.mkdir(parents=True, exist_ok=True)
    lines = [write_array(output / "samples.npy", storable(drawn.values, task))]
    if task.kind == "points":
        rows = [task.channels, *drawn.values.tolist()]
        lines.append(write_csv(output / "samples.csv", rows))
    draw_samples(output / "samples.png", drawn, task, options)
    draw_path(output / "path.gif", torch.stack(path), task)
    lines += [f"picture:  {output / 'samples.png'}", f"path:     {output / 'path.gif'}"]
    return lines


def write_likelihood(
    module: GenerationModule,
    *,
    input: Path,
    output: Path,
    label: str | None = None,
    trace: Any = None,
    notify: Notify,
) -> list[str]:
    """Write the log-likelihood of every sample of a file as CSV.

    Returns:
        Lines with the file and the mean.
    """
    task = module.network.built_for
    values, labels = read_like(input, task, label)
    notify(f"the likelihood of {len(values):,} samples")
    found = likelihood(module, values, labels, trace=trace)
    head = ["sample", "log_prob", *(["bits_per_dim"] if task.levels is not None else [])]
    rows = [
        [i, float(p), *([float(b)] if task.levels is not None else [])]
        for i, (p, b) in enumerate(zip(found.log_prob, found.bits, strict=True))
    ]
    lines = [
        write_csv(output, [head, *rows]),
        f"mean log-likelihood: {float(found.log_prob.mean()):.4f} nats a sample",
    ]
    if task.levels is not None:
        lines.append(f"bits per dimension: {float(found.bits.mean()):.4f}")
    return [*lines, f"divergence: {found.trace}"]


def class_number(task: GenerationTask, name: str) -> int:
    """Return the number of a class by its name.

    Raises:
        InputError: the model knows no classes, or none of that name.
    """
    if not task.classes:
        raise InputError(f"--class {name}: this model was trained without classes, leave it out.")
    if name not in task.classes:
        raise unknown("class", name, task.classes)
    return task.classes.index(name)


def read_like(path: Path, task: GenerationTask, label: str | None = None) -> tuple[Tensor, Tensor]:
    """Read samples (N, *shape) such as a task's from a file, and their classes (N,).

    Images of a folder are cut and resampled to the model's size, and converted to its colours.

    Raises:
        InputError: they have another shape, another type or more grey values; a class the model does not know.
    """
    samples = load_samples(str(path), **_as_trained(path, task))
    values = torch.from_numpy(np.ascontiguousarray(samples.values))
    if list(values.shape[1:]) != list(task.shape):
        raise InputError(
            f"{path} holds samples of shape {tuple(values.shape[1:])}, where the model was trained on "
            f"{tuple(task.shape)}: give samples of that shape."
        )
    if (samples.levels is None) != (task.levels is None):
        held, cure = ("real numbers", "uint8") if samples.levels is None else ("grey values", "float32")
        raise InputError(f"{path} holds {held}, and the model was trained on others: save them as {cure}.")
    if task.levels is not None and int(values.max()) >= task.levels:
        raise InputError(
            f"{path} holds the grey value {int(values.max())}, where the model has 0 to {task.levels - 1}: bring them "
            "to that range."
        )
    if label is not None:
        return values, torch.full((len(values),), class_number(task, label))
    if not task.classes:
        return values, torch.zeros(len(values), dtype=torch.int64)
    if samples.labels is None:
        raise InputError(f"{path} does not say the classes of its samples: name theirs with --class.")
    return values, torch.tensor([class_number(task, samples.classes[i]) for i in samples.labels])


def _as_trained(path: Path, task: GenerationTask) -> dict[str, Any]:
    """Return what brings the images of a folder to the size and the colours that the model was trained on."""
    if not path.is_dir() or task.kind != "image" or task.shape[0] not in (1, 3):
        return {}
    return {"size": tuple(task.shape[1:]), "mode": "L" if task.shape[0] == 1 else "RGB"}


def storable(values: Tensor, task: GenerationTask) -> np.ndarray:
    """Return samples as an array to keep: grey values in a byte each."""
    return values.to(torch.uint8).numpy() if task.levels is not None else values.float().numpy()


def write_array(path: Path, values: np.ndarray) -> str:
    """Write an array and return a line on it."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_atomically(path, content.getvalue())
    return f"samples:  {path} {values.shape}"


def write_csv(path: Path, rows: Sequence[Sequence[Any]]) -> str:
    """Write a table and return a line on it."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue())
    return f"table:    {path}"
