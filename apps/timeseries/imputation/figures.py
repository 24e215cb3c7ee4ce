"""Pictures of an imputer on the test part: windows with what was hidden, errors, calibration."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from integrand.apps.timeseries.imputation.evaluation import Evaluation, Example
from integrand.apps.timeseries.score_figures import (
    Scored,
    draw_calibration,
    draw_channels,
    draw_errors,
    reference,
    short,
    time_unit,
    with_unit,
)
from integrand.apps.timeseries.scores import Z_LEVEL
from integrand.apps.training.figures import BASELINES, MODEL, NARROW, OBSERVED, SERIES, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.imputation import ImputationTask

Array = np.ndarray
MOST_ROWS = 5
ODD = 3.0
"""Score from which a value is ringed: it would be one in 370 of a Gaussian."""
RING = {"marker": "o", "markersize": 8, "mfc": "none", "mec": SERIES[1][0], "mew": 1.2}


def draw(evaluation: Evaluation, run: RunFolder, task: ImputationTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names, units and resolution.
    """
    with style():
        made = imputation_chart(evaluation.examples, task)
        caption = (
            f"Imputations of {evaluation.name} in {len(evaluation.examples)} windows, spread evenly over the test "
            "part. The model saw the filled dots and nothing of the open ones. The band holds 90 % of what it expects; "
            "the broken line is linear interpolation."
        )
        shown = len(_shown(evaluation.examples, task))
        if shown < len(task.channels):
            caption += f" Shown are the {shown} channels of {len(task.channels)} that were measured most often here."
        save(made, run.figures / "imputations.png", caption, title="Imputations beside the hidden truth")
        scored = Scored(
            evaluation.name,
            evaluation.scores,
            np.arange(len(evaluation.distances)),
            "distance to the nearest value",
            lambda axes: _finish(axes, evaluation, task),
        )
        draw_errors(scored, run.figures / "distance.png")
        if reference(evaluation.name, evaluation.scores) is not None:
            draw_channels(scored, task.channels, run.figures / "channels.png")
        draw_calibration(scored, run.figures / "calibration.png")


def imputation_chart(examples: Sequence[Example], task: ImputationTask, *, rows: int = MOST_ROWS) -> Figure:
    """Draw windows side by side, a column an example and a row a channel; call it inside ``style()``.

    Args:
        examples: at least one; what is NaN throughout is left out of the key.
        task: names, units and resolution.
        rows: the most channels shown: those measured most often.
    """
    channels = _shown(examples, task, rows)
    made = figure(max(NARROW, WIDE * len(examples) / 3), 1.3 + 1.5 * len(channels))
    panels = made.subplots(len(channels), len(examples), sharex="col", sharey="row", squeeze=False)
    for column, example in enumerate(examples):
        panels[0, column].set_title(f"{short(example.group)}\n{example.title}" if example.group else example.title)
        for row, channel in enumerate(channels):
            _window(panels[row, column], example, channel)
    for row, axes in enumerate(panels[:, 0]):
        axes.set_ylabel(with_unit(task.channels[channels[row]], task.units[channels[row]], wrap=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    made.align_ylabels(panels[:, 0])
    made.supxlabel(f"{time_unit(task.time_unit)} from the start of the window", fontsize="medium", color="#333333")
    colour, dashes = BASELINES[0]
    key = [
        Line2D([], [], color=OBSERVED, marker="o", markersize=4, linewidth=0, label="observed"),
        Line2D([], [], color=MODEL, label="imputed"),
        Patch(color=MODEL, alpha=0.2, linewidth=0, label="90 %"),
    ]
    if any(np.isfinite(example.line).any() for example in examples):
        key.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1, label="linear interpolation"))
    if any((example.score >= ODD).any() for example in examples):
        key.append(Line2D([], [], **RING, linewidth=0, label=f"does not fit (score of {ODD:g} and more)"))
    if any(np.isfinite(example.hidden).any() for example in examples):
        hidden = {"color": OBSERVED, "marker": "o", "markersize": 4.5, "linewidth": 0, "mfc": "white"}
        key.insert(1, Line2D([], [], **hidden, label="hidden"))
    made.legend(handles=key, loc="outside upper left", ncols=5 if len(examples) > 1 else 2, columnspacing=1.4)
    return made


def _shown(examples: Sequence[Example], task: ImputationTask, rows: int = MOST_ROWS) -> list[int]:
    """Return the channels that are measured most often, in the task's order."""
    seen = [np.isfinite(example.given).sum(0) + np.isfinite(example.hidden).sum(0) for example in examples]
    return sorted(np.argsort(-np.sum(seen, axis=0), kind="stable")[: min(rows, len(task.channels))].tolist())


def _window(axes: Axes, example: Example, k: int) -> None:
    """Draw one channel of one window."""
    times, mean, std = example.times, example.mean[:, k], example.std[:, k]
    colour, dashes = BASELINES[0]
    # The model is not asked where a value is known: there the band closes on it.
    known = np.isfinite(example.given[:, k])
    mean, std = np.where(known, example.given[:, k], mean), np.where(known, 0, std)
    axes.fill_between(times, mean - Z_LEVEL * std, mean + Z_LEVEL * std, color=MODEL, alpha=0.2, linewidth=0)
    axes.plot(times, example.line[:, k], color=colour, linestyle=dashes, linewidth=1)
    axes.plot(times, mean, color=MODEL, linewidth=1.4)
    axes.plot(times, example.given[:, k], "o", color=OBSERVED, markersize=2.4)
    axes.plot(times, example.hidden[:, k], "o", markersize=3.2, mfc="white", mec=OBSERVED, mew=0.8)
    axes.plot(times, np.where(example.score[:, k] >= ODD, example.given[:, k], np.nan), linewidth=0, **RING)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.01, y=0.1)


def _finish(axes: Axes, evaluation: Evaluation, task: ImputationTask) -> None:
    """Finish the axis of distances."""
    last = len(evaluation.distances) - 1
    words = [*(f"{edge:.3g}" for edge in evaluation.distances[:-1]), "none"]
    axes.set_xlabel(f"{time_unit(task.time_unit)} to the nearest value, at most")
    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: words[int(x)] if x == int(x) and 0 <= x <= last else ""))
