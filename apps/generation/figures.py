"""Pictures of a generative run: samples beside real ones, their way from noise, what they copy, and what they cost."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import FuncFormatter, NullLocator
from torch import Tensor

from integrand.apps.generation.evaluation import GenerationEvaluation
from integrand.apps.generation.grids import limits, mosaic, pixels, show
from integrand.apps.generation.planar_figures import draw_density, draw_flow, draw_planar_path
from integrand.apps.generation.sampling import Drawn, SamplingOptions
from integrand.apps.generation.scoring import REAL
from integrand.apps.generation.task import GenerationTask
from integrand.apps.training.animations import save_animation
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, SERIES, figure, save, style
from integrand.apps.training.run_folder import RunFolder

MANY = 64
"""Samples of a mosaic."""
PER_CLASS = 10
"""Samples of a class in it, a row."""
EXAMPLES = 8
"""Samples shown with their nearest training neighbours."""


def draw_figures(evaluation: GenerationEvaluation, run: RunFolder, task: GenerationTask) -> None:
    """Draw all pictures of a run."""
    with style():
        _beside(evaluation, run.figures / "samples.png", task)
        draw_path(run.figures / "path.gif", evaluation.path, task)
        _nearest(evaluation, run.figures / "nearest.png", task)
        _sweep(evaluation, run.figures / "evaluations_per_sample.png")
        if evaluation.bits:
            _bits(evaluation, run.figures / "likelihood.png", task)
        if evaluation.plane is not None:
            draw_density(evaluation.plane, evaluation.drawn.values, task, run.figures / "density.png")
            draw_flow(evaluation.plane, task, run.figures / "flow.png")


def _beside(evaluation: GenerationEvaluation, path: Path, task: GenerationTask) -> None:
    """Real samples, the model's, and those of the first baseline, of the same classes where there are any."""
    picked = _by_class(evaluation.drawn.labels, task)
    real = _by_class(evaluation.test_labels, task)
    name, rows = next(iter(evaluation.baselines.items()))
    others = torch.from_numpy(np.ascontiguousarray(rows)).view(-1, *task.shape)
    drawn = figure(2.4 * NARROW, NARROW * 0.95)
    panels = drawn.subplots(1, 3)
    columns = PER_CLASS if task.kind == "image" and task.classes else None
    for axes, title, values, colour in (
        (panels[0], "Real, test part", evaluation.test[real], OBSERVED),
        (panels[1], evaluation.name, evaluation.drawn.values[picked], MODEL),
        (panels[2], name, others[picked], BASELINES[0][0]),
    ):
        show(axes, values, task, columns=columns, colour=colour)
        axes.set_title(title)
        if task.kind == "points":
            low, high = limits(evaluation.test)
            axes.set_xlim(*low)
            axes.set_ylim(*high)
            axes.set_aspect("equal")
    classes = " A row for each class." if task.kind == "image" and task.classes else ""
    save(
        drawn,
        path,
        f"Samples that the model never saw, samples that it drew, and samples of the {name}. None is chosen by hand: "
        f"they are the first.{classes}",
        title="Samples",
    )


def _by_class(labels: Tensor, task: GenerationTask) -> Tensor:
    """Return the first samples of each class, as many of each, row by row; the first of all without classes."""
    if task.kind != "image":
        return torch.arange(min(len(labels), 2000 if task.kind == "points" else 40))
    if not task.classes:
        return torch.arange(min(len(labels), MANY))
    chosen = []
    for label in range(min(len(task.classes), 10)):
        own = (labels == label).nonzero().flatten()
        if len(own):
            chosen.append(own[torch.arange(PER_CLASS) % len(own)])
    return torch.cat(chosen)


def draw_samples(path: Path, drawn: Drawn, task: GenerationTask, options: SamplingOptions) -> None:
    """Draw samples alone, in the order of their seeds."""
    with style():
        page = figure(NARROW * 1.3, NARROW * 1.3)
        axes = page.subplots()
        show(axes, drawn.values[: 100 if task.kind == "image" else 2000], task)
        axes.set_title(f"{options.method}, {drawn.evaluations} evaluations")
        save(page, path, f"Samples of the seeds {int(drawn.seeds[0])} to {int(drawn.seeds[-1])}.", title="Samples")


