"""The house style of pictures, how they are kept with their captions, and the pictures of any training.

A picture is drawn inside ``style()`` on a ``figure(...)`` and handed to ``save``. Narrow pictures are readable at the
width of a phone; wide ones say so by their size, and the report lets them scroll in a box of their own.
"""

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from integrand.apps.training.files import write_atomically, write_json
from integrand.apps.training.metrics_log import read_metrics
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray

DPI = 150
NARROW = 4.1
"""Inches that fill the width of a phone with text of 9 points or more; pictures of this width pair up on a desktop."""
WIDE = 9.4
"""Inches that fill a desktop page."""
TEXT = 11
"""Points of all text: 9.2 where a narrow picture is shrunk to 328 CSS pixels, the inside of a phone's page."""

MODEL = "#0057B8"
"""The model's colour in every picture."""
OBSERVED = "#1F1F1F"
FAINT = "#8A8A8A"
BASELINES = (
    ("#C8811A", (0, (5, 1.5))),
    ("#4D9E86", (0, (1.2, 1.2))),
    ("#A8789F", (0, (5, 1.5, 1.2, 1.5))),
    ("#6B7A8F", (0, (2.5, 1.2))),
    ("#8F3B4E", (0, (1.2, 2.4))),
)
"""Colour and dashes of the baselines, in their order; dashes tell them apart where colours do not."""
SERIES = (("#0057B8", "o"), ("#D1495B", "s"), ("#2E8B77", "^"), ("#B8860B", "D"))
"""Colour and marker of things of equal rank, such as a few example windows."""

TRAINING_FIGURES = ("training.png", "evaluations.png")
"""What ``draw_training`` draws."""

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelcolor": "#333333",
    "axes.edgecolor": "#B0B0B0",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.color": "#B0B0B0",
    "ytick.color": "#B0B0B0",
    "xtick.labelcolor": "#444444",
    "ytick.labelcolor": "#444444",
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "figure.facecolor": "white",
    "text.parse_math": False,  # names of channels and groups are the user's, dollars and all
}
HIGHER_IS_BETTER = frozenset(("accuracy", "auprc", "auroc", "average_precision", "f1", "psnr", "r2", "ssim"))
"""Metrics of which more is better."""
PANELS = 6
"""Curves of a training that are drawn, at most."""
_ACRONYMS = (
    *("crps", "mae", "mse", "rmse", "nrmse", "vrmse", "mase", "nll", "elbo", "kl"),
    *("auroc", "auprc", "ece", "f1", "psnr", "ssim", "fid", "fd", "r2"),
)


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style inside this block; matplotlib's settings are as before after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        for key, value in _STYLE.items():
            mpl.rcParams[key] = value
        yield


