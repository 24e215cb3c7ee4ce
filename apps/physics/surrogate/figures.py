"""Pictures of a surrogate on the test part: fields beside the truth, errors, spectra, invariants, resolutions.

Dimension letters: n examples, N samples, T times, C channels, X Y grid.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from integrand.apps.physics.surrogate.evaluation import Evaluation
from integrand.apps.training.animations import save_animation
from integrand.apps.training.figures import (
    BASELINES,
    FAINT,
    MODEL,
    NARROW,
    OBSERVED,
    WIDE,
    figure,
    label_ends,
    log_axis,
    save,
    style,
)
from integrand.apps.training.run_folder import RunFolder
from integrand.core.numerics.spectral import PeriodicGrid
from integrand.datasets.fields import FieldTask
from integrand.datasets.simulations import Simulations

Array = np.ndarray
SNAPSHOTS = 4
FEWEST_FRAMES, MOST_FRAMES = 8, 60
"""Steps from which on there is an animation, and the most pictures it has."""
SIGNED, POSITIVE = "RdBu_r", "viridis"


def draw(evaluation: Evaluation, run: RunFolder, task: FieldTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and units.
    """
    dims, steps = evaluation.test.dims, len(evaluation.test.times) - 1
    with style():
        if dims == 1:
            _draw_curves(evaluation, run)
        if dims == 1 and steps > 4:
            _draw_space_time(evaluation, run)
        if dims == 2:
            _draw_maps(evaluation, run)
        if steps > 1:
            _draw_growth(evaluation, run, task)
        if all(evaluation.test.periodic):
            _draw_spectra(evaluation, run)
        if steps > 1 and evaluation.scores[evaluation.name].invariants:
            _draw_invariants(evaluation, run, task)
        if evaluation.sweep:
            _draw_sweep(evaluation, run)
        if steps >= FEWEST_FRAMES and dims <= 2:
            _animate(evaluation, run)


def truth_and_prediction(
    truth: Array, prediction: Array | None, times: Sequence[float], x: Array, *, title: Callable[[int], str], label: str
) -> Figure:
    """Draw curves of a field in one dimension at some times, a row a time; call it inside ``style()``.

    Args:
        truth: (rows, X).
        prediction: the same shape, or None where there is the one alone.
        times: of the rows.
        x: (X,).
        title: of each row.
        label: of the field.
    """
    made = figure(NARROW, 1.0 + 1.35 * len(times))
    panels = made.subplots(len(times), 1, sharex=True, squeeze=False)[:, 0]
    for row, axes in enumerate(panels):
        axes.plot(x, truth[row], color=OBSERVED if prediction is not None else MODEL, linewidth=1.6, label="truth")
        if prediction is not None:
            axes.plot(x, prediction[row], color=MODEL, linestyle=(0, (4, 1.5)), linewidth=1.6, label="prediction")
        axes.set_title(title(row))
        axes.set_ylabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.margins(x=0)
    panels[-1].set_xlabel("x")
    if prediction is not None:
        made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    made.align_ylabels()
    return made


