"""The series of one part in batches, in the units of a task, and the task that training series make."""

from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.series.classification.task import ClassificationTask
from integrand.core.errors import InputError
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.labelled import LabelledSeries, Rows, static_statistics, statistics, to_batch


class SeriesOfPart(Dataset):
    """The series of one part, batch by batch, as a function of the index alone: i + N * epoch is series i in an epoch.

    Args:
        series: all of them.
        task: how they are standardised.
        rows: which of them.
        noise: standard deviation of noise on observed values.
        drop: share of elements left out; of each series one at least stays.
        seed: of noise and drops.
    """

    def __init__(
        self,
        series: LabelledSeries,
        task: ClassificationTask,
        rows: np.ndarray,
        *,
        noise: float = 0.0,
        drop: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.series, self.task, self.rows = series, task, rows
        self.noise, self.drop, self.seed = noise, drop, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> IrregularBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> IrregularBatch:
        """Build the batch of several series at once."""
        return self.batch(self.rows[np.asarray(indices, dtype=np.int64) % len(self)], indices)

    def whole(self) -> IrregularBatch:
        """Return the whole part as one batch, without noise or drops."""
        return self.batch(self.rows, None)

    def batch(self, rows: np.ndarray, indices: list[int] | None) -> IrregularBatch:
        """Return the batch of some series; noise and drops are drawn for ``indices``, none where that is None."""
        generators = [
            np.random.Generator(np.random.Philox(key=[self.seed, index]))
            for index in (indices if indices is not None and (self.noise or self.drop) else ())
        ]
        if generators and self.drop:
            batch = standardised(_thinned(self.series.at(rows), generators, self.drop), self.task)
        else:
            batch = standardised(self.series, self.task, rows)
        if generators and self.noise:
            for row, generator in enumerate(generators):
                size = (int(batch.lengths[row]), batch.values.shape[2])
                noise = torch.from_numpy(generator.standard_normal(size, dtype=np.float32))
                batch.values[row, : size[0]] += self.noise * noise * batch.mask[row, : size[0]]
        return batch


def describe(series: LabelledSeries, rows: np.ndarray) -> ClassificationTask:
    """Return what a network must know of the training series ``rows``.

    Raises:
        InputError: a class has no training series, a channel no scale, or all series are shorter than two elements.
    """
    absent = [name for label, name in enumerate(series.classes) if not (series.labels[rows] == label).any()]
    if absent:
        raise InputError(f"class {absent[0]!r} has no series in the training part: leave it out, or split otherwise.")
    location, scale = statistics(series, rows)
    static = static_statistics(series, rows) if series.static is not None else None
    intervals = np.concatenate([np.diff(series.times[row]) for row in rows])
    if not len(intervals):
        raise InputError(f"no training series of {series.name} has two elements: there is no time to learn from.")
    return ClassificationTask(
        channels=list(series.channels),
        classes=list(series.classes),
        location=location.tolist(),
        scale=scale.tolist(),
        resolution=float(np.median(intervals)),
        elements=max(len(series.times[row]) for row in rows),
        complete=not any(np.isnan(series.values[row]).any() for row in rows),
        static=list(series.static_names) if static else [],
        static_location=static.location.tolist() if static else [],
        static_scale=static.scale.tolist() if static else [],
        time_unit=series.time_unit,
    )


def standardised(series: LabelledSeries, task: ClassificationTask, rows: Rows | None = None) -> IrregularBatch:
    """Return the series ``rows``, all where that is None, as one batch in the units of a task.

    ``meta`` tells what spares a network work: ``"interval"``, the time between any two neighbours where that is the
    same for all, and ``"full"``, whether there is no padding.
    """
    rows = range(len(series)) if rows is None else rows
    batch = to_batch(
        series,
        rows,
        location=np.asarray(task.location),
        scale=np.asarray(task.scale),
        static_location=np.asarray(task.static_location) if task.static else None,
        static_scale=np.asarray(task.static_scale) if task.static else None,
    )
    intervals = np.unique(np.concatenate([np.diff(series.times[row]) for row in rows]))
    if len(intervals) == 1:
        batch.meta["interval"] = float(intervals[0])
    batch.meta["full"] = bool((batch.lengths == batch.values.shape[1]).all())
    return batch


def _thinned(series: LabelledSeries, generators: list[np.random.Generator], drop: float) -> LabelledSeries:
    """Leave out a share of the elements of each series; one at least stays."""
    keep = []
    for generator, times in zip(generators, series.times, strict=True):
        kept = generator.random(len(times)) >= drop
        if len(times) and not kept.any():
            kept[-1] = True
        keep.append(kept)
    return replace(
        series,
        times=[times[kept] for times, kept in zip(series.times, keep, strict=True)],
        values=[values[kept] for values, kept in zip(series.values, keep, strict=True)],
    )
