"""Pictures of a namer of beats on the test part: strips, mistakes, ranks, trust, and what it looked at."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from integrand.apps.medical.abstention import risk_coverage
from integrand.apps.medical.beats.attribution import AROUND, attribution
from integrand.apps.medical.beats.evaluation import BeatEvaluation
from integrand.apps.medical.beats.metrics import confusion
from integrand.apps.medical.beats.models.ecg_ode import EcgOdeBeatNetwork
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.medical.beats.waves import draw_waves
from integrand.apps.training.class_figures import draw_abstention, draw_confusion, draw_curves, draw_reliability
from integrand.apps.training.figures import FAINT, MODEL, NARROW, OBSERVED, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder
from integrand.datasets.beat_series import BEFORE, BeatSeries

Array = np.ndarray

STRIP = 10.0
"""Seconds of a strip."""
COLOURS = {"N": "#6B7A8F", "S": "#C8811A", "V": "#D1495B", "F": "#7A4EA8", "Q": "#2E8B77"}
"""Colour of each class."""
FEATURES = 6
"""Features with a bar each, the strongest."""


def draw(evaluation: BeatEvaluation, run: RunFolder, task: BeatTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and scales.
    """
    said, labels, name = evaluation.probabilities, evaluation.labels, evaluation.name
    others = {who: p for who, p in said.items() if who not in (name, "majority")}
    shown = {name: said[name], **others}
    with style():
        _draw_comparison(evaluation, run)
        draw_strips(evaluation, run)
        counts = confusion(said[name].argmax(1), labels, len(evaluation.classes))
        draw_confusion(run, counts, evaluation.classes, name=name, samples="test beats")
        ranked = {
            f"{kind} against the rest": (said[name][:, place], labels == place)
            for place, kind in enumerate(evaluation.classes)
            if kind != "N" and (labels == place).sum() >= 10
        }
        if ranked:
            draw_curves(run, ranked, samples="test beats", of="by class", groups=evaluation.patients)
        draw_reliability(run, shown, labels, name=name, samples="test beats")
        abstaining = {who: risk_coverage(p.max(1), (p.argmax(1) != labels).astype(float)) for who, p in shown.items()}
        draw_abstention(run, abstaining, samples="test beats", what="share of wrong names")
        draw_attribution(evaluation, run, task)
        if isinstance(evaluation.module.network, EcgOdeBeatNetwork):
            richest = max(evaluation.series, key=lambda each: len(np.unique(each.labels[each.usable])))
            draw_waves(evaluation.module, richest, run.figures / "waves.png")


def _draw_comparison(evaluation: BeatEvaluation, run: RunFolder) -> None:
    results = evaluation.results
    order = sorted(results["metrics"], key=lambda who: results["metrics"][who]["macro_f1"])
    drawn = figure(NARROW, 1.3 + 0.32 * len(order))
    axes = drawn.add_subplot()
    for place, who in enumerate(order):
        low, high = results["intervals"][who]["macro_f1"]
        colour = MODEL if who == evaluation.name else FAINT
        axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.45)
        axes.plot([results["metrics"][who]["macro_f1"]], [place], "o", color=colour)
    axes.set_yticks(range(len(order)), order)
    axes.set_xlabel("macro F1 on the test part")
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.06, y=0.12)
    save(
        drawn,
        run.figures / "comparison.png",
        "Mean over the classes of F1 on test beats, the model in blue and the baselines in grey. Bars are 95 % "
        "intervals by resampling patients.",
        title="Model and baselines",
    )


def draw_strips(evaluation: BeatEvaluation, run: RunFolder) -> None:
    """Draw three strips: the one of most kinds of beats, the one with the surest mistakes, and one without any."""
    chosen = _chosen(evaluation)
    drawn = figure(WIDE, 2.05 * len(chosen) + 0.4)
    first = _starts(evaluation.series)
    rows_of = drawn.subplots(len(chosen), 1, squeeze=False)[:, 0]
    for axes, (told, number, start) in zip(rows_of, chosen, strict=True):
        series = evaluation.series[number]
        rows = slice(first[number], first[number] + len(series))
        draw_strip(axes, series, start, evaluation.probabilities[evaluation.name][rows], evaluation.classes)
        axes.set_title(f"{told}: patient {series.patient}, lead {series.leads[0]}")
    rows_of[-1].set_xlabel("time (s)")
    what = "simulated recordings" if any(each.simulated for each in evaluation.series) else "recordings"
    save(
        drawn,
        run.figures / "strips.png",
        f"Ten seconds of three test {what}, as the network sees them. Above each beat its true class, below what "
        f"{evaluation.name} says and how sure it is; a framed answer is wrong.",
        title="Strips",
    )


def draw_strip(axes: Axes, series: BeatSeries, start: float, p: Array, classes: list[str]) -> None:
    """Draw ``STRIP`` seconds of a recording with its beats.

    Args:
        axes: where.
        series: the recording.
        start: seconds.
        p: (N, K) probabilities of its beats.
        classes: names of the K classes.
    """
    span = slice(max(0, int(start * series.rate)), int((start + STRIP) * series.rate))
    trace = series.trace[span, 0]
    times = (np.arange(len(trace)) + span.start) / series.rate
    axes.plot(times, trace, color=OBSERVED, linewidth=0.9)
    low, high = float(trace.min()), float(trace.max())
    room = 0.14 * (high - low + 1e-6)
    for beat in np.flatnonzero((series.times >= start) & (series.times < start + STRIP)):
        at, said, true = float(series.times[beat]), classes[int(p[beat].argmax())], classes[int(series.labels[beat])]
        axes.text(at, high + room, true, ha="center", va="center", color=COLOURS[true], fontweight="bold")
        frame = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": OBSERVED} if said != true else None
        axes.text(
            *(at, low - 1.3 * room, f"{said}\n{p[beat].max():.0%}"),
            ha="center", va="center", color=COLOURS[said], fontsize=8, bbox=frame,
        )  # fmt: skip
    axes.set_ylim(low - 2.6 * room, high + 2 * room)
    axes.set_xlim(start, start + STRIP)
    axes.set_ylabel("mV")
    axes.grid(axis="x", visible=False)


