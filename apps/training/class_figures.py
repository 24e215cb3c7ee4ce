"""Pictures of class probabilities: what is taken for what, whether they hold, how they rank, and what silence buys.

Dimension letters: N samples, K classes, R resamples.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.training.class_scores import group_weights
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray

MOST_CLASSES = 12
"""Classes with names and numbers in the confusion matrix; of more, colours alone."""
BINS = 10
GRID = 201
"""Places at which curves and their bands are drawn."""
RESAMPLES = 400
"""Of a band."""
MOST_SAMPLES = 20_000
"""Samples that a band is drawn from; of more, evenly chosen ones."""


class Curve(NamedTuple):
    """A curve with its 95 % band, each (GRID,)."""

    x: Array
    y: Array
    low: Array
    high: Array


def reliability(probabilities: Array, labels: Array, bins: int = BINS) -> tuple[Array, Array]:
    """Return mean confidence and accuracy (bins,) of bins that hold equally many samples, least confident first.

    Example:
        >>> reliability(np.array([[0.9, 0.1], [0.2, 0.8], [0.15, 0.85], [0.6, 0.4]]), np.array([0, 1, 1, 1]), 2)
        (array([0.7  , 0.875]), array([0.5, 1. ]))
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    return np.array([confidence[part].mean() for part in parts]), np.array([right[part].mean() for part in parts])


