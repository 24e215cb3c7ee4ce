"""Pictures of learned dynamics on the test part: trajectories, phase space, invariants, errors, the field, the motion.

Dimension letters: N trajectories, T times, D state.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from integrand.apps.physics.dynamics.animation import draw_motion
from integrand.apps.physics.dynamics.costs import COARSE
from integrand.apps.physics.dynamics.ensemble_figures import draw_ensembles
from integrand.apps.physics.dynamics.evaluation import PLAIN, Evaluation, typical
from integrand.apps.physics.dynamics.metrics import VALID
from integrand.apps.physics.dynamics.phase_plane import draw_energy, draw_field, partner
from integrand.apps.physics.dynamics.task import DynamicsTask
from integrand.apps.training.figures import (
    BASELINES,
    FAINT,
    MODEL,
    NARROW,
    OBSERVED,
    SERIES,
    WIDE,
    figure,
    log_axis,
    metric_name,
    save,
    style,
)
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
MOST_CHANNELS = 4
PERIODS = 3.0
"""Units of time shown at the start of a trajectory, and at its end."""
LEAST = 1e-16
FEW = 40
"""States up to which each of those recorded or exact has its own mark."""


def draw(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names, units and scales.
    """
    with style():
        if evaluation.random:
            draw_ensembles(evaluation, run, task)
            return
        draw_motion(evaluation, run, task)
        if evaluation.invariants:
            _draw_invariants(evaluation, run, task)
        _draw_errors(evaluation, run, task)
        _draw_trajectories(evaluation, run, task)
        _draw_phase(evaluation, run, task)
        draw_energy(evaluation, run, task)
        draw_field(evaluation, run, task)


def shown(evaluation: Evaluation, *, coarse: bool = False) -> dict[str, dict[str, Any]]:
    """Return who is drawn, and how: the model and, where there are any, the plain network and the coarse solver."""
    found: dict[str, dict[str, Any]] = {evaluation.name: {"color": MODEL, "linewidth": 1.6}}
    if PLAIN in evaluation.predictions:
        colour, dashes = BASELINES[0]
        found[PLAIN] = {"color": colour, "linestyle": dashes, "linewidth": 1.3}
    if coarse and COARSE in evaluation.predictions:
        colour, dashes = BASELINES[1]
        found[COARSE] = {"color": colour, "linestyle": dashes, "linewidth": 1.3}
    return found


def key(who: dict[str, dict[str, Any]], truth: str | None = None) -> list[Line2D]:
    """Return what a legend shows of those that are drawn, and of the truth where it is named."""
    lines = [Line2D([], [], label=name, **how) for name, how in who.items()]
    return lines if truth is None else [Line2D([], [], color=OBSERVED, linewidth=1.2, label=truth), *lines]


def time_label(task: DynamicsTask) -> str:
    """Return the words below an axis of time."""
    return f"time, {task.time_word}"


def _mark_trained(axes: Axes, task: DynamicsTask, end: float) -> None:
    """Draw the line where training trajectories end, if the axis goes on beyond it."""
    if task.span < end * (1 - 1e-9):
        axes.axvline(task.in_units(task.span), color=FAINT, linewidth=1, linestyle=(0, (2, 2)))


def beyond(evaluation: Evaluation, task: DynamicsTask) -> str:
    """Return the sentence on that line."""
    if task.span >= evaluation.times[-1] * (1 - 1e-9):
        return ""
    return f" The dotted line is where training trajectories end, at {task.in_units(task.span):.3g} {task.time_word}."


def _knowing(who: dict[str, dict[str, Any]]) -> str:
    """Return the sentence on the coarse solver."""
    return f" {COARSE} solves the true equation, at the network's cost or less." if COARSE in who else ""


