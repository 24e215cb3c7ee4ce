"""Pictures of a forecaster on the test part: fan charts, latent paths, errors by lead time and channel, calibration.

Dimension letters: G blocks of time, H lead times, K channels, R resamples, P principal components, T latent times,
D latent state.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from scipy.interpolate import CubicSpline

from integrand.apps.timeseries.forecasting.evaluation import Evaluation, Example
from integrand.apps.timeseries.score_figures import (
    Scored,
    draw_calibration,
    draw_channels,
    draw_errors,
    short,
    time_unit,
    with_unit,
)
from integrand.apps.timeseries.scores import Z_LEVEL
from integrand.apps.timeseries.solver_sweep import draw_costs
from integrand.apps.training.figures import (
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
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.forecasting import ForecastTask

Array = np.ndarray

Z_HALF = 0.6744897501960817
"""Half-width of the central 50 % interval of a standard normal."""
MOST_ROWS = 4


def draw(evaluation: Evaluation, run: RunFolder, task: ForecastTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names, units and resolution.
    """
    with style():
        if any(len(example.mean) for example in evaluation.examples):
            _draw_forecasts(evaluation, run, task)
        scored = Scored(
            evaluation.name,
            evaluation.scores,
            evaluation.leads,
            "lead time",
            lambda axes: _finish(axes, evaluation, task),
        )
        draw_errors(scored, run.figures / "horizon.png")
        if any(example.latent.size for example in evaluation.examples):
            _draw_latent(evaluation, run, task)
        draw_channels(scored, task.channels[: task.targets], run.figures / "channels.png")
        draw_calibration(scored, run.figures / "calibration.png")
        if evaluation.costs:
            draw_costs(evaluation.costs, evaluation.costed, run.figures / "speed.png")


def principal_components(states_ND: Array, count: int) -> tuple[Array, Array, Array]:
    """Return the mean (D,), the ``count`` leading axes (P, D) and the share of the variance along each (P,).

    There are at most D axes; each points to the side of its largest coefficient, so that pictures do not flip.
    """
    mean = states_ND.mean(0)
    _, singular, axes = np.linalg.svd(states_ND - mean, full_matrices=False)
    variance = singular**2
    axes = axes[:count]
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    return mean, axes, variance[:count] / max(float(variance.sum()), np.finfo(float).tiny)


def broken_line(times: Array, values: Array, longest: float) -> tuple[Array, Array]:
    """Drop what is missing and put a NaN wherever two neighbours are more than ``longest`` apart, to break a line.

    Example:
        >>> broken_line(np.array([0.0, 1.0, 5.0]), np.array([7.0, 8.0, 9.0]), 1.5)[1]
        array([ 7.,  8., nan,  9.])
    """
    there = np.isfinite(values)
    times, values = times[there], values[there]
    cuts = np.flatnonzero(np.diff(times) > longest) + 1
    return np.insert(times, cuts, np.nan), np.insert(values.astype(float), cuts, np.nan)


def gaps(times: Array, values: Array, task: ForecastTask) -> list[tuple[float, float]]:
    """Return (start, length) of every stretch of the context without an observation of a channel.

    An observation covers half a resolution to either side of it.
    """
    half = task.resolution / 2
    seen = np.concatenate([[-task.context - half], times[np.isfinite(values)], [half]])
    stretches = [(float(a) + half, float(b - a) - 2 * half) for a, b in pairwise(seen)]
    return [(start, length) for start, length in stretches if length > half]


