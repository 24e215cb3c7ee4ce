"""Pictures of a namer of rhythms on the test part."""

import numpy as np

from integrand.apps.medical.rhythm.evaluation import RhythmEvaluation
from integrand.apps.medical.segments.figures import Strip, chosen, draw_strips
from integrand.apps.medical.segments.scoring import occlusion
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.class_figures import (
    draw_abstention,
    draw_confusion,
    draw_curves,
    draw_reliability,
)
from integrand.apps.training.class_scores import confusion
from integrand.apps.training.figures import style
from integrand.apps.training.run_folder import RunFolder

SAMPLES = "test segments"


def draw(evaluation: RhythmEvaluation, run: RunFolder, task: SegmentTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and scales.
    """
    name, labels, classes = evaluation.name, evaluation.labels, task.classes
    p = evaluation.probabilities[name]
    shown = {who: one for who, one in evaluation.probabilities.items() if who != "majority"}
    with style():
        _draw_segments(evaluation, run, task)
        draw_confusion(run, confusion(labels, p.argmax(axis=1), len(classes)), classes, name=name, samples=SAMPLES)
        draw_reliability(run, shown, labels, name=name, samples=SAMPLES)
        present = [k for k in range(len(classes)) if 0 < (labels == k).mean() < 1]
        if present:
            draw_curves(
                run,
                {classes[k]: (p[:, k], labels == k) for k in present[-5:]},
                samples=SAMPLES,
                of="rhythm by rhythm",
                groups=evaluation.patients,
            )
        draw_abstention(
            run,
            {who: one for who, one in evaluation.abstention.items() if who in shown},
            samples=SAMPLES,
            what="share of wrong names",
        )


def _draw_segments(evaluation: RhythmEvaluation, run: RunFolder, task: SegmentTask) -> None:
    p, labels = evaluation.probabilities[evaluation.name], evaluation.labels
    said, sure = p.argmax(axis=1), p.max(axis=1)
    strips = []
    for row in chosen(said == labels, sure, labels, task.classes):
        segment = evaluation.segments.at([row])
        places, weights = occlusion(evaluation.module, segment, int(said[row]))
        true = task.classes[labels[row]]
        told = f"{task.classes[said[row]]}, {sure[row]:.0%}" + ("" if said[row] == labels[row] else f" (is {true})")
        where = f"{segment.records[0]} from {segment.starts[0]:g} s"
        # A network that sees the intervals alone looks at no stretch.
        looks = bool(np.abs(weights).max() > 0)
        strips.append(Strip(segment, f"{told}: {where}", places if looks else None, weights if looks else None))
    made = "Simulated patients. " if task.simulated else ""
    draw_strips(
        run,
        strips,
        file="segments.png",
        title="Segments",
        caption=f"{made}Of each rhythm the test segment that {evaluation.name} is surest of, then the surest mistakes, "
        "if there are any. The bluer a stretch, the more the name rests on it: how far its score over the next falls "
        "when a second there is covered. Ticks are the marked beats.",
    )
