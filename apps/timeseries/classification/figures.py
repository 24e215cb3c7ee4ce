"""Pictures of a classifier on the test part: what is taken for what, whether probabilities hold, beside baselines."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.series.classification.task import ClassificationTask
from integrand.apps.timeseries.classification.evaluation import ClassificationEvaluation
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray

MOST_CLASSES = 12
"""Classes with names and numbers in the confusion matrix; of more, colours alone."""
BINS = 10
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
        _draw_confusion(evaluation, run)
        _draw_reliability(evaluation, run)
        _draw_examples(evaluation, run, task)


def confusion(labels: Array, predicted: Array, classes: int) -> Array:
    """Count how often each class (rows) is taken for each (columns), (K, K).

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def reliability(probabilities: Array, labels: Array, bins: int = BINS) -> tuple[Array, Array]:
    """Return mean confidence and accuracy (bins,) of bins that hold equally many series, least confident first.

    Example:
        >>> reliability(np.array([[0.9, 0.1], [0.2, 0.8], [0.15, 0.85], [0.6, 0.4]]), np.array([0, 1, 1, 1]), 2)
        (array([0.7  , 0.875]), array([0.5, 1. ]))
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    return np.array([confidence[part].mean() for part in parts]), np.array([right[part].mean() for part in parts])


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


def _draw_confusion(evaluation: ClassificationEvaluation, run: RunFolder) -> None:
    probabilities, classes = evaluation.probabilities[evaluation.name], evaluation.classes
    counts = confusion(evaluation.labels, probabilities.argmax(1), len(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    named = len(classes) <= MOST_CLASSES
    size = NARROW if len(classes) <= 6 else 5.6
    drawn = figure(size, size)
    axes = drawn.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if named:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[row, column] > 0.55 else OBSERVED
                axes.text(column, row, f"{count}", ha="center", va="center", color=colour)
        turned = max(map(len, classes)) > 3
        axes.set_xticks(range(len(classes)), classes, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("class predicted")
    axes.set_ylabel("true class")
    axes.grid(visible=False)
    save(
        drawn,
        run.figures / "confusion.png",
        f"How many test series of each class {evaluation.name} takes for each; the darker, the greater the share of "
        "the true class. Right answers lie on the diagonal.",
        title="Confusion matrix",
    )


def _draw_reliability(evaluation: ClassificationEvaluation, run: RunFolder) -> None:
    drawn = figure(NARROW, NARROW)
    axes = drawn.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    others = [who for who in evaluation.probabilities if who not in (evaluation.name, "majority")]
    looks = [(evaluation.name, MODEL, "solid"), *((who, *look) for who, look in zip(others, BASELINES, strict=False))]
    least = 1.0
    for who, colour, dashes in looks:
        confidence, share = reliability(evaluation.probabilities[who], evaluation.labels)
        axes.plot(confidence, share, color=colour, linestyle=dashes, marker="o", markersize=4, label=who)
        least = min(least, float(confidence.min()), float(share.min()))
    axes.set_xlim(max(0.0, least - 0.05), 1.02)
    axes.set_ylim(max(0.0, least - 0.05), 1.02)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share of them that is right")
    axes.legend(loc="best")
    save(
        drawn,
        run.figures / "reliability.png",
        "Does a probability keep its word? Test series in ten groups of equal size, by the probability given to the "
        "predicted class, against how many of a group are right; on the dashed line both agree, below it the "
        "classifier is too sure.",
        title="Reliability",
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
