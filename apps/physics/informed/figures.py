"""Pictures of a solution: maps beside the reference, slices, what is left of the equation, cost, parameters.

Dimension letters: X points of the test grid along each coordinate.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from integrand.apps.physics.informed.evaluation import Evaluation
from integrand.apps.physics.informed.problems.problem import Problem
from integrand.apps.physics.informed.task import InformedTask
from integrand.apps.training.figures import (
    BASELINES,
    FAINT,
    MODEL,
    NARROW,
    OBSERVED,
    SERIES,
    WIDE,
    figure,
    save,
    style,
)
from integrand.apps.training.metrics_log import read_metrics
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
FIELD, ERRORS = "RdBu_r", "magma"
SLICES = (0.25, 0.5, 0.75, 1.0)
"""Places along the last coordinate, in shares of the box."""
LEAST_SHOWN = 1e-8
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
"""Powers of ten as plain text: the house style leaves formulae to the user's own names."""


def draw(evaluation: Evaluation, run: RunFolder, task: InformedTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test grid.
        run: where the pictures go.
        task: the problem, and what is sought.
    """
    with style():
        if len(evaluation.axes) == 1:
            _draw_curve(evaluation, run, task.of)
        else:
            _draw_maps(evaluation, run, task.of)
            _draw_slices(evaluation, run, task.of)
        _draw_residual(evaluation, run, task.of)
        if evaluation.work:
            _draw_work(evaluation, run, task.of)
        if task.guesses:
            _draw_parameters(run, task)


def _draw_maps(evaluation: Evaluation, run: RunFolder, problem: Problem) -> None:
    """Draw solution, reference and error side by side."""
    made = figure(WIDE, 3.2)
    panels = made.subplots(1, 3, sharey=True)
    error = np.abs(evaluation.solution - evaluation.exact)
    most = float(np.abs(evaluation.exact).max())
    _map(panels[0], evaluation, evaluation.solution, cmap=FIELD, vmin=-most, vmax=most)
    panels[0].set_title(evaluation.name)
    shown = _map(panels[1], evaluation, evaluation.exact, cmap=FIELD, vmin=-most, vmax=most)
    panels[1].set_title("reference")
    made.colorbar(shown, ax=panels[:2], label="u", fraction=0.05, pad=0.02)
    shown = _map(panels[2], evaluation, error, cmap=ERRORS, vmin=0)
    panels[2].set_title("size of the error")
    made.colorbar(shown, ax=panels[2], fraction=0.05, pad=0.02)
    if len(evaluation.observed):
        panels[0].plot(*evaluation.observed.T[::-1], ".", color=OBSERVED, markersize=1.2, alpha=0.5)
    for axes in panels:
        axes.set_xlabel(problem.inputs[1])
    panels[0].set_ylabel(problem.inputs[0])
    told = (
        f"The solution of {evaluation.name}, the reference, and the size of their difference, at most "
        f"{error.max():.2g}, on a grid that training never saw."
    )
    if len(evaluation.observed):
        told += f" Dots are the {len(evaluation.observed):,} observations that it was trained on."
    save(made, run.figures / "solution.png", told, title="Solution and error")


def _map(axes: Axes, evaluation: Evaluation, values: Array, **given: Any) -> Any:
    first, second = evaluation.axes
    axes.grid(visible=False)
    return axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        extent=(second[0], second[-1], first[0], first[-1]),
        interpolation="nearest",
        **given,
    )


def _draw_slices(evaluation: Evaluation, run: RunFolder, problem: Problem) -> None:
    """Draw the solution along the first coordinate at a few values of the last."""
    made = figure(NARROW, 6.0)
    panels = made.subplots(len(SLICES), 1, sharex=True, sharey=True)
    for axes, share in zip(panels, SLICES, strict=True):
        k = round(share * (len(evaluation.axes[1]) - 1))
        axes.plot(evaluation.axes[0], evaluation.exact[:, k], color=OBSERVED, linewidth=1, label="reference")
        axes.plot(
            evaluation.axes[0],
            evaluation.solution[:, k],
            color=MODEL,
            linestyle=(0, (4, 2)),
            label=evaluation.name,
        )
        axes.set_title(f"{problem.inputs[1]} = {evaluation.axes[1][k]:.3g}")
        axes.set_ylabel("u")
        axes.yaxis.set_major_locator(MaxNLocator(3))
    panels[-1].set_xlabel(problem.inputs[0])
    handles, labels = panels[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper left", ncols=2)
    told = f"The solution along {problem.inputs[0]}, {evaluation.name} over the reference."
    save(made, run.figures / "slices.png", told, title="Slices of the solution")


def _draw_curve(evaluation: Evaluation, run: RunFolder, problem: Problem) -> None:
    """Draw the solution of an ordinary differential equation, and its error."""
    made = figure(WIDE, 4.2)
    upper, lower = made.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    (t,) = evaluation.axes
    upper.plot(t, evaluation.exact, color=OBSERVED, linewidth=1, label="reference")
    upper.plot(t, evaluation.solution, color=MODEL, linestyle=(0, (4, 2)), label=evaluation.name)
    upper.set_ylabel("u")
    upper.legend(loc="upper right", ncols=2)
    error = evaluation.solution - evaluation.exact
    lower.plot(t, error, color=MODEL)
    lower.set_title("error")
    lower.set_xlabel(problem.inputs[0])
    told = f"The solution of {evaluation.name} over the reference, and its error, at most {np.abs(error).max():.2g}."
    save(made, run.figures / "solution.png", told, title="Solution and error")


def _draw_residual(evaluation: Evaluation, run: RunFolder, problem: Problem) -> None:
    """Draw the size of what is left of the equation."""
    size = np.abs(evaluation.residual).clip(min=LEAST_SHOWN)
    made = figure(NARROW, 3.0)
    axes = made.subplots()
    if size.ndim == 1:
        axes.plot(evaluation.axes[0], size, color=MODEL, linewidth=1)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_PLAIN)
        axes.set_xlabel(problem.inputs[0])
    else:
        shown = _map(axes, evaluation, np.log10(size), cmap=ERRORS)
        made.colorbar(shown, ax=axes, label="log10 of the residual's size")
        axes.set_xlabel(problem.inputs[1])
        axes.set_ylabel(problem.inputs[0])
    axes.set_title("residual of the equation")
    told = (
        f"What is left of {problem.equation} when the solution is put into it; root mean square "
        f"{np.sqrt(np.square(evaluation.residual).mean()):.2g}."
    )
    save(made, run.figures / "residual.png", told, title="Residual")


def _draw_work(evaluation: Evaluation, run: RunFolder, problem: Problem) -> None:
    """Draw error over cost, of finite differences from coarse to fine and of the network."""
    made = figure(NARROW, 3.2)
    axes = made.subplots()
    colour, dashes = BASELINES[0]
    cells, seconds, errors = zip(*evaluation.work, strict=True)
    label = f"differences, {cells[0]} to {cells[-1]} cells"
    axes.plot(seconds, errors, "o", color=colour, linestyle=dashes, markersize=5, label=label)
    spent, error = evaluation.spent
    if spent > 0:
        axes.plot([spent], [error], "s", color=MODEL, markersize=8, label=f"{evaluation.name}, training")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(_PLAIN)
    axes.set_xlabel("seconds")
    axes.set_ylabel("relative L2")
    made.legend(loc="outside upper left", ncols=1)
    told = (
        f"Error over cost, both measured on this machine: {problem.solver}, on ever more cells, and the training of "
        f"{evaluation.name}. Lower and further left is better."
    )
    save(made, run.figures / "work.png", told, title="Cost of the solution beside a solver's")


def _draw_parameters(run: RunFolder, task: InformedTask) -> None:
    """Draw the sought parameters over training, in units of their true values."""
    rows = read_metrics(run.metrics) if run.metrics.is_file() else []
    names = [name for name in task.guesses if any(f"train/{name}" in row for row in rows)]
    if not names:
        return
    made = figure(NARROW, 0.7 + 1.9 * len(names))
    panels = made.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    told = []
    for axes, name, (colour, _) in zip(panels, names, SERIES, strict=False):
        there = [row for row in rows if f"train/{name}" in row]
        values = np.array([row[f"train/{name}"] for row in there])
        axes.axhline(task.parameters[name], color=FAINT, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.plot([row["step"] for row in there], values, color=colour)
        if values.min() > 0 and values.max() > 10 * values.min():
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(_PLAIN)
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(name)
        told.append(f"{name}: {values[-1]:.5g} at the end, true value {task.parameters[name]:.5g}.")
    panels[-1].set_xlabel("optimiser step")
    panels[-1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    caption = "The parameters that are sought, over training; broken lines are the true values. " + " ".join(told)
    save(made, run.figures / "parameters.png", caption, title="Parameters over training")