def solution_chart(solutions: Simulations) -> Figure:
    """Draw the first sample of some solutions alone; call it inside ``style()``."""
    steps = len(solutions.times) - 1
    shown = np.unique(np.linspace(0, steps, min(steps, SNAPSHOTS) + 1).round().astype(int))
    values = solutions.values[0, shown, 0].numpy()
    times = [float(solutions.times[step]) for step in shown]
    if solutions.dims == 1:
        x = solutions.coordinates[0].numpy()
        label = solutions.channels[0]
        return truth_and_prediction(values, None, times, x, title=lambda row: f"t = {times[row]:.4g}", label=label)
    flat = values if solutions.dims == 2 else values[..., values.shape[-1] // 2]
    if not steps and solutions.constants is not None and solutions.dims == 2:
        given = solutions.constants[0, 0].numpy()
        return map_chart([("", [given, flat[0]])], (solutions.constant_names[0], "solution"), given=1)
    return map_chart([("", list(flat))], [f"t = {time:.4g}" for time in times])


def _draw_curves(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw one example at some times, and where it is a single step, several examples."""
    test, made = evaluation.test, evaluation.examples[evaluation.name]
    steps = len(test.times) - 1
    x = test.coordinates[0].numpy()
    count = min(SNAPSHOTS, len(made))
    if steps > 1:
        shown = np.unique(np.linspace(0, steps, SNAPSHOTS + 1).round().astype(int)[1:])
        truth, guess = test.values[0, shown, 0].numpy(), made[0, shown, 0].numpy()
        drawn = truth_and_prediction(
            truth,
            guess,
            test.times[shown].tolist(),
            x,
            title=lambda row: f"t = {test.times[shown[row]]:g}",
            label=test.channels[0],
        )
        caption = "The first test sample at some times, from the same start: the truth and what the network made of it."
    else:
        truth, guess = test.values[:count, -1, 0].numpy(), made[:count, -1, 0].numpy()
        drawn = truth_and_prediction(
            truth, guess, [0.0] * count, x, title=lambda row: f"test sample {row + 1}", label=test.channels[0]
        )
        for row, axes in enumerate(drawn.axes):
            if steps:
                axes.plot(x, test.values[row, 0, 0].numpy(), color=FAINT, linewidth=0.9)
        caption = f"The first {count} test samples: truth and prediction" + (
            f" at t = {test.times[-1]:g}; the faint line is where they start." if steps else "."
        )
    save(drawn, run.figures / "fields.png", caption, title="Truth and prediction")


def _draw_space_time(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw truth, prediction and error over space and time as images."""
    test, made = evaluation.test, evaluation.examples[evaluation.name]
    truth, guess = test.values[0, :, 0].T.numpy(), made[0, :, 0].T.double().numpy()
    extent = (float(test.times[0]), float(test.times[-1]), 0.0, test.lengths[0])
    drawn = figure(WIDE, 5.6)
    panels = drawn.subplots(3, 1, sharex=True)
    most = float(np.abs(truth).max())
    error = guess - truth
    largest = float(np.nanmax(np.abs(np.where(np.isfinite(error), error, np.nan)))) or 1.0
    for axes, values, title, bound in zip(
        panels,
        (truth, guess, error),
        ("truth", f"prediction ({evaluation.name})", "error"),
        (most, most, min(largest, 2 * most)),
        strict=True,
    ):
        image = axes.imshow(
            values,
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap=SIGNED,
            vmin=-bound,
            vmax=bound,
            interpolation="nearest",
        )
        axes.set_title(title)
        axes.set_ylabel("x")
        axes.grid(False)
        drawn.colorbar(image, ax=axes, pad=0.01, fraction=0.04)
        _mark_trained(axes, evaluation)
    panels[-1].set_xlabel("time")
    save(
        drawn,
        run.figures / "space_time.png",
        "The first test sample over space and time, rolled out from its first state."
        + _beyond(evaluation, " The vertical line is the end of the time that was trained on."),
        title="Truth, prediction and error over space and time",
    )


def map_chart(rows: Sequence[tuple[str, Sequence[Array]]], titles: Sequence[str], *, given: int = 0) -> Figure:
    """Draw maps, a row a moment or sample with columns as titled; call it inside ``style()``.

    Fields share their colours within a row, but for the first ``given`` columns, such as a permeability, and one titled
    "error", each of which has its own.
    """
    columns = len(titles)
    drawn = figure(max(NARROW, 2.35 * columns), 0.4 + 1.85 * len(rows))
    panels = drawn.subplots(len(rows), columns, squeeze=False)
    for row, (label, images) in enumerate(rows):
        shared = [one for title, one in zip(titles[given:], images[given:], strict=True) if title != "error"]
        low, high = min(float(one.min()) for one in shared), max(float(one.max()) for one in shared)
        for column, image in enumerate(images):
            axes = panels[row, column]
            is_error = titles[column] == "error"
            bound = float(np.abs(image).max()) or 1.0
            own = float(image.min()), float(image.max())
            limits = (-bound, bound) if is_error else own if column < given else (low, high)
            signed = is_error or (limits[0] < 0 < limits[1])
            shown = axes.imshow(
                image.T, origin="lower", cmap=SIGNED if signed else POSITIVE, vmin=limits[0], vmax=limits[1]
            )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            if row == 0:
                axes.set_title(titles[column])
            if column == 0:
                axes.set_ylabel(label)
            drawn.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, ticks=MaxNLocator(3))
    return drawn


def _draw_maps(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw maps of truth, prediction and error: one sample at some times, or several samples of a steady problem."""
    test, made = evaluation.test, evaluation.examples[evaluation.name].double()
    steps = len(test.times) - 1
    rows: list[tuple[str, list[Array]]] = []
    if steps:
        for step in np.unique(np.linspace(0, steps, SNAPSHOTS + 1).round().astype(int)[1:]):
            truth, guess = test.values[0, step, 0].numpy(), made[0, step, 0].numpy()
            rows.append((f"t = {test.times[step]:g}", [truth, guess, guess - truth]))
        titles, caption = ("truth", "prediction", "error"), "The first test sample at some times, rolled out."
    else:
        assert test.constants is not None
        for sample in range(min(SNAPSHOTS, len(made))):
            truth, guess = test.values[sample, 0, 0].numpy(), made[sample, 0, 0].numpy()
            rows.append((f"sample {sample + 1}", [test.constants[sample, 0].numpy(), truth, guess, guess - truth]))
        titles = (test.constant_names[0], "truth", "prediction", "error")
        caption = f"The first {len(rows)} test samples: what is given, the solution, what the network makes of it."
    drawn = map_chart(rows, titles, given=0 if steps else 1)
    save(drawn, run.figures / "fields.png", caption, title="Truth, prediction and error")


def _animate(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw the first test sample moving, the truth beside the prediction."""
    test = evaluation.test
    truth, made = test.values[0, :, 0].numpy(), evaluation.examples[evaluation.name][0, :, 0].double().numpy()
    shown = np.unique(np.linspace(0, len(test.times) - 1, MOST_FRAMES).round().astype(int))
    until = evaluation.results["trained_until"]
    bound = float(np.abs(truth).max())
    if test.dims == 1:
        drawn = figure(NARROW, 2.9)
        axes = drawn.subplots()
        x = test.coordinates[0].numpy()
        (true,) = axes.plot(x, truth[0], color=OBSERVED, linewidth=1.6, label="truth")
        (guess,) = axes.plot(x, made[0], color=MODEL, linestyle=(0, (4, 1.5)), linewidth=1.6, label=evaluation.name)
        axes.set_ylim(-1.15 * bound, 1.15 * bound)
        axes.set_xlabel("x")
        axes.set_ylabel(test.channels[0])
        axes.margins(x=0)
        drawn.legend(loc="outside upper left", ncols=2)
        panels, images = [axes], []
    else:
        drawn = figure(WIDE * 0.6, 2.6)
        panels = list(drawn.subplots(1, 2))
        images = []
        for axes, values, title in zip(panels, (truth, made), ("truth", evaluation.name), strict=True):
            images.append(axes.imshow(values[0].T, origin="lower", cmap=SIGNED, vmin=-bound, vmax=bound))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            axes.set_xlabel(title)

    def update(frame: int) -> None:
        step = shown[frame]
        time = float(test.times[step])
        beyond = ", beyond the trained time" if until is not None and time > until * (1 + 1e-9) else ""
        panels[0].set_title(f"t = {time:.3g}{beyond}")
        if test.dims == 1:
            true.set_ydata(truth[step])
            guess.set_ydata(made[step])
        else:
            images[0].set_data(truth[step].T)
            images[1].set_data(made[step].T)

    save_animation(
        drawn,
        update,
        len(shown),
        run.figures / "rollout.gif",
        "The first test sample from its first state on: the truth and the rollout.",
        title="The rollout, moving",
        fps=12,
    )


def _draw_growth(evaluation: Evaluation, run: RunFolder, task: FieldTask) -> None:
    """Draw error and correlation over the steps, the model's with the band of its samples."""
    times = evaluation.test.times[1:].numpy()
    shown = [name for name in ("relative_l2", "correlation") if name in evaluation.scores[evaluation.name].steps]
    drawn = figure(NARROW, 1.0 + 2.3 * len(shown))
    panels = drawn.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(panels, shown, strict=True):
        ends = {}
        for who, (colour, dashes) in zip(evaluation.scores, _styles(evaluation), strict=True):
            values = evaluation.scores[who].steps[metric]
            middle = np.median(values, axis=0)
            axes.plot(times, middle, color=colour, linestyle=dashes, linewidth=2.0 if who == evaluation.name else 1.4)
            ends[who] = (float(middle[-1]), colour)
            if who == evaluation.name:
                low, high = np.quantile(values, [0.05, 0.95], axis=0)
                axes.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0)
        if metric == "relative_l2":
            log_axis(axes.yaxis)
        axes.set_title("relative L2 error" if metric == "relative_l2" else "correlation with the truth")
        axes.margins(x=0)
        _mark_trained(axes, evaluation)
        label_ends(axes, ends, bold=evaluation.name)
    panels[-1].set_xlabel("time" + (f" ({task.time_unit})" if task.time_unit else ""))
    save(
        drawn,
        run.figures / "growth.png",
        "Errors at each step of the rollout: medians over the test samples; the band holds nine tenths of the model's."
        + _beyond(evaluation, " The vertical line is the end of the time that was trained on."),
        title="How the error grows",
    )


def _draw_spectra(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw the energy by wave number of truth and predictions at the last time."""
    test = evaluation.test
    grid = PeriodicGrid(test.shape, test.lengths)

    def spectrum(values: Tensor) -> tuple[Array, Array]:
        made = grid.energy_spectrum(values[:, -1].double())
        return made.wavenumbers.numpy(), made.energy.sum(1).mean(0).numpy()  # over channels, then samples

    drawn = figure(NARROW, 3.6)
    axes = drawn.subplots()
    few = len(next(iter(evaluation.examples.values())))
    waves, energy = spectrum(test.values[:few])
    kept = slice(1, min(len(waves), min(test.shape) // 2))
    axes.plot(waves[kept], energy[kept], color=OBSERVED, linewidth=2.2, label="truth")
    for who, (colour, dashes) in zip(evaluation.scores, _styles(evaluation), strict=True):
        if who == "persistence":
            continue
        _, energy = spectrum(evaluation.examples[who])
        axes.plot(waves[kept], np.maximum(energy[kept], 1e-30), color=colour, linestyle=dashes, label=who)
    truth = spectrum(test.values[:few])[1][kept]
    axes.set_ylim(max(float(truth.min()) / 10, float(truth.max()) * 1e-16), 5 * float(truth.max()))
    axes.set_xlabel("wave number")
    axes.set_title("energy")
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    drawn.legend(loc="outside upper left", ncols=2, handlelength=1.6)
    save(
        drawn,
        run.figures / "spectra.png",
        f"Half the squared field by wave number at the last time, a mean over {few} test samples.",
        title="Energy spectra",
    )


def _draw_invariants(evaluation: Evaluation, run: RunFolder, task: FieldTask) -> None:
    """Draw what the equation conserves over the rollout of the first test sample."""
    names = list(evaluation.scores[evaluation.name].invariants)
    drawn = figure(NARROW, 0.8 + 1.9 * len(names))
    panels = drawn.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    times = evaluation.test.times.numpy()
    for axes, name in zip(panels, names, strict=True):
        truth = evaluation.scores[evaluation.name].truth_invariants[name][0]
        axes.plot(times, truth, color=OBSERVED, linewidth=2.2, label="truth")
        for who, (colour, dashes) in zip(evaluation.scores, _styles(evaluation), strict=True):
            if who != "persistence":
                axes.plot(times, evaluation.scores[who].invariants[name][0], color=colour, linestyle=dashes, label=who)
        axes.set_title(name)
        axes.margins(x=0)
        _mark_trained(axes, evaluation)
    panels[0].legend(loc="best", handlelength=1.6)
    panels[-1].set_xlabel("time" + (f" ({task.time_unit})" if task.time_unit else ""))
    save(
        drawn,
        run.figures / "invariants.png",
        "What the equation conserves, over the rollout of the first test sample.",
        title="Invariants over time",
    )


def _draw_sweep(evaluation: Evaluation, run: RunFolder) -> None:
    """Draw the error at each resolution asked for."""
    points = np.array(list(evaluation.sweep))
    errors = np.stack([each.numpy() for each in evaluation.sweep.values()])
    drawn = figure(NARROW, 2.9)
    axes = drawn.subplots()
    low, high = np.quantile(errors, [0.05, 0.95], axis=1)
    axes.fill_between(points, low, high, color=MODEL, alpha=0.18, linewidth=0)
    axes.plot(points, errors.mean(1), color=MODEL, marker="o", markersize=4)
    trained = evaluation.sweep[evaluation.trained_points]
    axes.plot(evaluation.trained_points, float(trained.mean()), "o", markersize=9, mfc="white", mec=MODEL, mew=1.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(points, [f"{n}" for n in points])
    axes.minorticks_off()
    axes.set_ylim(0, 1.25 * float(high.max()))
    axes.set_xlabel("points along an axis")
    axes.set_title("relative L2 error")
    save(
        drawn,
        run.figures / "resolutions.png",
        "The same test samples at other resolutions than the one trained at (ring): mean, and the band that holds nine "
        "tenths of the samples.",
        title="Asked at other resolutions",
    )


def _styles(evaluation: Evaluation) -> list[tuple[str, object]]:
    """Return colour and dashes of each solver; the model is the first."""
    others = len(evaluation.scores) - 1
    return [(MODEL, "-"), *(BASELINES[i % len(BASELINES)] for i in range(others))]


def _mark_trained(axes: Axes, evaluation: Evaluation) -> None:
    """Draw a line where the trained time ends, if the test goes on."""
    if (until := evaluation.results["trained_until"]) is not None:
        axes.axvline(until, color=FAINT, linewidth=1.2, linestyle=(0, (2, 2)))


def _beyond(evaluation: Evaluation, text: str) -> str:
    return text if evaluation.results["trained_until"] is not None else ""
