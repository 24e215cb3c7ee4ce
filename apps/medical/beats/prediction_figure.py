"""A picture of what was said of a recording: the strips that hold its rarest beats."""

import io
from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from integrand.apps.medical.beats.answers import UNCERTAIN, Answer
from integrand.apps.medical.beats.figures import COLOURS, STRIP
from integrand.apps.training.figures import FAINT, WIDE, figure, style
from integrand.datasets.beat_series import AFTER, BEFORE, BeatSeries
from integrand.datasets.catalogue import RESEARCH_ONLY

STRIPS = 3
"""Strips in a picture."""


def picture(series: BeatSeries, said: list[Answer], suffix: str) -> bytes:
    """Draw the strips with the rarest beats, in the order of time: what was said of each, and how surely.

    Args:
        series: the recording.
        said: of each beat.
        suffix: of the file, ``.png``, ``.pdf`` or ``.svg``.
    """
    content = io.BytesIO()
    with style():
        strips(series, said).savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()


def strips(series: BeatSeries, said: list[Answer]) -> Figure:
    """Return the picture as a figure; see ``picture``."""
    chosen = rarest(series.times, [one.name for one in said])
    with style():
        drawn = figure(WIDE, 1.9 * len(chosen) + 0.7)
        panels = drawn.subplots(len(chosen), 1, squeeze=False)[:, 0]
        for axes, start in zip(panels, chosen, strict=True):
            _draw(axes, series, said, start)
        panels[0].set_title(f"{'simulated ' if series.simulated else ''}recording {series.id}, lead {series.leads[0]}")
        panels[-1].set_xlabel("time (s); ? where the answer is uncertain, shaded where the signal cannot be used")
        drawn.supxlabel(RESEARCH_ONLY, fontsize=8, color=FAINT)
    return drawn


def rarest(times: np.ndarray, names: list[str]) -> list[float]:
    """Return where the strips start whose beats are the rarest by their classes, at most ``STRIPS``, in order.

    A strip counts for as rare as its rarest beat; of those that count alike the first is taken.

    Example:
        >>> rarest(np.arange(0.0, 60.0, 2.0), ["N"] * 17 + ["V"] + ["N"] * 12)
        [0.0, 10.0, 30.0]
    """
    of, total = Counter(names), len(names)
    weights = np.array([np.log(total / of[name]) for name in names])
    starts = np.unique(times // STRIP)
    sums = np.array([weights[times // STRIP == start].max() for start in starts])
    chosen = np.sort(np.argsort(-sums, kind="stable")[:STRIPS])
    return [float(start * STRIP) for start in starts[chosen]]


def _draw(axes: Axes, series: BeatSeries, said: list[Answer], start: float) -> None:
    end = start + STRIP
    times = np.arange(len(series.trace)) / series.rate
    shown = (times >= start) & (times < end)
    x = series.trace[shown, 0]
    axes.plot(times[shown], x, color=FAINT, linewidth=0.9)
    low, high = float(x.min()), float(x.max())
    room = 0.14 * (high - low + 1e-6)
    for beat in np.flatnonzero((series.times >= start) & (series.times < end)):
        at, one = float(series.times[beat]), said[beat]
        if not one.usable:
            axes.axvspan(at - BEFORE, at + AFTER, color="#F0E6D8", linewidth=0)
        mark = "?" if one.answer == UNCERTAIN else ""
        axes.plot([at], [high + room], "v", color=COLOURS.get(one.name, FAINT), markersize=5)
        axes.text(
            *(at, low - 1.5 * room, f"{one.name}{mark}\n{one.probabilities.max():.0%}"),
            ha="center", va="center", color=COLOURS.get(one.name, FAINT), fontsize=8,
        )  # fmt: skip
    axes.set_ylim(low - 3 * room, high + 2 * room)
    axes.set_xlim(start, end)
    axes.set_ylabel("mV")
    axes.grid(axis="x", visible=False)