def figure(width: float, height: float) -> Figure:
    """Make an empty figure of that many inches, on a canvas that needs no display."""
    made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(drawn: Figure, path: Path, caption: str, *, title: str | None = None) -> Path:
    """Write a figure as PNG and its caption into ``captions.json`` beside it.

    The captions are a list of ``{"file", "title", "caption"}`` in the order in which the pictures were first saved.

    Args:
        drawn: the figure.
        path: the file to write, ``*.png``; its folder is made.
        caption: what the picture shows, as plain text.
        title: its heading; the file's name where None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, png(drawn))
    note(path, caption, title=title)
    return path


def png(drawn: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    content = io.BytesIO()
    with style():
        drawn.savefig(content, format="png", dpi=DPI, metadata={"Software": None})
    return content.getvalue()


def note(path: Path, caption: str, *, title: str | None = None) -> None:
    """Write the caption of a picture into ``captions.json`` beside it; see ``save``."""
    entry = {"file": path.name, "title": title or path.stem.replace("_", " ").capitalize(), "caption": caption}
    entries = {one["file"]: one for one in read_captions(path.parent)}
    entries[path.name] = entry
    write_json(path.parent / "captions.json", list(entries.values()))


def read_captions(folder: Path) -> list[dict[str, str]]:
    """Return the captions of the pictures that are there; a damaged or missing list counts as empty."""
    try:
        entries = json.loads((folder / "captions.json").read_text())
        return [entry for entry in entries if (folder / entry["file"]).is_file()]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def metric_name(name: str) -> str:
    """Return a metric's name as people write it.

    Example:
        >>> metric_name("validation/crps"), metric_name("field_loss")
        ('CRPS', 'field loss')
    """
    word = name.rpartition("/")[2]
    if word in _ACRONYMS:
        return word.upper()
    return word.replace("_", " ").replace(" l2", " L2").replace(" h1", " H1")


def smooth(values: Array, window: int) -> Array:
    """Average over ``window`` neighbours, fewer at both ends; values that are not finite are left out."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    reach = np.minimum(np.minimum(index, index[::-1]), window // 2)
    low, high = index - reach, index + reach + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, str]], *, bold: str | None = None) -> None:
    """Write each line's name at the right of the axes, at the height where it ends, pushed apart where they meet.

    Args:
        axes: what the lines are drawn in; its limits must be final.
        ends: height and colour of each name, in data units.
        bold: the name to stress.
    """
    names = [name for name, (y, _) in ends.items() if math.isfinite(y)]
    if not names or axes.figure is None:
        return
    axes.figure.draw_without_rendering()  # pyright: ignore[reportAttributeAccessIssue] (of every root figure)
    height = axes.get_window_extent().height
    to_pixels = axes.transData.transform
    bottom = axes.get_window_extent().y0
    shown = {name: name.replace(" ", "\n") if len(name) > 12 else name for name in names}
    line = 1.2 * TEXT * DPI / 72
    places = spread_apart(
        [float(to_pixels((0, ends[name][0]))[1]) - bottom for name in names],
        [line * (1 + shown[name].count("\n")) for name in names],
        height,
    )
    for name, place in zip(names, places, strict=True):
        axes.annotate(
            shown[name],
            (1.0, place / height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            linespacing=1.0,
            color=ends[name][1],
            weight="bold" if name == bold else "normal",
            annotation_clip=False,
        )


def spread_apart(centres: Sequence[float], sizes: Sequence[float], room: float) -> list[float]:
    """Move intervals of the given sizes as little as a sweep needs so that none overlap, within 0 to ``room``.

    Example:
        >>> spread_apart([10.0, 11.0], [4.0, 4.0], 100.0)
        [8.5, 12.5]
    """
    order = sorted(range(len(centres)), key=lambda i: centres[i])
    # Neighbours that touch become a block around their mean place, until no blocks touch.
    blocks: list[tuple[list[int], float, float]] = []  # members, length, centre
    for i in order:
        block = ([i], sizes[i], min(max(centres[i], sizes[i] / 2), room - sizes[i] / 2))
        while blocks and blocks[-1][2] + blocks[-1][1] / 2 > block[2] - block[1] / 2:
            before = blocks.pop()
            members, length = before[0] + block[0], before[1] + block[1]
            middle = (before[2] * before[1] + block[2] * block[1]) / length
            block = (members, length, max(min(middle, room - length / 2), length / 2))
        blocks.append(block)
    places = [0.0] * len(centres)
    for members, length, centre in blocks:
        start = centre - length / 2
        for i in members:
            places[i] = start + sizes[i] / 2
            start += sizes[i]
    return places


def log_axis(axis: Axis) -> None:
    """Give an axis a logarithmic scale, its powers of ten written without markup, which pictures do not read.

    Example:
        >>> axes = figure(2, 2).subplots()
        >>> log_axis(axes.yaxis)
        >>> axes.yaxis.get_major_formatter()(0.001, None)
        '10⁻³'
    """
    (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(10, numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda x, _: power_of_ten(x)))
    axis.set_minor_formatter(NullFormatter())


def power_of_ten(x: float) -> str:
    """Return a number as a power of ten, 1 and 10 as they are, and "" where it is none.

    Example:
        >>> power_of_ten(1e-12), power_of_ten(10), power_of_ten(20)
        ('10⁻¹²', '10', '')
    """
    power = round(math.log10(x)) if x > 0 else 0
    if not math.isclose(x, 10.0**power, rel_tol=1e-6):
        return ""
    return f"{x:g}" if power in (0, 1) else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def draw_training(run: RunFolder) -> list[Path]:
    """Draw a training's curves and, where they were counted, its field evaluations; returns the files written.

    ``training.png`` shows the loss of each logged step with its running mean, and every validation metric with its
    best value and, dashed, what was logged of it as ``floor/``; ``evaluations.png`` how often the field was evaluated
    for a forecast. Without a log nothing is drawn.
    """
    rows = read_metrics(run.metrics) if run.metrics.is_file() else []
    curves = {name: _curve(rows, name) for name in sorted({key for row in rows for key in row} - {"step", "epoch"})}
    curves = {name: curve for name, curve in curves.items() if len(curve[0])}
    drawn = []
    with style():
        shown = [name for name in ("train/loss", *curves) if name in curves]
        shown = list(dict.fromkeys(n for n in shown if n == "train/loss" or n.startswith("validation/")))[:PANELS]
        if shown:
            drawn.append(_draw_curves(run, curves, shown))
        if "train/evaluations" in curves:
            drawn.append(_draw_evaluations(run, *curves["train/evaluations"]))
    return drawn


def _curve(rows: list[dict[str, Any]], name: str) -> tuple[Array, Array]:
    there = [row for row in rows if name in row]
    return np.array([row["step"] for row in there]), np.array([row[name] for row in there], dtype=float)


def _draw_curves(run: RunFolder, curves: dict[str, tuple[Array, Array]], shown: list[str]) -> Path:
    made = figure(NARROW, 0.5 + 1.75 * len(shown))
    panels = made.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    told = []
    for axes, name in zip(panels, shown, strict=True):
        steps, values = curves[name]
        finite = values[np.isfinite(values)]
        if name == "train/loss":
            window = 2 * (max(1, len(values) // 25) // 2) + 1
            axes.plot(steps, values, color=MODEL, alpha=0.25, linewidth=1)
            axes.plot(steps, smooth(values, window), color=MODEL, **_dot_if_alone(values))
            axes.set_title("training loss")
            told.append(
                f"The loss of the logged training steps (faint) and its mean over {window} of them."
                if window > 1
                else "The loss of the logged training steps."
            )
            if _falls_far(finite):
                log_axis(axes.yaxis)
            elif len(finite) > 20:  # the first steps may lie far above all others
                low, high = finite.min(), max(np.quantile(finite, 0.99), np.nanmax(smooth(values, window)[window:]))
                axes.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
        else:
            axes.plot(steps, values, color=MODEL, marker="o", markersize=3.5)
            axes.set_title(f"validation {metric_name(name)}")
            if len(finite):
                higher = name.rpartition("/")[2] in HIGHER_IS_BETTER
                best = int(np.nanargmax(values) if higher else np.nanargmin(values))
                axes.plot(
                    steps[best], values[best], "o", color="white", mec=MODEL, markersize=8, mew=1.8, clip_on=False
                )
                extreme = "Highest" if higher else "Lowest"
                told.append(f"{extreme} validation {metric_name(name)}: {values[best]:.4g}, at step {steps[best]:,}.")
            floor = curves[floors][1][-1] if (floors := name.replace("validation/", "floor/")) in curves else None
            if floor is not None:
                axes.axhline(floor, color=OBSERVED, linestyle="--", linewidth=1.2)
                told.append(f"Dashed: {floor:.4g}, what real samples have.")
            if _falls_far(finite) and (floor is None or floor > 0):
                log_axis(axes.yaxis)
        if axes.get_yscale() == "linear":
            axes.yaxis.set_major_locator(MaxNLocator(4))
    _steps_axis(panels[-1])
    made.align_ylabels()
    return save(made, run.figures / "training.png", " ".join(told), title="Loss and validation over training")


def _falls_far(values: Array) -> bool:
    """Return whether a curve falls so far that its end would be a line along the axis."""
    return len(values) > 2 and values.min() > 0 and values.max() > 30 * np.median(values[-max(1, len(values) // 10) :])


def _draw_evaluations(run: RunFolder, steps: Array, counts: Array) -> Path:
    made = figure(NARROW, 2.6)
    axes = made.subplots()
    axes.plot(steps, counts, color=MODEL, **_dot_if_alone(counts))
    low, high = float(np.nanmin(counts)), float(np.nanmax(counts))
    axes.set_ylim(0, 1.25 * max(high, 1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_title("field evaluations for a forecast")
    _steps_axis(axes)
    told = (
        "How often the differential equation's right-hand side was evaluated to solve it once, a mean over the batch. "
    )
    if low == high:
        told += f"It stays at {low:,.4g}: the method takes a fixed number of steps."
    else:
        told += (
            f"It went from {counts[0]:,.4g} to {counts[-1]:,.4g}: the solver takes the steps that its tolerance asks."
        )
    return save(made, run.figures / "evaluations.png", told, title="Field evaluations over training")


def _steps_axis(axes: Axes) -> None:
    axes.set_xlabel("optimiser step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def _dot_if_alone(values: Array) -> dict[str, Any]:
    """Mark the point of a line that has but one."""
    return {"marker": "o", "markersize": 5} if len(values) == 1 else {}