def _draw_invariants(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    names = list(evaluation.invariants)[:MOST_CHANNELS]
    units = np.array([task.in_units(t) for t in evaluation.times])
    made = figure(NARROW, 0.7 + 2.2 * len(names))
    panels = made.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    drawn = shown(evaluation, coarse=True)
    for axes, name in zip(panels, names, strict=True):
        for who, how in drawn.items():
            values = evaluation.predictions[who].invariants[name]
            away = np.maximum(np.abs(values - values[:, :1]) / evaluation.scales[name], LEAST)[:, 1:]
            away = np.maximum.accumulate(away, axis=1)
            low, middle, high = np.quantile(away, [0.1, 0.5, 0.9], axis=0)
            axes.fill_between(units[1:], low, high, color=how["color"], alpha=0.18, linewidth=0)
            axes.plot(units[1:], middle, **how)
        log_axis(axes.yaxis)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 1e-12))
        axes.set_title(f"change of {metric_name(name)}")
        _mark_trained(axes, task, evaluation.times[-1])
    panels[-1].set_xlabel(time_label(task))
    panels[-1].margins(x=0)
    made.legend(handles=key(drawn), loc="outside upper left", ncols=2)
    sizes = ", ".join(f"{evaluation.scales[name]:.3g} for {metric_name(name)}" for name in names)
    save(
        made,
        run.figures / "invariants.png",
        "How far what exact solutions keep has left its value at the start, at most until then, along predicted "
        "trajectories: median over the test part, with the band from tenth to ninetieth percentile. In units of its "
        f"size: {sizes}." + _knowing(drawn) + beyond(evaluation, task),
        title="What should not change",
    )