def draw_path(path: Path, states: Tensor, task: GenerationTask) -> None:
    """Animate the states (S, n, *shape) of a sampler, in the network's units, from noise to data."""
    if task.kind == "points" and task.dims == 2:
        with style():
            draw_planar_path(path, states, task)
        return
    frames = [*range(len(states)), *[len(states) - 1] * max(4, len(states) // 2)]
    with style():
        page = figure(NARROW, NARROW)
        axes = page.subplots()
        axes.grid(False)
        if task.kind == "image":
            shown = [mosaic(_unrounded(state, task)) for state in states]
            image = axes.imshow(shown[0], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_off()

            def update(i: int) -> Any:
                image.set_data(shown[frames[i]])
        elif task.kind == "series":
            shown = [task.restored(state)[:, 0].numpy() for state in states]
            lines = axes.plot(shown[0].T, linewidth=0.8, alpha=0.6, color=MODEL)
            margin = 0.15 * float(np.ptp(shown[-1]))
            axes.set_ylim(float(shown[-1].min()) - margin, float(shown[-1].max()) + margin)

            def update(i: int) -> Any:
                for line, values in zip(lines, shown[frames[i]], strict=True):
                    line.set_ydata(values)
        else:
            shown = [task.restored(state) for state in states]
            low, high = limits(shown[-1])
            second = min(1, task.shape[0] - 1)
            (dots,) = axes.plot(shown[0][:, 0], shown[0][:, second], ".", markersize=3, color=MODEL)
            axes.set_xlim(*low)
            axes.set_ylim(*high)

            def update(i: int) -> Any:
                dots.set_data(shown[frames[i]][:, 0], shown[frames[i]][:, second])

        caption = "The states of a few samples after every step of the sampler, from noise to data."
        save_animation(page, update, len(frames), path, caption, title="From noise to data", fps=8)


def _unrounded(state: Tensor, task: GenerationTask) -> Tensor:
    """Return network states as images from 0 to 1, before grey values are rounded."""
    if task.levels is None:
        return pixels(task.restored(state), task)
    return ((state * task.scale[0] + task.location[0]) + 1) / 2


def _nearest(evaluation: GenerationEvaluation, path: Path, task: GenerationTask) -> None:
    """Generated samples above the training samples nearest to them, and the distances beside those of real ones."""
    near = evaluation.nearest
    page = figure(NARROW * 1.6, NARROW * (1.1 if task.kind == "image" else 0.8))
    if task.kind == "image":
        above, below = page.subplots(2, 1, height_ratios=(1, 1.6))
        both = torch.cat([evaluation.drawn.values[:EXAMPLES].float(), evaluation.train[near.rows[:EXAMPLES]].float()])
        above.imshow(mosaic(pixels(both, task), EXAMPLES), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        above.set_axis_off()
        above.set_title("drawn, and below the nearest training sample")
    else:
        below = page.subplots()
    ours, theirs = near.distances, near.real_distances
    bins = np.linspace(0, float(torch.cat([ours, theirs]).quantile(0.995)), 30)
    below.hist(theirs, bins=bins.tolist(), density=True, color=FAINT, alpha=0.6, label="unseen real samples")
    below.hist(ours, bins=bins.tolist(), density=True, histtype="step", linewidth=1.8, color=MODEL, label="drawn")
    below.set_xlabel("distance to the nearest training sample")
    below.set_yticks([])
    below.legend()
    save(
        page,
        path,
        "How near drawn samples come to training samples, beside how near real samples come that the model never saw. "
        "A model that copies has its distances piled up at zero.",
        title="Does it copy?",
    )


def _sweep(evaluation: GenerationEvaluation, path: Path) -> None:
    page = figure(NARROW, NARROW * 0.85)
    axes = page.subplots()
    for (colour, marker), method in zip(SERIES, dict.fromkeys(one.method for one in evaluation.swept), strict=False):
        own = [one for one in evaluation.swept if one.method == method]
        axes.plot(
            [one.evaluations for one in own],
            [one.energy_distance for one in own],
            marker=marker,
            color=colour,
            label=method,
        )
    floor = evaluation.results["metrics"][REAL]["energy_distance"]
    axes.axhline(floor, color=OBSERVED, linestyle=":", linewidth=1, label=REAL)
    counts = sorted({one.evaluations for one in evaluation.swept})
    axes.set_xscale("log")
    shown: list[int] = []  # of counts that nearly meet the first alone, that their figures do not run into each other
    for count in counts:
        if not shown or count > 1.2 * shown[-1]:
            shown.append(count)
    axes.set_xticks(shown, [f"{count}" for count in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    # The distance is estimated without bias, and so falls below nought, about which the scale is linear.
    width = 4 * abs(floor) or 1e-3
    axes.set_yscale("symlog", linthresh=width)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}".replace("-", "−")))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("evaluations of the network")
    axes.set_ylabel("energy distance")
    axes.legend()
    save(
        page,
        path,
        "How far samples are from the test part, by the sampler and by the evaluations it may make; the same seeds "
        "throughout. The dotted line is what real samples score; the scale is logarithmic away from it.",
        title="What a sample costs",
    )


def _bits(evaluation: GenerationEvaluation, path: Path, task: GenerationTask) -> None:
    page = figure(NARROW, NARROW * 0.85)
    axes = page.subplots()
    every = np.concatenate(list(evaluation.bits.values()))
    low, high = np.quantile(every, (0.002, 0.998)).tolist()
    bins = np.linspace(low, high, 40)
    styles = [(MODEL, "-"), *BASELINES]
    for (colour, dashes), (name, values) in zip(styles, evaluation.bits.items(), strict=False):
        axes.hist(
            values, bins=bins.tolist(), histtype="step", linewidth=1.8, color=colour, linestyle=dashes, label=name
        )
        axes.axvline(float(values.mean()), color=colour, linestyle=dashes, linewidth=0.9)
    axes.set_xlabel("bits per dimension" if task.levels is not None else "-log density, nats")
    axes.set_ylabel("test samples")
    axes.legend(loc="upper right")
    save(
        page,
        path,
        "The likelihood of each test sample; thin lines are the means. Less is better.",
        title="Likelihood of what was not seen",
    )