def forecast_chart(examples: Sequence[Example], task: ForecastTask, *, rows: int = MOST_ROWS) -> Figure:
    """Draw fan charts side by side, a column an example and a row a channel; call it inside ``style()``.

    Args:
        examples: at least one, each with forecasts; targets that are NaN throughout are left out of the key.
        task: names, units, context, horizon and resolution.
        rows: the most channels shown, in the task's order.
    """
    rows = min(rows, task.targets)
    made = figure(max(NARROW, WIDE * len(examples) / 4), 1.25 + 1.6 * rows)
    panels = made.subplots(rows, len(examples), sharex=True, sharey="row", squeeze=False)
    for column, example in enumerate(examples):
        panels[0, column].set_title(f"{short(example.group)}\n{example.title}" if example.group else example.title)
        for row in range(rows):
            _fan(panels[row, column], example, row, task)
    for row, axes in enumerate(panels[:, 0]):
        axes.set_ylabel(with_unit(task.channels[row], task.units[row], wrap=True))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    made.align_ylabels(panels[:, 0])
    made.supxlabel(f"{time_unit(task.time_unit)} from the start of the forecast", fontsize="medium", color="#333333")
    key = [
        Line2D([], [], color=OBSERVED, marker="o", markersize=4, linewidth=1, label="observed"),
        Line2D([], [], color=MODEL, label="forecast"),
        Patch(color=MODEL, alpha=0.42, linewidth=0, label="50 %"),
        Patch(color=MODEL, alpha=0.18, linewidth=0, label="90 %"),
        Patch(color="#D9D9D9", linewidth=0, label="no data"),
    ]
    if any(np.isfinite(example.target).any() for example in examples):
        hidden = {"color": OBSERVED, "marker": "o", "markersize": 4.5, "linewidth": 0, "mfc": "white"}
        key.insert(1, Line2D([], [], **hidden, label="what came, hidden"))
    made.legend(
        handles=key, loc="outside upper left", ncols=6 if len(examples) > 2 else 2, columnspacing=1.4, handlelength=1.4
    )
    return made


def _draw_forecasts(evaluation: Evaluation, run: RunFolder, task: ForecastTask) -> None:
    examples = [example for example in evaluation.examples if len(example.mean)]
    made = forecast_chart(examples, task)
    caption = (
        f"Forecasts of {evaluation.name} for {len(examples)} windows, spread evenly over the test part. The model "
        "saw the filled dots left of the line, nothing of the open ones right of it. Lines break, and a grey bar marks "
        "the time, where observations were missing or dropped. Bands hold 50 % and 90 % of what the model expects."
    )
    if task.targets > MOST_ROWS:
        caption += f" Shown are the first {MOST_ROWS} of {task.targets} channels."
    save(made, run.figures / "forecasts.png", caption, title="Forecasts with their uncertainty")


def _fan(axes: Axes, example: Example, k: int, task: ForecastTask) -> None:
    """Draw one channel of one window."""
    past, values = example.context_times, example.context[:, k]
    axes.plot(*broken_line(past, values, 1.5 * task.resolution), color=OBSERVED, linewidth=1)
    axes.plot(past, values, "o", color=OBSERVED, markersize=2.2)
    axes.broken_barh(
        gaps(past, values, task), (0, 0.035), transform=axes.get_xaxis_transform(), color="#D9D9D9", linewidth=0
    )
    ahead, mean, std = example.target_times, example.mean[:, k], example.std[:, k]
    for z, alpha in ((Z_LEVEL, 0.18), (Z_HALF, 0.24)):
        if len(ahead) > 1:
            axes.fill_between(ahead, mean - z * std, mean + z * std, color=MODEL, alpha=alpha, linewidth=0)
        else:
            axes.vlines(ahead, mean - z * std, mean + z * std, color=MODEL, alpha=alpha, linewidth=9)
    axes.plot(ahead, mean, color=MODEL, linewidth=1.6, marker="_" if len(ahead) == 1 else None)
    axes.plot(
        ahead, example.target[:, k], "o", markersize=3.2, markerfacecolor="white", markeredgecolor=OBSERVED, mew=0.8
    )
    axes.axvline(0, color=FAINT, linewidth=1)
    axes.set_xlim(-task.context - task.resolution / 2, task.horizon + task.resolution / 2)
    axes.margins(y=0.09)
    _lead_ticks(axes, task)


