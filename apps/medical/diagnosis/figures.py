"""Pictures of diagnoses on the test part.

Dimension letters: N segments, K labels.
"""

import numpy as np

from integrand.apps.medical.abstention import risk_coverage
from integrand.apps.medical.diagnosis.evaluation import DiagnosisEvaluation
from integrand.apps.medical.segments.figures import Strip, draw_strips
from integrand.apps.medical.segments.scoring import occlusion
from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training.class_figures import draw_abstention, draw_curves, draw_reliability
from integrand.apps.training.figures import style
from integrand.apps.training.run_folder import RunFolder

Array = np.ndarray
SAMPLES = "test segments"
MOST_CURVES = 6
MOST_STRIPS = 5


def draw(evaluation: DiagnosisEvaluation, run: RunFolder, task: SegmentTask) -> None:
    """Draw every picture of a run's evaluation into its ``figures/``, with captions.

    Args:
        evaluation: what was measured on the test part.
        run: where the pictures go.
        task: names and scales.
    """
    name, labels = evaluation.name, evaluation.segments.labels
    p = evaluation.probabilities[name]
    patients = np.array(evaluation.segments.patients)
    shown = {who: one for who, one in evaluation.probabilities.items() if who != "shares"}
    with style():
        _draw_segments(evaluation, run, task)
        often = np.argsort(-labels.sum(axis=0), kind="stable")
        mixed = [k for k in often if labels[:, k].any() and not labels[:, k].all()][:MOST_CURVES]
        if mixed:
            scores = {task.classes[k]: (p[:, k], labels[:, k]) for k in mixed}
            draw_curves(run, scores, samples=SAMPLES, of="label by label", groups=patients)
        # Every label of every segment is a sample of two classes, no and yes.
        pairs = {who: np.stack([1 - one, one], axis=-1).reshape(-1, 2) for who, one in shown.items()}
        draw_reliability(run, pairs, labels.reshape(-1).astype(np.int64), name=name, samples="labels of test segments")
        draw_abstention(
            run,
            {who: _abstention(one, labels, evaluation.thresholds[who]) for who, one in shown.items()},
            samples="test labels",
            what="share of wrong answers",
        )


def _abstention(p: Array, labels: Array, thresholds: Array) -> tuple[Array, Array]:
    """Return shares answered and errors, the answers surest whose probability is farthest from its threshold."""
    named = p >= thresholds
    far = np.where(named, (p - thresholds) / np.maximum(1 - thresholds, 1e-9), (thresholds - p) / thresholds.clip(1e-9))
    return risk_coverage(far.reshape(-1), (named != labels).reshape(-1))


def _draw_segments(evaluation: DiagnosisEvaluation, run: RunFolder, task: SegmentTask) -> None:
    p, labels = evaluation.probabilities[evaluation.name], evaluation.segments.labels
    limits = evaluation.thresholds[evaluation.name]
    strips = []
    often = np.argsort(-labels.sum(axis=0), kind="stable")[:MOST_STRIPS]
    for k in sorted(int(k) for k in often if labels[:, k].any()):
        row = int(np.where(labels[:, k], p[:, k], -1).argmax())
        segment = evaluation.segments.at([row])
        places, weights = occlusion(evaluation.module, segment, k)
        named = [f"{task.classes[j]} {p[row, j]:.0%}" for j in np.flatnonzero(p[row] >= limits)]
        true = [task.classes[j] for j in np.flatnonzero(labels[row])]
        right = [task.classes[j] for j in np.flatnonzero(p[row] >= limits)] == true
        title = (", ".join(named) or "nothing named") + ("" if right else f" (is {', '.join(true)})")
        strips.append(Strip(segment, title, places, weights))
    if not strips:
        return
    made = "Simulated patients. " if task.simulated else ""
    draw_strips(
        run,
        strips,
        file="segments.png",
        title="Segments",
        caption=f"{made}Of each of the most frequent labels the test segment that {evaluation.name} is surest of. The "
        "bluer a stretch, the more that label rests on it: how far its log odds fall when a second there is covered. "
        "Ticks are marked beats.",
    )
