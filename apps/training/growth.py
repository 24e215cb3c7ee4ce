"""How errors grow over time: what a run keeps of it, and the picture of several runs with the band of their seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.training.figures import BASELINES, FAINT, NARROW, SERIES, figure, log_axis, png, style
from integrand.apps.training.seed_groups import SeedGroup

Array = np.ndarray
MOST = 400
"""Times that are kept of a longer curve."""
ROOM = 100
"""How far above the groups and the best baseline the axis may reach: what blew up is cut."""


def growth(
    quantity: str, *, axis: str, times: Array, errors: Mapping[str, Array], until: float | None
) -> dict[str, Any]:
    """Return what ``results["growth"]`` keeps of errors over time, as plain values; ``draw_growth`` reads it.

        {"quantity", "axis", "times": [...], "errors": {WHO: [...]}, "until"}

    The errors are medians over the test samples; one that is not finite is None. Of more than 400 times as many, evenly
    spread, are kept.

    Args:
        quantity: what the errors are, such as ``"relative L2 error"``.
        axis: what the times are, such as ``"time (s)"``.
        times: (T,).
        errors: (N, T) of the model and each baseline.
        until: the time up to which training looked, where the test goes on beyond it.

    Example:
        >>> errors = {"fno": np.array([[0.1, 0.2], [0.3, 0.6]])}
        >>> growth("error", axis="time", times=np.array([1.0, 2.0]), errors=errors, until=None)["errors"]
        {'fno': [0.2, 0.4]}
    """
    kept = np.unique(np.linspace(0, len(times) - 1, min(len(times), MOST)).round().astype(int))
    with np.errstate(invalid="ignore"):
        medians = {who: np.median(one[:, kept], axis=0) for who, one in errors.items()}
    return {
        "quantity": quantity,
        "axis": axis,
        "times": [float(time) for time in times[kept]],
        "errors": {who: [_short(value) for value in one] for who, one in medians.items()},
        "until": until,
    }


@dataclass(frozen=True)
class Growth:
    """The picture: a PNG, its title, and what it shows."""

    content: bytes
    title: str
    caption: str


def draw_growth(groups: Sequence[SeedGroup]) -> Growth | None:
    """Draw the mean error of each group over time with the band of its seeds, and the baselines of the first run.

    None where no group of several seeds has kept its errors; other groups and runs that have not are left out, and so
    is one whose errors are another quantity than those of the first group.

    Args:
        groups: all tested on the same data.
    """
    shown = [group for group in groups if all(one.get("growth") for one in group.results)]
    if not any(group.several for group in shown):
        return None
    first = shown[0].results[0]["growth"]
    shown = [group for group in shown if _same(group, first)]
    with style():
        made = figure(NARROW, 3.1 + 0.2 * (len(shown) + len(first["errors"])))
        axes = made.subplots()
        tops = [_draw_group(axes, group, i, alone=len(shown) == 1) for i, group in enumerate(shown)]
        best = _draw_baselines(axes, shown[0])
        log_axis(axes.yaxis)
        if math.isfinite(limit := ROOM * max([*tops, best])):
            axes.set_ylim(top=min(axes.get_ylim()[1], limit))
        if first["until"] is not None:
            axes.axvline(first["until"], color=FAINT, linewidth=1.2, linestyle=(0, (2, 2)))
        axes.margins(x=0)
        axes.set_title(first["quantity"])
        axes.set_xlabel(first["axis"])
        made.legend(loc="outside upper left", ncols=1, handlelength=1.6)
        content = png(made)
    return Growth(content, "How errors grow, over seeds", _caption(shown, first))


def _same(group: SeedGroup, first: Mapping[str, Any]) -> bool:
    """Tell whether a group's errors can stand in the picture: the same quantity, and all its runs at the same times."""
    kept = [one["growth"] for one in group.results]
    return all(
        (one["quantity"], one["axis"], one["times"]) == (first["quantity"], first["axis"], kept[0]["times"])
        for one in kept
    )


def _draw_group(axes: Axes, group: SeedGroup, number: int, *, alone: bool) -> float:
    """Draw a group's model, return the greatest error shown."""
    model, (colour, _) = group.results[0]["model"], SERIES[number % len(SERIES)]
    values = _values([one["growth"] for one in group.results], model)
    times = group.results[0]["growth"]["times"]
    if group.several:
        axes.fill_between(times, values.min(0), values.max(0), color=colour, alpha=0.22, linewidth=0)
    label = (
        f"{model}, {len(group.labels)} seeds" if alone else f"{model}, run{'s' if group.several else ''} {group.name}"
    )
    axes.plot(times, values.mean(0), color=colour, linewidth=2.0, label=label)
    return _most(values)


def _draw_baselines(axes: Axes, group: SeedGroup) -> float:
    """Draw the baselines of a group's first run; return the greatest error of the best of them."""
    first = group.results[0]
    others = [who for who in first["growth"]["errors"] if who != first["model"]]
    most = []
    for i, who in enumerate(others):
        colour, dashes = BASELINES[i % len(BASELINES)]
        values = _values([first["growth"]], who)[0]
        axes.plot(first["growth"]["times"], values, color=colour, linestyle=dashes, linewidth=1.4, label=who)
        most.append(_most(values))
    return min(most, default=-math.inf)


def _values(kept: Sequence[Mapping[str, Any]], who: str) -> Array:
    """Return errors (runs, T); NaN where there is none, or one that a logarithm cannot show."""
    values = np.array([one["errors"][who] for one in kept], dtype=float)
    return np.where(values > 0, values, np.nan)


def _most(values: Array) -> float:
    return float(np.max(values, initial=-math.inf, where=np.isfinite(values)))


def _caption(shown: Sequence[SeedGroup], first: Mapping[str, Any]) -> str:
    told = (
        "Medians over the test samples at each time. A full line is their mean over the seeds of a group of runs, its "
        "band reaches from the least to the greatest of them."
    )
    if len(first["errors"]) > 1:
        told += f" Broken lines are what run {shown[0].labels[0]} was compared with."
    if first["until"] is not None:
        told += " The vertical line is the end of the time that was trained on."
    return told


def _short(value: float) -> float | None:
    """Return a number with six digits, None where it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