def _draw_latent(evaluation: Evaluation, run: RunFolder, task: ForecastTask) -> None:
    examples = [example for example in evaluation.examples if example.latent.size]
    states = np.concatenate([example.latent for example in examples])
    mean, directions, share = principal_components(states.astype(float), 3)
    count = len(directions)
    made = figure(NARROW, (3.9 if count > 1 else 0.5) + 1.3 * count)
    grid = made.add_gridspec(count + (count > 1), 1, height_ratios=[*([2.6] if count > 1 else []), *[1] * count])
    courses = [made.add_subplot(grid[p + (count > 1)]) for p in range(count)]
    plane = made.add_subplot(grid[0]) if count > 1 else None
    for number, example in enumerate(examples):
        (colour, marker), times = SERIES[number % len(SERIES)], example.latent_times
        path = (example.latent - mean) @ directions.T
        fine, smooth = _smooth_path(times, path)
        for p, axes in enumerate(courses):
            axes.plot(fine, smooth[:, p], color=colour, linewidth=1.6)
            axes.plot(times, path[:, p], marker, color=colour, markersize=3.5)
        if plane is not None:
            name = f"{short(example.group)} {example.title}".strip()
            plane.plot(*smooth[:, :2].T, color=colour)
            plane.plot(*path[1:, :2].T, marker, color=colour, markersize=4.5)
            plane.plot(*path[0, :2], marker, color="white", mec=colour, markersize=9, mew=1.8)
            plane.plot([], [], marker=marker, color=colour, markersize=5, label=name)
    for p, axes in enumerate(courses):
        axes.set_title(f"component {p + 1}: {100 * share[p]:.0f} % of the variance")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        if examples[0].latent_times.min() < 0 < examples[0].latent_times.max():
            axes.axvline(0, color=FAINT, linewidth=1)
        axes.label_outer()
        _lead_ticks(axes, task, span=float(np.ptp(examples[0].latent_times)))
    courses[-1].set_xlabel(f"{time_unit(task.time_unit)} from the start of the forecast")
    if plane is not None:
        plane.set(xlabel="component 1", ylabel="component 2")
        plane.margins(0.1)
        plane.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0, handlelength=1.2)
    caption = (
        f"How the latent state, of {states.shape[1]} dimensions, moves through the future of the example windows: "
        "its two leading principal components against each other (hollow: the start), and each component over time. "
        "Markers are the solver's output times, the lines between them cubic splines."
        if count > 1
        else f"How the model's latent state moves through the future of {len(examples)} test windows."
    )
    save(made, run.figures / "latent.png", caption, title="Paths of the latent state")


def _smooth_path(times: Array, path_TP: Array) -> tuple[Array, Array]:
    """Return finer times and the path there; the points themselves where they are too few for a spline."""
    if len(times) < 4 or not (np.diff(times) > 0).all() or not np.isfinite(path_TP).all():
        return times, path_TP
    fine = np.linspace(times[0], times[-1], 12 * len(times))
    return fine, CubicSpline(times, path_TP)(fine)


def _finish(axes: Axes, evaluation: Evaluation, task: ForecastTask) -> None:
    """Finish the axis of lead times."""
    axes.set_xlabel(f"lead time, {time_unit(task.time_unit)}")
    leads = evaluation.leads
    if len(leads) == 1:
        axes.set_xlim(leads[0] - task.resolution, leads[0] + task.resolution)
        axes.set_xticks(leads)
    else:
        axes.set_xlim(leads[0], leads[-1])
        _lead_ticks(axes, task, span=task.horizon)


def _lead_ticks(axes: Axes, task: ForecastTask, span: float | None = None) -> None:
    """Put ticks at whole days or quarters of one where times are hours, at round numbers otherwise."""
    span = span or task.context + task.horizon
    if task.time_unit == "h" and 12 < span <= 24 * 8:
        axes.xaxis.set_major_locator(MultipleLocator(6 if span <= 36 else 24))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=span >= 4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}".replace("-", "−")))
