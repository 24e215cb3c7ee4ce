"""Pictures of a judge of stays: ranking, reliability, abstention, and a few patients hour by hour."""

import numpy as np
from matplotlib.axes import Axes

from integrand.apps.medical.abstention import risk_coverage
from integrand.apps.medical.icu.evaluation import IcuEvaluation
from integrand.apps.medical.icu.task import IcuTask
from integrand.apps.medical.icu.timelines import Timeline
from integrand.apps.training.class_figures import draw_abstention, draw_curves, draw_reliability
from integrand.apps.training.figures import MODEL, SERIES, WIDE, figure, save, style
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
RESEARCH = "Research use only."
SHOWN = 4
"""Variables in a timeline: those observed most often."""
NAMED = 14
"""Variables in a picture of what raised a risk: those that did most."""


def draw(evaluation: IcuEvaluation, run: RunFolder, task: IcuTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and scales.
    """
    last = len(evaluation.classes) - 1
    own = evaluation.labels == last
    ranked = {who: (p[:, last], own) for who, p in evaluation.probabilities.items() if who != "majority"}
    judged = {who: p for who, p in evaluation.probabilities.items() if who != "majority"}
    abstained = {
        who: risk_coverage(p.max(1), (p.argmax(1) != evaluation.labels).astype(float)) for who, p in judged.items()
    }
    with style():
        draw_curves(run, ranked, samples="test stays", of=evaluation.classes[last], groups=evaluation.patients)
        draw_reliability(run, judged, evaluation.labels, name=evaluation.name, samples="test stays")
        draw_abstention(run, abstained, samples="test stays", what="share of wrong answers")
        if evaluation.timelines:
            _draw_timelines(evaluation, run, task)
            _draw_attribution(evaluation, run, task)


def _draw_timelines(evaluation: IcuEvaluation, run: RunFolder, task: IcuTask) -> None:
    count = len(evaluation.timelines)
    drawn = figure(WIDE, 4.6)
    for place, (told, (times, values)) in enumerate(zip(evaluation.timelines, evaluation.observed, strict=True)):
        above, below = drawn.add_subplot(2, count, place + 1), drawn.add_subplot(2, count, count + place + 1)
        _draw_observed(above, times, values, task.channels)
        above.set_title(f"stay {told.id}\n{evaluation.classes[told.happened]}")
        below.plot(told.hours, told.risks, color=MODEL)
        below.set_ylim(0, 1)
        below.set_xlabel("hours since admission")
        for axes in (above, below):
            axes.set_xlim(0, task.cutoff)
        if place == 0:
            above.set_ylabel("observed")
            below.set_ylabel(f"risk: {evaluation.classes[-1]}")
        else:
            below.tick_params(labelleft=False)
    save(
        drawn,
        run.figures / "timelines.png",
        f"A few test stays, at the quarters of the risks of those who {evaluation.classes[-1]} and of the others. "
        f"Above, what was observed of the {SHOWN} variables observed most often, in their own units; below, the risk "
        f"as {evaluation.name} tells it at each hour with only what was known by then. {RESEARCH}",
        title="Patients hour by hour",
    )


def _draw_observed(axes: Axes, times: Array, values: Array, channels: list[str]) -> None:
    seen = np.isfinite(values)
    often = np.argsort(-seen.sum(0), kind="stable")[:SHOWN]
    for channel, (colour, marker) in zip(often, SERIES, strict=False):
        there = seen[:, channel]
        if there.any():
            axes.plot(
                times[there],
                values[there, channel],
                color=colour,
                marker=marker,
                markersize=2,
                linewidth=0.8,
                label=channels[channel],
            )
    if seen.any():
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, handlelength=1.0)
    axes.tick_params(labelbottom=False)


def _draw_attribution(evaluation: IcuEvaluation, run: RunFolder, task: IcuTask) -> None:
    count = len(evaluation.timelines)
    drawn = figure(WIDE, 4.2)
    for place, told in enumerate(evaluation.timelines):
        _draw_raised(drawn.add_subplot(1, count, place + 1), told, task.channels)
    save(
        drawn,
        run.figures / "attribution.png",
        f"What raised (red) and lowered (blue) the risk that {evaluation.name} tells at the end, of the same stays: "
        "the risk less the one told when a variable's observations in six hours are taken away. Grey cells had none. "
        f"It says what the model goes by, not what caused the outcome. {RESEARCH}",
        title="Which observations raised the risk",
    )


def _draw_raised(axes: Axes, told: Timeline, channels: list[str]) -> None:
    most = np.argsort(-np.abs(told.raised).max(1), kind="stable")[:NAMED]
    shown = told.raised[most]
    limit = max(float(np.abs(shown).max(initial=0)), 1e-6)
    axes.set_facecolor("#EEEEEE")
    axes.pcolormesh(
        told.windows,
        np.arange(len(most) + 1),
        np.where(shown == 0, np.nan, shown),
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
    )
    axes.set_yticks(np.arange(len(most)) + 0.5, [channels[place] for place in most], fontsize=7)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xlabel("hours")
    axes.set_title(f"stay {told.id}\nup to {limit:.0%}")