def draw_confusion(
    run: RunFolder, counts: Array, classes: Sequence[str], *, name: str, samples: str, file: str = "confusion.png"
) -> None:
    """Draw a confusion matrix, (K, K).

    Args:
        run: where the picture goes.
        counts: rows the true classes.
        classes: names of the K classes.
        name: of the classifier.
        samples: what is counted, as in "test series".
        file: name of the picture.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = NARROW if len(classes) <= 6 else 5.6
    drawn = figure(size, size)
    axes = drawn.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= MOST_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if share[row, column] > 0.55 else OBSERVED
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
        turned = max(map(len, classes)) > 3
        axes.set_xticks(range(len(classes)), classes, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("class predicted")
    axes.set_ylabel("true class")
    axes.grid(visible=False)
    save(
        drawn,
        run.figures / file,
        f"How many {samples} of each class {name} takes for each; the darker, the greater the share of the true class. "
        "Right answers lie on the diagonal.",
        title="Confusion matrix",
    )


def draw_reliability(
    run: RunFolder, probabilities: Mapping[str, Array], labels: Array, *, name: str, samples: str
) -> None:
    """Draw how far the probabilities of several classifiers keep their word.

    Args:
        run: where the picture goes.
        probabilities: (N, K) by classifier, the one to be judged first.
        labels: (N,).
        name: of the one to be judged.
        samples: what they are, as in "test series".
    """
    drawn = figure(NARROW, NARROW)
    axes = drawn.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    others = [who for who in probabilities if who != name]
    looks = [(name, MODEL, "solid"), *((who, *look) for who, look in zip(others, BASELINES, strict=False))]
    least = 1.0
    for who, colour, dashes in looks:
        confidence, share = reliability(probabilities[who], labels)
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
        f"Does a probability keep its word? {samples.capitalize()} in ten groups of equal size, by the probability "
        "given to the predicted class, against how many of a group are right; on the dashed line both agree, below it "
        "the classifier is too sure.",
        title="Reliability",
    )


def draw_curves(
    run: RunFolder, scores: Mapping[str, tuple[Array, Array]], *, samples: str, of: str, groups: Array | None = None
) -> None:
    """Draw the receiver operating characteristic and precision against recall, with bands by the bootstrap.

    Args:
        run: where the picture goes.
        scores: by name, (N,) the score of each sample and (N,) bool, whether it belongs to the class.
        samples: what they are, as in "test records".
        of: what the curves are named after, as in "classes".
        groups: (N,) of which patient each sample is; None where each stands for itself.
    """
    drawn = figure(WIDE, NARROW)
    left, right = drawn.add_subplot(1, 2, 1), drawn.add_subplot(1, 2, 2)
    left.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    looks = [(MODEL, "solid"), *BASELINES]
    for (who, (score, own)), (colour, dashes) in zip(scores.items(), looks, strict=False):
        roc, precision = curves(score, own, groups)
        for axes, curve in ((left, roc), (right, precision)):
            axes.plot(curve.x, curve.y, color=colour, linestyle=dashes, label=who)
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        right.axhline(float(own.mean()), color=colour, linewidth=0.8, linestyle=(0, (1, 3)))
    found = "share of its own that is found"
    _label(left, "share of the others taken for it", found, "Receiver operating characteristic")
    _label(right, f"{found} (recall)", "share of those named that are right", "Precision and recall")
    left.legend(loc="lower right")
    save(
        drawn,
        run.figures / "curves.png",
        f"How the scores rank {samples}, {of}: on the left each threshold's hits against false alarms, the dashed line "
        "is chance; on the right its precision against recall, the dotted line is the class's share. Bands are 95 % "
        "intervals by resampling " + ("patients." if groups is not None else f"{samples}."),
        title="Ranking",
    )


def draw_abstention(run: RunFolder, curve: Mapping[str, tuple[Array, Array]], *, samples: str, what: str) -> None:
    """Draw the error among what is answered against the share that is answered, the surest first.

    Args:
        run: where the picture goes.
        curve: by classifier, shares answered and errors among them, see ``risk_coverage``.
        samples: what is answered, as in "test beats".
        what: the error's name, as in "share of wrong answers".
    """
    drawn = figure(NARROW, NARROW * 0.85)
    axes = drawn.add_subplot()
    for (who, (share, error)), (colour, dashes) in zip(curve.items(), [(MODEL, "solid"), *BASELINES], strict=False):
        axes.plot(share, error, color=colour, linestyle=dashes, label=who)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"share of {samples} that is answered")
    axes.set_ylabel(what)
    axes.legend(loc="upper left")
    save(
        drawn,
        run.figures / "abstention.png",
        f"What it gains to stay silent when unsure: {samples} are answered from the surest on, and the curve tells the "
        f"{what} among those answered. At the right all are.",
        title="Abstention",
    )


def curves(score: Array, own: Array, groups: Array | None = None, *, seed: int = 0) -> tuple[Curve, Curve]:
    """Return the receiver operating characteristic, and precision against recall, of one class.

    Args:
        score: (N,) larger where it rather belongs to the class.
        own: (N,) bool, whether it does.
        groups: (N,) of which patient each sample is; they are resampled whole.
        seed: of the resampling.

    Example:
        >>> roc, precision = curves(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, True, False, False]))
        >>> float(roc.y.min()), float(precision.y.min())
        (1.0, 1.0)
    """
    if len(score) > MOST_SAMPLES:
        chosen = np.linspace(0, len(score) - 1, MOST_SAMPLES).astype(np.int64)
        score, own = score[chosen], own[chosen]
        groups = None if groups is None else groups[chosen]
    order = np.argsort(-score, kind="stable")
    score, own = score[order], own[order]
    groups = np.arange(len(score)) if groups is None else groups[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)
    grid = np.linspace(0, 1, GRID)

    def both(weight: Array) -> tuple[Array, Array]:
        hits, alarms = np.cumsum(weight * own)[last], np.cumsum(weight * ~own)[last]
        found, false = hits / max(hits[-1], 1e-12), alarms / max(alarms[-1], 1e-12)
        precise = hits / np.maximum(hits + alarms, 1e-12)
        # Of thresholds that find as much, or raise as many false alarms, the best counts.
        best = np.maximum.accumulate(precise[::-1])[::-1]
        place = np.searchsorted(found, grid - 1e-12).clip(max=len(found) - 1)
        reach = np.searchsorted(false, grid + 1e-12, side="right") - 1
        return np.where(reach >= 0, found[reach.clip(min=0)], 0.0), best[place]

    weights = group_weights(groups, RESAMPLES, np.random.default_rng(seed))
    drawn = np.array([both(weight) for weight in weights if (weight * own).any() and (weight * ~own).any()])
    whole = both(np.ones(len(score)))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) else (np.array(whole), np.array(whole))
    return Curve(grid, whole[0], low[0], high[0]), Curve(grid, whole[1], low[1], high[1])


def _label(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
