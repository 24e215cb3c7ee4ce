"""Pictures of segments: their leads, what was said of them, and which stretches it was said for.

Dimension letters: L samples, C leads, S stretches.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.training.figures import FAINT, MODEL, OBSERVED, WIDE, figure, save
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.recording import ANY
from integrand.datasets.segments import Segments

Array = np.ndarray
MOST_LEADS = 3
"""Leads in a strip; of more, the first."""


class Strip(NamedTuple):
    """A segment with what is said of it.

    Attributes:
        segment: one.
        title: one line.
        places, weights: (S,) centres, s, of stretches and how much each speaks for the title; None for no shading.
    """

    segment: Segments
    title: str
    places: Array | None = None
    weights: Array | None = None


def draw_strips(run: RunFolder, strips: Sequence[Strip], *, file: str, title: str, caption: str) -> None:
    """Draw segments one below the other, with their beats.

    Args:
        run: where the picture goes.
        strips: at least one.
        file: name of the picture.
        title: its heading.
        caption: what it shows.
    """
    drawn = figure(WIDE, 0.6 + 1.75 * len(strips))
    for number, strip in enumerate(strips):
        axes = drawn.add_subplot(len(strips), 1, number + 1)
        _draw_strip(axes, strip)
        if number == len(strips) - 1:
            axes.set_xlabel("time in the segment (s)")
    save(drawn, run.figures / file, caption, title=title)


def chosen(right: Array, sure: Array, labels: Array, classes: Sequence[str]) -> list[int]:
    """Return segments worth looking at: of each class the surest that is right, then the surest mistakes, two at most.

    Example:
        >>> chosen(np.array([True, True, False]), np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), ["a", "b"])
        [0, 2]
    """
    order = np.argsort(-sure, kind="stable")
    rights = [[int(row) for row in order if right[row] and labels[row] == k][:1] for k in range(len(classes))]
    wrongs = [int(row) for row in order if not right[row]][:2]
    return [row for rows in rights[:4] for row in rows] + wrongs


def _draw_strip(axes: Axes, strip: Strip) -> None:
    signal = strip.segment.signal[0]
    leads = strip.segment.leads[:MOST_LEADS]
    times = np.arange(len(signal)) / strip.segment.rate
    step = 1.15 * max(1e-3, float(np.ptp(signal[:, : len(leads)], axis=0).max()))
    if strip.places is not None and strip.weights is not None:
        _shade(axes, strip.places, strip.weights, strip.segment.seconds)
    for place, lead in enumerate(leads):
        axes.plot(times, signal[:, place] - place * step, color=OBSERVED, linewidth=0.8)
        axes.annotate(
            "any" if lead == ANY else lead,
            (0, -place * step),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=FAINT,
        )
    beats = strip.segment.beats[0]
    if len(beats):
        axes.plot(beats, np.full(len(beats), 0.75 * step), "|", color=FAINT, markersize=5)
    axes.set_xlim(0, strip.segment.seconds)
    axes.set_yticks([])
    axes.set_title(strip.title)
    axes.grid(visible=False)


def _shade(axes: Axes, places: Array, weights: Array, seconds: float) -> None:
    """Shade each stretch by how much it speaks for the title."""
    largest = float(np.abs(weights).max())
    half = (places[1] - places[0]) / 2 if len(places) > 1 else seconds / 2
    for place, weight in zip(places, weights, strict=True):
        if weight > 0 and largest > 0:
            axes.axvspan(place - half, place + half, color=MODEL, alpha=0.35 * float(weight) / largest, linewidth=0)
