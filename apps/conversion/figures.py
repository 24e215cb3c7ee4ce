"""The picture of a conversion: what finer steps change, and how far each block goes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from integrand.apps.conversion.conversion import Conversion
from integrand.apps.training.figures import FAINT, MODEL, SERIES, WIDE, figure, save, style


def draw_refinement(done: Conversion, path: Path) -> Path:
    """Draw the differences of successive refinements and the step of each block."""
    with style():
        made = figure(WIDE, 3.4)
        left, right = made.subplots(1, 2)
        told = _draw_differences(left, done)
        _draw_moved(right, done)
        return save(
            made,
            path,
            f"{told} Right: how far each block moves its state, in shares of the state's size. A solution in small "
            "steps has small shares that change little from one block to the next.",
            title="The network as a differential equation",
        )


def _draw_differences(axes: Axes, done: Conversion) -> str:
    steps = np.array([row.steps for row in done.finer[:-1]], dtype=float)
    apart = np.array([row.apart for row in done.finer[:-1]])
    axes.set_title("change of outputs by twice the steps")
    axes.set_xlabel("steps a block")
    if (apart > 0).all():
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        line = apart[0] * steps[0] / steps
        axes.plot(steps, line, "--", color=FAINT)
        place = {"xytext": (-8, -6), "textcoords": "offset points", "va": "top", "ha": "right"}
        axes.annotate("order 1", (steps[1], line[1]), color=FAINT, **place)
        axes.set_ylim(0.6 * min(apart.min(), line[-1]), 1.6 * apart.max())
        axes.yaxis.set_major_locator(FixedLocator(list(apart)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.2g} %"))
    axes.plot(steps, apart, "o-", color=MODEL)
    axes.xaxis.set_major_locator(FixedLocator(list(steps)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    return (
        "Left: relative change of the outputs where each block takes twice as many steps: "
        f"{apart[0]:.2g} from one step to two. Where the network is near the solution of its equation the changes fall "
        "as the dashed line does."
    )


def _draw_moved(axes: Axes, done: Conversion) -> None:
    for number, (moved, chain) in enumerate(zip(done.moved, done.chains, strict=True)):
        colour, marker = SERIES[number % len(SERIES)]
        axes.plot(
            range(1, len(moved) + 1), moved, f"{marker}-", color=colour, label=f"stack {number + 1}: {chain.kind}"
        )
    axes.set_title("step of each block / size of the state")
    axes.set_xlabel("block")
    axes.set_ylim(0, 1.1 * max(max(moved) for moved in done.moved) or 1)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(done.moved) > 1:
        axes.legend(loc="lower left")
