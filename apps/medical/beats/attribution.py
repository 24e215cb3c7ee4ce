"""What speaks for the name of a beat: pieces of the trace about it, and its features.

Dimension letters: N beats of a run, L samples of a window, C leads, F features.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from integrand.apps.medical.attribution import integrated_gradients
from integrand.apps.medical.beats.batch import BeatBatch
from integrand.apps.medical.beats.data import in_units, scaled
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.task import BeatTask
from integrand.datasets.beat_series import RHYTHM, BeatSeries, shape_of, usual_beats

Array = np.ndarray

AROUND = 12
"""Beats on each side that a beat's name is asked with."""
SECONDS = 0.04
"""Of the pieces of a window."""


def attribution(module: BeatModule, series: BeatSeries, beat: int, place: int) -> tuple[Array, Array]:
    """Return what each piece of the trace around a beat, and each feature of the beat, adds to its log odds.

    A piece of a window adds what is lost without it: the log odds as they are, less those where the leads there look as
    in the patient's usual beat and the features of shape are told anew; the rhythm and the usual beat stay. A feature
    adds its integrated gradient against the mean of training.

    Args:
        module: trained.
        series: the beats of a recording.
        beat: number of the beat.
        place: number of the class.

    Returns:
        (N, L) by neighbouring beat, from ``max(0, beat - AROUND)`` on, the answer to a piece spread over its samples;
        and (F,).
    """
    module.eval()
    task = module.network.built_for
    first, end = max(0, beat - AROUND), min(len(series), beat + AROUND + 1)
    run, own = scaled(series, task).between(first, end).to(module.device), beat - first
    templates = usual_beats(series.windows, task.causal)
    usual = templates[first:end] if task.causal else templates.repeat(end - first, axis=0)

    def odds(batch: BeatBatch) -> Tensor:
        score = torch.stack([member(batch)[:, own].float() for member in module.members]).mean(0)
        return score[:, place] - torch.cat([score[:, :place], score[:, place + 1 :]], dim=1).logsumexp(1)

    def of_inputs(given: Sequence[Tensor]) -> Tensor:
        return odds(replace(run, features=given[0]))[0]

    features = integrated_gradients(of_inputs, [run.features])[0][0, own].numpy()
    step = max(1, round(SECONDS * task.rate))
    with torch.no_grad():
        as_is = odds(run)
        lost = [
            as_is - odds(_without_pieces(run, series, first, row, usual[row], step, task)) for row in range(end - first)
        ]
    spread = [np.repeat(one.cpu().numpy() / step, step)[: series.windows.shape[1]] for one in lost]
    return np.stack(spread), features


def _without_pieces(
    run: BeatBatch, series: BeatSeries, first: int, row: int, usual: Array, step: int, task: BeatTask
) -> BeatBatch:
    """Return the run once for each piece of a beat's window, in which that piece looks as in the usual beat.

    Args:
        run: the beats of the series from ``first`` on.
        series: of the recording.
        first: number of the run's first beat.
        row: of the beat in the run.
        usual: (L, C) mV, what is usual by then.
        step: samples of a piece.
        task: units.
    """
    length, beat = series.windows.shape[1], slice(first + row, first + row + 1)
    starts = np.arange(0, length, step)
    inside = (np.arange(length) >= starts[:, None]) & (np.arange(length) < starts[:, None] + step)
    windows = np.where(inside[:, :, None], usual, series.windows[beat])
    rhythm, size, intervals = (
        each[beat].repeat(len(starts), axis=0)
        for each in (series.features[:, : len(RHYTHM)], series.usual, series.intervals)
    )
    told = np.concatenate([rhythm, shape_of(windows, usual[None])], axis=1)
    changed = in_units(windows, size, told, intervals, task).to(run.mask.device)
    runs = run.runs(torch.zeros(len(starts), dtype=torch.int64, device=run.mask.device))
    runs.windows[:, row], runs.features[:, row] = changed.windows[0], changed.features[0]
    return runs