def _draw_errors(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    units = np.array([task.in_units(t) for t in evaluation.times])
    made = figure(NARROW, 3.2)
    axes, drawn = made.subplots(), shown(evaluation, coarse=True)
    for who, how in drawn.items():
        errors = np.maximum(evaluation.predictions[who].errors, LEAST)[:, 1:]
        low, middle, high = np.quantile(errors, [0.1, 0.5, 0.9], axis=0)
        axes.fill_between(units[1:], low, high, color=how["color"], alpha=0.18, linewidth=0)
        axes.plot(units[1:], middle, **how)
    axes.axhline(VALID, color=FAINT, linewidth=1)
    _mark_trained(axes, task, evaluation.times[-1])
    log_axis(axes.yaxis)
    axes.margins(x=0)
    axes.set_xlabel(time_label(task))
    axes.set_ylabel("error, in deviations")
    made.legend(handles=key(drawn), loc="outside upper left", ncols=2)
    save(
        made,
        run.figures / "errors.png",
        f"Distance of predicted from {evaluation.truth} states, by the deviation of these: median over test "
        f"trajectories, with the band from tenth to ninetieth percentile. A prediction counts as valid below {VALID:g}."
        + _knowing(drawn)
        + beyond(evaluation, task),
        title="How errors grow",
    )


def _draw_trajectories(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    channels = _channels(task)
    units = np.array([task.in_units(t) for t in evaluation.times])
    sample, end = typical(evaluation), units[-1]
    whole = end <= 2.5 * PERIODS
    marker = "o-" if len(units) <= FEW else "-"
    spans = [(0.0, end)] if whole else [(0.0, PERIODS), (end - PERIODS, end)]
    made = figure(WIDE, 0.7 + 1.5 * len(channels))
    panels = made.subplots(len(channels), len(spans), sharey="row", sharex="col", squeeze=False)
    for column, (low, high) in enumerate(spans):
        inside = (units >= low - 1e-9) & (units <= high + 1e-9)
        for row, channel in enumerate(channels):
            axes = panels[row, column]
            axes.plot(units[inside], evaluation.exact[sample, inside, channel], marker, color=OBSERVED, linewidth=1.2)
            for who, how in shown(evaluation).items():
                axes.plot(units[inside], evaluation.predictions[who].states[sample, inside, channel], **how)
            if low <= task.in_units(task.span) <= high:
                _mark_trained(axes, task, evaluation.times[-1])
            axes.margins(x=0.01)
            axes.yaxis.set_major_locator(MaxNLocator(4))
    for row, channel in enumerate(channels):
        panels[row, 0].set_ylabel(_channel_label(task, channel))
        spread = np.ptp(evaluation.exact[sample, :, channel]) or 1.0
        middle = 0.5 * (evaluation.exact[sample, :, channel].max() + evaluation.exact[sample, :, channel].min())
        panels[row, 0].set_ylim(middle - 0.8 * spread, middle + 0.8 * spread)
    for axes in panels[-1]:
        axes.set_xlabel(time_label(task))
    made.align_ylabels(panels[:, 0])
    made.legend(handles=key(shown(evaluation), evaluation.truth), loc="outside upper left", ncols=3)
    when = "A" if whole else f"First and last {PERIODS:g} {task.time_word} of a"
    save(
        made,
        run.figures / "trajectories.png",
        f"{when} test trajectory: the one whose error is the median. Predictions begin at its first state and see "
        "nothing more of it." + beyond(evaluation, task),
        title=f"A trajectory, {evaluation.truth} and predicted",
    )


def _draw_phase(evaluation: Evaluation, run: RunFolder, task: DynamicsTask) -> None:
    x, y = partner(task)
    order = np.argsort(np.ptp(evaluation.exact[..., x], axis=1))
    chosen = order[np.unique(((np.arange(4) + 0.5) / 4 * len(order)).astype(int))]
    units = np.array([task.in_units(t) for t in evaluation.times])
    late = units >= units[-1] - 2 * PERIODS
    who = shown(evaluation)
    made = figure(NARROW * len(who), NARROW * 0.95)
    panels = made.subplots(1, len(who), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, how) in zip(panels, who.items(), strict=True):
        for sample in chosen:
            states = evaluation.predictions[name].states[sample][late]
            axes.plot(
                evaluation.exact[sample, :, x], evaluation.exact[sample, :, y], color=OBSERVED, linewidth=0.5, alpha=0.5
            )
            axes.plot(states[:, x], states[:, y], color=how["color"], linewidth=1.6)
        axes.set_title(name)
        axes.set_xlabel(task.channels[x])
    for k, channel in enumerate((x, y)):
        low, high = evaluation.exact[..., channel].min(), evaluation.exact[..., channel].max()
        room = 0.15 * (high - low)
        (panels[0].set_xlim if k == 0 else panels[0].set_ylim)(low - room, high + room)
    panels[0].set_ylabel(task.channels[y])
    marks = [
        Patch(color=OBSERVED, alpha=0.5, linewidth=0, label=evaluation.truth),
        Patch(color=MODEL, linewidth=0, label="predicted"),
    ]
    made.legend(handles=marks, loc="outside upper left", ncols=2)
    save(
        made,
        run.figures / "phase.png",
        f"Some test trajectories in the plane of {task.channels[x]} and {task.channels[y]}: the "
        f"{evaluation.truth} ones whole, the predicted ones over their last "
        f"{min(2 * PERIODS, units[-1]):.3g} {task.time_word}. What drifts has left its curve.",
        title="Phase portrait",
    )


def _channels(task: DynamicsTask) -> list[int]:
    """Return the channels that are drawn: all, or the first positions and their momenta."""
    if task.dim <= MOST_CHANNELS:
        return list(range(task.dim))
    if task.canonical:
        return [0, 1, task.dim // 2, task.dim // 2 + 1]
    return list(range(MOST_CHANNELS))


def _channel_label(task: DynamicsTask, channel: int) -> str:
    """Name a channel and its unit, which gets a line of its own where it is long."""
    name, unit = task.channels[channel], task.units[channel]
    return f"{name},{chr(10) if len(unit) > 6 else ' '}{unit}" if unit else name


def trajectories_chart(states: Array, times: Array, task: DynamicsTask) -> Figure:
    """Draw predicted trajectories (N, T, D) of a few starts, a row a channel; call it inside ``style()``."""
    channels = _channels(task)
    units = np.array([task.in_units(t) for t in times])
    made = figure(WIDE, 0.7 + 1.5 * len(channels))
    panels = made.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, channel in zip(panels, channels, strict=True):
        for k in range(min(len(states), len(SERIES))):
            axes.plot(units, states[k, :, channel], color=SERIES[k][0], linewidth=1.3, label=f"start {k + 1}")
        _mark_trained(axes, task, times[-1])
        axes.set_ylabel(_channel_label(task, channel))
        axes.margins(x=0.01)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    panels[-1].set_xlabel(time_label(task))
    made.align_ylabels(panels)
    if len(states) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside upper left", ncols=len(handles))
    return made
