"""Pictures of synthetic tables beside real ones: marginals, associations, and what learners make of them.

Dimension letters: N rows, C columns that change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from integrand.apps.generation.tabular.evaluation import TableEvaluation
from integrand.apps.generation.tabular.resemblance import association_difference
from integrand.apps.generation.tabular.table_scores import TableScores
from integrand.apps.generation.tabular.task import TableTask
from integrand.apps.generation.tabular.transfer import LOWER_IS_BETTER, Transfer
from integrand.apps.training.figures import (
    BASELINES,
    FAINT,
    MODEL,
    NARROW,
    OBSERVED,
    WIDE,
    figure,
    metric_name,
    save,
    style,
)
from integrand.apps.training.run_folder import RunFolder
from integrand.core.errors import InputError
from integrand.datasets.table_kinds import NUMBERS, Column
from integrand.datasets.table_schema import TableSchema

MOST_COLUMNS = 12
"""Columns whose marginals are drawn: those that differ most."""
ACROSS, UPRIGHT = 19, 9
"""Letters that stand side by side below a panel, and of one word that stands upright."""
MOST_CATEGORIES = 8
MOST_NAMED = 31
"""Columns with names beside the matrix of associations."""
BINS = 24


def draw_figures(evaluation: TableEvaluation, run: RunFolder, task: TableTask) -> None:
    """Draw all pictures of a run."""
    scores, schema = evaluation.scores[evaluation.name], task.codec.schema
    with style():
        distances = scores.marginals
        draw_marginals(schema, evaluation.test, evaluation.synthetic, distances, run.figures / "columns.png")
        if len(scores.columns) > 1:
            draw_associations(scores, run.figures / "associations.png")
        if scores.transfer:
            transfers = {who: one.transfer for who, one in evaluation.scores.items()}
            draw_transfer(transfers, evaluation.name, run.figures / "transfer.png")


def draw_marginals(
    schema: TableSchema, real: pd.DataFrame, synthetic: pd.DataFrame, distances: Mapping[str, float], path: Path
) -> None:
    """Draw how the columns are distributed in real test rows and in synthetic rows.

    Args:
        schema: of the columns.
        real, synthetic: the rows.
        distances: of each column, see ``marginal_distances``; the columns that differ most are drawn.
        path: the picture.
    """
    shown = sorted(schema.modelled, key=lambda column: -distances[column.name])[:MOST_COLUMNS]
    first, second = schema.check(real), schema.check(synthetic)
    across = min(len(shown), 4)
    down = -(-len(shown) // across)
    made = figure(NARROW if across == 1 else WIDE, 0.6 + 1.9 * down)
    panels = made.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, column in zip(panels, shown, strict=False):
        draw = _draw_numbers if column.kind in NUMBERS and column.kind != "ordinal" else _draw_categories
        draw(axes, column, first[column.name], second[column.name])
        axes.set_title(_short(column.name))
        axes.annotate(
            f"{distances[column.name]:.2f}", (1, 1), (0, 3), "axes fraction", "offset points", ha="right", va="bottom"
        )
        axes.set_yticks([])
    handles, names = panels[0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside upper left", ncols=2)
    caption = (
        "How the columns are distributed in real test rows (grey) and in synthetic rows (blue). The number is the "
        "Kolmogorov-Smirnov distance of a column of numbers, the total variation of one of categories: 0 the same, 1 "
        "apart."
    )
    if len(shown) < len(schema.modelled):
        caption += f" Shown are the {len(shown)} columns of {len(schema.modelled)} that differ most."
    save(made, path, caption, title="Columns, real and synthetic")


def draw_associations(scores: TableScores, path: Path) -> None:
    """Draw how strongly columns go together in real and in synthetic rows, side by side."""
    made = figure(WIDE, 0.4 * WIDE + 0.3)
    panels = made.subplots(1, 2, sharey=True)
    image = None
    for axes, title, matrix in zip(panels, ("real", "synthetic"), (scores.real, scores.synthetic), strict=True):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_title(title)
        axes.grid(visible=False)
        axes.set_xticks([])
        named = range(len(scores.columns)) if len(scores.columns) <= MOST_NAMED else []
        # Rows of names taller than the matrix's own would overlap.
        size = min(11.0, 250 / max(len(scores.columns), 1))
        axes.set_yticks(named, [_short(scores.columns[k]) for k in named], fontsize=size)
    assert image is not None
    made.colorbar(image, ax=panels, shrink=0.8)
    caption = (
        "How strongly each two columns go together in real test rows and in synthetic rows: correlation of two "
        "numbers, correlation ratio of a number and a category, Cramér's V of two categories. On average over pairs "
        f"the two differ by {association_difference(scores.real, scores.synthetic):.3f}."
    )
    save(made, path, caption, title="Columns together, real and synthetic")


def draw_transfer(scores: Mapping[str, Sequence[Transfer]], name: str, path: Path) -> None:
    """Draw what learners reach on real test rows, by what they learned from.

    Args:
        scores: of the model and of baselines by name, of the same learners.
        name: the model's.
        path: the picture.

    Raises:
        InputError: a model without scores.
    """
    if not scores.get(name):
        raise InputError(f"there are no scores of learners for {name!r}: name a target column.")
    shown = [place for place, one in enumerate(scores[name]) if one.metric not in LOWER_IS_BETTER]
    made = figure(NARROW, 0.8 + (0.8 + 0.36 * len(scores)) * len(shown))
    panels = made.subplots(len(shown), 1, squeeze=False)[:, 0]
    for axes, place in zip(panels, shown, strict=True):
        one = scores[name][place]
        bars = [("real rows", one.real, one.real_std, FAINT)]
        others = [who for who in scores if who != name]
        looks = {who: BASELINES[k % len(BASELINES)][0] for k, who in enumerate(others)}
        for who in (name, *others):
            made_by = scores[who][place]
            bars.append((who, made_by.synthetic, made_by.synthetic_std, MODEL if who == name else looks[who]))
        _draw_bars(axes, bars)
        axes.set_title(f"{metric_name(one.metric)}, {one.learner}")
    ratios = " and ".join(
        f"{scores[name][k].ratio:.3f} ({scores[name][k].learner}, {metric_name(scores[name][k].metric)})" for k in shown
    )
    caption = (
        "What classifiers or regressions reach on real test rows, having learned from real training rows (grey), from "
        f"rows of {name} (blue) or of simple methods; means over seeds, with their deviation. Beside real rows those "
        f"of {name} are worth {ratios}."
    )
    save(made, path, caption, title="Train on synthetic, test on real")


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, float, float, str]]) -> None:
    for place, (_, value, deviation, colour) in enumerate(bars):
        axes.barh(place, value, color=colour, height=0.7, xerr=deviation, ecolor=OBSERVED)
        axes.annotate(
            f"{value:.3f}", (1, place), (5, 0), axes.get_yaxis_transform(), "offset points", va="center", color=colour
        )
    axes.axvline(bars[0][1], color=OBSERVED, linewidth=1)
    axes.set_yticks(range(len(bars)), [_short(bar[0].replace(" ", "\n"), 30) for bar in bars], linespacing=0.95)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    low = min(0.0, *(bar[1] for bar in bars))
    axes.set_xlim(1.05 * low, 1.05 * max(bar[1] + bar[2] for bar in bars))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _draw_numbers(axes: Axes, column: Column, real: np.ndarray, synthetic: np.ndarray) -> None:
    real, synthetic = real[np.isfinite(real)], synthetic[np.isfinite(synthetic)]
    every = np.concatenate([real, synthetic, [column.low]])
    edges = np.histogram_bin_edges(every, BINS).tolist()
    axes.hist(real, edges, density=True, color=FAINT, alpha=0.55, label="real test rows")
    axes.hist(synthetic, edges, density=True, histtype="step", color=MODEL, linewidth=1.8, label="synthetic rows")
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))
    if column.kind == "datetime":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: str(np.datetime64(int(x), "s"))[:7]))


def _draw_categories(axes: Axes, column: Column, real: np.ndarray, synthetic: np.ndarray) -> None:
    names = [*map(str, column.categories), "missing"]
    codes = [np.where(np.isfinite(one) & (one >= 0), one, -1).astype(np.int64) for one in (real, synthetic)]
    shares = [np.bincount(one % len(names), minlength=len(names)) / len(one) for one in codes]
    order = np.argsort(-(shares[0] + shares[1]), kind="stable")[:MOST_CATEGORIES]
    order = order[(shares[0] + shares[1])[order] > 0]
    if column.kind == "ordinal":
        order = np.sort(order)  # the least first, what is missing last
    places = np.arange(len(order))
    axes.bar(places, shares[0][order], color=FAINT, alpha=0.55, width=0.8, label="real test rows")
    axes.bar(places, shares[1][order], fill=False, edgecolor=MODEL, linewidth=1.8, width=0.8, label="synthetic rows")
    labels = [_short(names[k], UPRIGHT) for k in order]
    crowded = sum(len(label) + 1 for label in labels) > ACROSS
    axes.set_xticks(places, labels, rotation=90 if crowded else 0)
    axes.grid(visible=False, axis="x")


def _short(name: str, longest: int = 17) -> str:
    """Return a name that fits beside or above a panel."""
    return name if len(name) <= longest else name[: max(longest - 1, 1)] + "…"
