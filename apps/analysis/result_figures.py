"""Pictures of what audits measured: answers against evaluations, memory by lag, scores under disturbance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from integrand.apps.analysis.layer_inputs import LayerInput
from integrand.apps.analysis.subject import Subject
from integrand.apps.training.figures import BASELINES, FAINT, MODEL, NARROW, SERIES, figure, log_axis, save
from integrand.core.analysis import Finding, Memory

KINDS = (*SERIES, *((colour, mark) for (colour, _), mark in zip(BASELINES[1:], "vPX<", strict=True)))
"""Colour and marker of each kind of solver or disturbance."""
LEAST = 1e-12
"""Shares below which a logarithmic axis does not go."""


def draw_memory(memories: Sequence[tuple[LayerInput, Memory]], unit: str, path: Path) -> None:
    """Draw the influence of earlier elements on an output, by the time between them."""
    made = figure(NARROW, NARROW * 0.8)
    axes = made.subplots()
    parts = []
    for (colour, _), (one, found) in zip(SERIES, memories, strict=False):
        influence = found.influence.cpu().numpy()
        elapsed = found.elapsed.cpu().numpy()
        axes.plot(elapsed, np.maximum(influence / influence.max(), LEAST), color=colour, label=one.name)
        axes.axvline(found.time_horizon, color=colour, linewidth=0.9, linestyle=(0, (3, 2)))
        parts.append(f"{one.name}: {found.time_horizon:.3g}")
    log_axis(axes.yaxis)
    axes.set_xlabel(f"{unit} before the output")
    axes.set_ylabel("influence, of the greatest")
    if len(memories) > 1:
        axes.legend()
    save(
        made,
        path,
        "How much an output changes with the input so long before it, relative to the greatest such change, on test "
        f"sequences. Dashes: the horizon, within which 99 % of all influence lies ({'; '.join(parts)} {unit}).",
        title="Memory",
    )


def draw_solvers(finding: Finding, subject: Subject, path: Path) -> None:
    """Draw how far answers solved in each way are from the reference, against what they cost."""
    made = figure(NARROW, NARROW * 0.95)
    axes = made.subplots()
    rows = [row for row in finding.rows if float(row["change"]) > 0 and float(row["evaluations"]) > 0]
    families: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        family = str(row["solver"]).split(",")[0].split(" at ")[0]
        families.setdefault(family, []).append((float(row["evaluations"]), max(float(row["change"]), LEAST)))
    for number, (family, points) in enumerate(families.items()):
        colour, marker = KINDS[number % len(KINDS)]
        axes.plot(*np.array(sorted(points)).T, marker=marker, color=colour, linewidth=1.2, markersize=4.5, label=family)
    axes.axhline(0.01, color=FAINT, linewidth=0.9, linestyle=(0, (2, 2)))
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.set_xlabel("evaluations of the field")
    axes.set_ylabel("change of the answers")
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.0)
    save(
        made,
        path,
        f"How far {subject.answers} are from those of a reference in double precision when the same network is solved "
        "in other ways, as a share of their spread. Below the dashed line, at 1 %, they belong to the equation.",
        title="Solved otherwise",
    )


def draw_robustness(finding: Finding, subject: Subject, path: Path) -> None:
    """Draw the score under each kind of disturbance, against its size."""
    kinds = list(dict.fromkeys(str(row["disturbance"]) for row in finding.rows if float(row["level"]) > 0))
    made = figure(NARROW, NARROW * 0.9)
    axes = made.subplots()
    clean = next(float(row["score"]) for row in finding.rows if not float(row["level"]))
    for number, kind in enumerate(kinds):
        colour, marker = KINDS[number % len(KINDS)]
        own = [(float(row["level"]), float(row["score"])) for row in finding.rows if row["disturbance"] == kind]
        axes.plot(*np.array([(0.0, clean), *sorted(own)]).T, marker=marker, color=colour, markersize=4.5, label=kind)
    axes.axhline(clean, color=MODEL, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set_xlabel("size of the disturbance")
    axes.set_ylabel(subject.metric)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, columnspacing=1.0)
    save(
        made,
        path,
        f"The {subject.metric} when the inputs are disturbed, {subject.disturbed.what if subject.disturbed else ''}: "
        "sizes of noise, jitter and adversarial steps are shares of the inputs' spread, those of gaps the share "
        "hidden. Dashed: undisturbed.",
        title="Robustness",
    )
