"""The solution at points from a file.

Dimension letters: N points, d coordinates.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from integrand.apps.physics.informed.evaluation import solve
from integrand.apps.physics.informed.module import InformedModule
from integrand.apps.physics.informed.problems.problem import Problem
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError

Array = np.ndarray
Notify = Callable[[str], None]

WITHIN, OUTSIDE, LATER = "", "outside the domain", "beyond the trained time"


@dataclass(frozen=True)
class Predicted:
    """The solution at points.

    Attributes:
        points: (N, d) as given.
        values: (N,).
        residual: (N,) what is left of the equation there.
        flags: (N,) ``""``, or why the value should not be trusted.
    """

    points: Array
    values: Array
    residual: Array
    flags: Array


def predict(
    module: InformedModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    notify: Notify = lambda line: None,
) -> Predicted:
    """Write the solution at the points of a file, and a picture of it.

    The output has the coordinates, ``u``, ``residual`` (what is left of the equation) and ``flag``: empty where the
    point lies within what the network was trained on. Points elsewhere are answered and flagged. An ``.npy`` output has
    the same columns, but for the flags.

    Args:
        module: a trained module, on the device it is to run on.
        input: a CSV with a column for each coordinate, or an ``.npy`` file (N, d).
        output: the CSV or ``.npy`` file to write.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file or a place to write is not right.
    """
    import pandas as pd

    problem = module.problem
    for place in (output, figure):
        if place is not None and not place.absolute().parent.is_dir():
            raise InputError(f"cannot write {place}: there is no folder {place.parent}.")
    if figure is not None and figure.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"cannot write {figure}: name a picture that ends in .png, .pdf or .svg.")
    points = read_points(input, problem)
    values, left = solve(module, torch.from_numpy(points))
    predicted = Predicted(points, values, left, flags(points, problem))
    for flag in (OUTSIDE, LATER):
        count = int((predicted.flags == flag).sum())
        if count:
            box = ", ".join(
                f"{name} in [{low:g}, {high:g}]"
                for name, low, high in zip(problem.inputs, problem.low, problem.high, strict=True)
            )
            notify(f"{count:,} of {len(points):,} points lie {flag} ({box}): they are flagged, don't rely on them")
    columns = {name: points[:, i] for i, name in enumerate(problem.inputs)}
    frame = pd.DataFrame({**columns, "u": values, "residual": left, "flag": predicted.flags})
    picture = None if figure is None else _picture(predicted, problem, figure.suffix)
    if output.suffix == ".npy":
        content = io.BytesIO()
        np.save(content, np.column_stack([points, values, left]))
        write_atomically(output, content.getvalue())
    else:
        write_atomically(output, frame.to_csv(index=False, float_format="%.9g", lineterminator="\n"))
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return predicted


def read_points(path: Path, problem: Problem) -> Array:
    """Read points (N, d) of a problem from a CSV with a column for each coordinate, or from an ``.npy`` file.

    Raises:
        InputError: the file is missing, of another kind or shape, or holds what is not a finite number.
    """
    import pandas as pd

    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path.")
    wanted = ", ".join(problem.inputs)
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            table = pd.read_csv(path)
            missing = [name for name in problem.inputs if name not in table.columns]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r}: {problem.name} needs {wanted}; it has "
                    f"{', '.join(map(str, table.columns))}."
                )
            found = table[list(problem.inputs)].to_numpy()
        points = np.asarray(found, dtype=np.float64)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, TypeError) as error:
        raise InputError(f"cannot read points from {path}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} holds what is no number: write {wanted} as plain numbers.") from error
    if points.ndim != 2 or points.shape[1] != len(problem.inputs) or not len(points):
        raise InputError(f"{path} has shape {points.shape}: {problem.name} needs (points, {wanted}).")
    bad = ~np.isfinite(points).all(1)
    if bad.any():
        raise InputError(f"{path}: point {int(bad.argmax())} is not finite: leave it out.")
    return points


def flags(points: Array, problem: Problem) -> Array:
    """Say of each point why its value should not be trusted; empty where it may be."""
    beyond = problem.outside(points)
    found = np.full(len(points), WITHIN, dtype=object)
    if problem.timed:
        late = beyond[:, -1] & (points[:, -1] > problem.high[-1])
        found[late] = LATER
        beyond[:, -1] &= ~late
    found[beyond.any(1)] = OUTSIDE
    return found


def _picture(predicted: Predicted, problem: Problem, suffix: str) -> bytes:
    """Draw the values over the coordinates; crosses are flagged points."""
    from integrand.apps.training.figures import FAINT, MODEL, NARROW, figure, style

    content = io.BytesIO()
    good = predicted.flags == WITHIN
    with style():
        made = figure(1.5 * NARROW, 3.6)
        axes = made.subplots()
        if len(problem.inputs) == 1:
            order = predicted.points[:, 0].argsort()
            axes.plot(predicted.points[order, 0], predicted.values[order], color=MODEL, linewidth=1)
            axes.plot(predicted.points[good, 0], predicted.values[good], ".", color=MODEL)
            axes.plot(predicted.points[~good, 0], predicted.values[~good], "x", color=FAINT)
            axes.set_xlabel(problem.inputs[0])
            axes.set_ylabel("u")
        else:
            first, last = predicted.points[:, 0], predicted.points[:, 1]
            size = float(np.clip(4000 / len(first), 4, 40))
            shown = axes.scatter(last[good], first[good], c=predicted.values[good], cmap="RdBu_r", s=size)
            axes.plot(last[~good], first[~good], "x", color=FAINT)
            axes.set_xlabel(problem.inputs[1])
            axes.set_ylabel(problem.inputs[0])
            made.colorbar(shown, ax=axes, label="u")
        axes.set_title(f"{problem.name}: solution at {len(good):,} points")
        if not good.all():
            axes.plot([], [], "x", color=FAINT, label="not within what it was trained on")
            made.legend(loc="outside lower left")
        made.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
