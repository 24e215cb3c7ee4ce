"""Pictures of a classifier on the test part: what is taken for what, whether probabilities hold, beside baselines."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.timeseries.classification.evaluation import ClassificationEvaluation
from integrand.apps.training.class_figures import draw_confusion, draw_reliability
from integrand.apps.training.class_scores import confusion
from integrand.apps.training.figures import FAINT, MODEL, NARROW, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray

MOST_CHANNELS = 6


def draw(evaluation: ClassificationEvaluation, run: RunFolder, task: ClassificationTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and scales.
    """
    with style():
        _draw_comparison(evaluation, run)
        said, labels = evaluation.probabilities, evaluation.labels
        draw_confusion(
            run,
            confusion(labels, said[evaluation.name].argmax(1), len(evaluation.classes)),
            evaluation.classes,
            name=evaluation.name,
            samples="test series",
        )
        others = {who: one for who, one in said.items() if who not in (evaluation.name, "majority")}
        draw_reliability(
            run, {evaluation.name: said[evaluation.name], **others}, labels, name=evaluation.name, samples="test series"
        )
        _draw_examples(evaluation, run, task)


def _draw_comparison(evaluation: ClassificationEvaluation, run: RunFolder) -> None:
    results = evaluation.results
    order = sorted(results["metrics"], key=lambda who: results["metrics"][who]["accuracy"])
    drawn = figure(NARROW, 1.3 + 0.32 * len(order))
    axes = drawn.add_subplot()
    for place, who in enumerate(order):
        low, high = results["intervals"][who]["accuracy"]
        value = results["metrics"][who]["accuracy"]
        colour = MODEL if who == evaluation.name else FAINT
        axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.45)
        axes.plot([value], [place], "o", color=colour)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("accuracy on the test part")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.06, y=0.12)
    save(
        drawn,
        run.figures / "comparison.png",
        "Share of test series classified rightly, the model in blue and the baselines in grey. Bars are 95 % intervals "
        "by resampling series within each class.",
        title="Model and baselines",
    )


def _draw_examples(evaluation: ClassificationEvaluation, run: RunFolder, task: ClassificationTask) -> None:
    probabilities = evaluation.probabilities[evaluation.name]
    right = probabilities.argmax(1) == evaluation.labels
    sure = probabilities.max(1)
    chosen = _chosen(right, sure)
    drawn = figure(WIDE, 2.6)
    for place, (number, told) in enumerate(chosen):
        axes = drawn.add_subplot(1, len(chosen), place + 1)
        row = int(evaluation.part.rows[number])
        _draw_series(axes, evaluation.part.series.times[row], evaluation.part.series.values[row], task)
        guess = int(probabilities[number].argmax())
        axes.set_title(f"{told}\n{evaluation.classes[guess]}, {sure[number]:.0%} (is {_true(evaluation, number)})")
        axes.set_xlabel(f"time ({task.time_unit})" if task.time_unit else "time")
        if place == 0:
            axes.set_ylabel("standardised")
    first = f"the first {MOST_CHANNELS} of {len(task.channels)}" if len(task.channels) > MOST_CHANNELS else "the"
    save(
        drawn,
        run.figures / "examples.png",
        f"Test series with what {evaluation.name} says of them: one it is surest of, one of median probability, and "
        f"the surest of its mistakes where it made any. Lines are {first} channels.",
        title="Examples",
    )


def _chosen(right: Array, sure: Array) -> list[tuple[int, str]]:
    order = np.argsort(sure, kind="stable")
    rights, wrongs = [i for i in order if right[i]], [i for i in order if not right[i]]
    chosen: list[tuple[int, str]] = []
    if rights:
        chosen += [(int(rights[-1]), "surest"), (int(rights[len(rights) // 2]), "median")]
    if wrongs:
        chosen.append((int(wrongs[-1]), "surest mistake"))
    return chosen


def _draw_series(axes: Axes, times: Array, values: Array, task: ClassificationTask) -> None:
    scaled = (values - np.asarray(task.location)) / np.asarray(task.scale)
    shades: Any = np.linspace(1.0, 0.25, min(MOST_CHANNELS, scaled.shape[1]))
    for channel, shade in enumerate(shades):
        there = np.isfinite(scaled[:, channel])
        axes.plot(times[there], scaled[there, channel], color=MODEL, alpha=float(shade), linewidth=1.2)


def _true(evaluation: ClassificationEvaluation, number: int) -> str:
    return evaluation.classes[int(evaluation.labels[number])]
