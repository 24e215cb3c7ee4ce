"""What a network says of whole sets of segments, and which second of a segment it says it for.

Dimension letters: N segments, K classes, L samples, S places that are covered.
"""

from typing import Any

import numpy as np
import torch

from integrand.apps.medical.segments.batch import SegmentBatch
from integrand.apps.medical.segments.data import batch_of
from integrand.datasets.segments import Segments

CHUNK = 256
"""Segments at a time."""


@torch.no_grad()
def segment_scores(module: Any, segments: Segments) -> np.ndarray:
    """Return the scores of segments before calibration, (N, K) float64, on the host.

    Args:
        module: a Lightning module around a network of segments, on the device it is to run on.
        segments: cut as those it was trained on.
    """
    module.eval()
    task, rows = module.network.built_for, np.arange(len(segments))
    found = [
        _scored(module, batch_of(segments.at(rows[start : start + CHUNK]), task))
        for start in range(0, len(rows), CHUNK)
    ]
    return np.concatenate(found) if found else np.zeros((0, len(task.classes)))


@torch.no_grad()
def occlusion(module: Any, segment: Segments, label: int, *, seconds: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return how much each stretch of one segment speaks for a label, by covering it.

        a_s = score(x) - score(x with every lead at its median from s - w/2 to s + w/2),     w = ``seconds``,

    where the score is that of the label less the largest of the others, or, where several may hold, its log odds. Where
    a_s is positive the label rests on that stretch. Intervals between beats, where the network takes them, stay.

    Args:
        module: see ``segment_scores``.
        segment: one.
        label: number of the label.
        seconds: how much is covered; places lie half of that apart.

    Returns:
        The centres of the stretches, s from the segment's start, and a, both (S,).

    Source: Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, Section 4.2.
    """
    module.eval()
    task = module.network.built_for
    batch = batch_of(segment, task)
    width = max(1, round(seconds * task.rate))
    starts = np.arange(0, task.samples - width // 2, max(1, width // 2))
    covered = batch.signal.repeat(1 + len(starts), 1, 1)
    for row, start in enumerate(starts, start=1):
        covered[row, :, start : start + width] = 0  # segments lie about their medians
    count = len(covered)
    asked = SegmentBatch(
        covered,
        batch.labels.repeat(count, *[1] * (batch.labels.dim() - 1)),
        batch.intervals.repeat(count, 1),
        batch.mask.repeat(count, 1),
        np.repeat(batch.patients, count),
    )
    scores = _scored(module, asked)
    own = scores[:, label]
    if not task.several:
        own = own - np.delete(scores, label, axis=1).max(axis=1)
    return (starts + width / 2) / task.rate, own[0] - own[1:]


def _scored(module: Any, batch: SegmentBatch) -> np.ndarray:
    return module.network(batch.to(module.device)).double().cpu().numpy()