def _starts(series: list[BeatSeries]) -> Array:
    return np.cumsum([0, *(len(each) for each in series)])


def _chosen(evaluation: BeatEvaluation) -> list[tuple[str, int, float]]:
    """Return what is told of each strip, the number of its recording and where it starts."""
    p, first = evaluation.probabilities[evaluation.name], _starts(evaluation.series)
    found: dict[str, tuple[float, int, float]] = {}
    for number, series in enumerate(evaluation.series):
        own = p[first[number] : first[number + 1]]
        wrong = own.argmax(1) != series.labels
        for start in np.arange(0, max(1e-9, len(series.trace) / series.rate - STRIP + 1e-9), STRIP):
            rows = (series.times >= start) & (series.times < start + STRIP)
            if rows.sum() < 3:
                continue
            rare = np.bincount(series.labels[rows], minlength=len(evaluation.classes))
            kinds = float((rare > 0).sum() + 0.1 * min(5, rare[1:].sum()) - wrong[rows].mean())
            sure = float((own.max(1) * wrong)[rows].max())
            still = float((own.max(1))[rows].min() + (rare[1:].sum() > 0)) if not wrong[rows].any() else -1.0
            for told, value in (("most kinds", kinds), ("surest mistake", sure), ("no mistake", still)):
                if value > found.get(told, (0.0,))[0]:
                    found[told] = (value, number, float(start))
    return [(told, number, start) for told, (_, number, start) in found.items()] or [("first", 0, 0.0)]


def draw_attribution(evaluation: BeatEvaluation, run: RunFolder, task: BeatTask) -> None:
    """Draw which samples and features speak for the surest beat of each class but N that was named rightly."""
    shown = _surest(evaluation)
    if not shown:
        return
    drawn = figure(WIDE, 2.5 * len(shown) + 0.3)
    panels = drawn.subplots(len(shown), 2, squeeze=False, width_ratios=(2.2, 1))
    for (left, right), (place, number, beat) in zip(panels, shown, strict=True):
        series = evaluation.series[number]
        windows, features = attribution(evaluation.module, series, beat, place)
        _draw_parts(left, series, beat, windows)
        left.set_title(f"{evaluation.classes[place]}: patient {series.patient}, beat at {series.times[beat]:.1f} s")
        order = np.argsort(-np.abs(features))[:FEATURES][::-1]
        colours = [COLOURS["V"] if features[one] > 0 else MODEL for one in order]
        right.barh(range(len(order)), features[order], color=colours)
        right.set_yticks(range(len(order)), [task.features[one] for one in order])
        right.axvline(0, color=FAINT, linewidth=0.8)
        right.grid(axis="y", visible=False)
    panels[-1, 0].set_xlabel("time (s)")
    panels[-1, 1].set_xlabel("nats for the class")
    save(
        drawn,
        run.figures / "attribution.png",
        "What speaks for the surest right beat of each rarer class: red samples and bars speak for it, blue ones "
        "against it; the framed beat is the one named. Left the first lead with its neighbours: what the log odds of "
        "the class lose where 40 ms of the trace look as in the patient's usual beat. Right the strongest features of "
        "rhythm and shape of that beat, by integrated gradients.",
        title="What it looked at",
    )


def _surest(evaluation: BeatEvaluation) -> list[tuple[int, int, int]]:
    """Return class, recording and beat of the surest right answer of each class but N."""
    p, first = evaluation.probabilities[evaluation.name], _starts(evaluation.series)
    found = []
    for place, name in enumerate(evaluation.classes):
        right = (evaluation.labels == place) & (p.argmax(1) == place)
        if name != "N" and right.any():
            row = int(np.where(right, p[:, place], -1).argmax())
            number = int(np.searchsorted(first, row, side="right")) - 1
            found.append((place, number, row - int(first[number])))
    return found


def _draw_parts(axes: Axes, series: BeatSeries, beat: int, parts: Array) -> None:
    """Draw the trace around a beat, each sample coloured by what it adds."""
    rate, first = series.rate, max(0, beat - AROUND)
    total = np.zeros(len(series.trace))
    for row, own in enumerate(parts):
        start = round((series.times[first + row] - BEFORE) * rate)
        places = np.arange(start, start + len(own))
        inside = (places >= 0) & (places < len(total))
        np.add.at(total, places[inside], own[inside])
    shown = np.flatnonzero(np.abs(np.arange(len(total)) / rate - series.times[beat]) <= 2.5)
    x, y, value = shown / rate, series.trace[shown, 0], total[shown]
    points = np.stack([x, y], axis=1)
    limit = float(np.abs(value).max()) or 1.0
    lines = LineCollection(np.stack([points[:-1], points[1:]], axis=1), cmap="coolwarm", linewidths=2.6)  # pyright: ignore[reportArgumentType]
    lines.set_array(value[:-1])
    lines.set_clim(-limit, limit)
    axes.plot(x, y, color=OBSERVED, linewidth=0.6)
    lines.set_alpha(np.minimum(1.0, 0.15 + np.abs(value[:-1]) / (0.3 * limit)).tolist())
    axes.add_collection(lines)
    axes.axvspan(series.times[beat] - BEFORE, series.times[beat] + 0.45, fill=False, edgecolor=OBSERVED, linewidth=0.8)
    axes.set_xlim(x[0], x[-1])
    axes.set_ylabel("mV")
