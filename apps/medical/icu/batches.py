"""Stays as batches: binned, on a logarithmic scale where that is straighter, standardised, known up to some hour.

Dimension letters: N stays, B batch, L elements, C channels, S static features.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from integrand.apps.medical.icu.stay_batch import StayBatch
from integrand.apps.medical.icu.summaries import summaries
from integrand.apps.medical.icu.task import HOURS_KNOWN, IcuTask
from integrand.core.errors import InputError
from integrand.datasets.icu_stays import binned, known_by
from integrand.datasets.irregular import IrregularBatch
from integrand.datasets.labelled import LabelledSeries, Rows, static_statistics, statistics

Array = np.ndarray
LARGEST = 5.0
"""Deviations from the mean beyond which a value counts as that far."""
SKEWED = 1.0
"""Skewness of the training values from which on a channel without negative values is read by its logarithm."""


def prepared(series: LabelledSeries, task: IcuTask) -> LabelledSeries:
    """Return stays as a network reads them, but for their scale: cut at the cutoff, logarithms taken, binned."""
    series = known_by(series, task.cutoff)
    assert all(times[-1] <= task.cutoff for times in series.times)  # nothing after it reaches the network
    if task.logged:
        columns = [series.channels.index(name) for name in task.logged]
        series = replace(series, values=[_logged(values, columns) for values in series.values])
    return binned(series, task.bin, task.cutoff)


def describe(
    series: LabelledSeries, rows: Rows, *, cutoff: float, bin: float, outside: str, dated: bool, folds: int = 1
) -> IcuTask:
    """Return what a network must know of the training stays ``rows``.

    Args:
        series: all stays, uncut.
        rows: of the training part.
        cutoff, bin, outside, dated, folds: see ``IcuTask``.

    Raises:
        InputError: a class has no training stay, or a channel or static feature too few values.
    """
    series = series.at(rows)
    absent = [name for label, name in enumerate(series.classes) if not (series.labels == label).any()]
    if absent:
        raise InputError(f"class {absent[0]!r} has no stay in the training part: leave it out, or split otherwise.")
    bare = IcuTask(
        channels=list(series.channels),
        classes=list(series.classes),
        location=[0.0] * len(series.channels),
        scale=[1.0] * len(series.channels),
        resolution=bin,
        elements=int(np.ceil(round(cutoff / bin, 9))),
        complete=False,
        static=[*series.static_names, HOURS_KNOWN],
        time_unit="h",
        cutoff=cutoff,
        bin=bin,
        outside=outside,
        logged=_skewed(known_by(series, cutoff)),
        dated=dated,
        folds=folds,
    )
    made = prepared(series, bare)
    location, scale = statistics(made, range(len(made)))
    known = [] if series.static is None else list(static_statistics(series, range(len(series))))
    of_static, size_of_static = known or (np.empty(0), np.empty(0))
    task = replace(
        bare,
        location=location.tolist(),
        scale=scale.tolist(),
        static_location=[*of_static.tolist(), 0.0],
        static_scale=[*size_of_static.tolist(), 1.0],
    )
    batch = to_stays(made, task)
    told = summaries(batch, hours_known(batch, task)).double()
    observed = torch.isfinite(told)
    count = observed.sum(0).clamp(min=1)
    mean = told.nan_to_num(0).sum(0) / count
    size = (torch.where(observed, told - mean, 0).square().sum(0) / count).sqrt()
    return replace(task, of_summary=mean.tolist(), size_of_summary=torch.where(size > 1e-6, size, 1).tolist())


def to_stays(
    made: LabelledSeries,
    task: IcuTask,
    rows: Rows | None = None,
    hours: Sequence[float] | Array | None = None,
    folds: Array | None = None,
) -> StayBatch:
    """Return prepared stays as one batch in the units of a task, times in hours since admission.

    Args:
        made: as ``prepared`` gives them.
        task: their scales.
        rows: which of them; all where None.
        hours: (B,) up to which each is known, whole numbers of bins; the cutoff where None.
        folds: (B,) of the stays, None for stays of no fold.

    Raises:
        InputError: an hour that is no whole number of bins, or lies outside the cutoff.
    """
    indices = np.arange(len(made)) if rows is None else np.asarray(rows, dtype=np.int64)
    until = np.full(len(indices), task.elements * task.bin) if hours is None else np.asarray(hours, dtype=np.float64)
    lengths = np.rint(until / task.bin).astype(np.int64)
    if np.abs(lengths * task.bin - until).max(initial=0) > 1e-6 or lengths.min(initial=1) < 1:
        raise InputError(f"risks are told at whole numbers of bins of {task.bin:g} h, got an hour between them.")
    if lengths.max(initial=0) > task.elements:
        raise InputError(
            f"hour {until.max():g} lies after the cutoff of {task.cutoff:g} h that the network was made for."
        )
    length = int(lengths.max(initial=0))
    values_BLC = np.stack([made.values[row][:length] for row in indices]) if len(indices) else np.empty((0, 0, 0))
    known_BL1 = (np.arange(length) < lengths[:, None])[..., None]
    observed = np.isfinite(values_BLC) & known_BL1
    scaled = (values_BLC - np.asarray(task.location)) / np.asarray(task.scale)
    times = np.minimum(task.bin * (np.arange(length) + 1), until[:, None]).astype(np.float32)
    batch = StayBatch(
        values=torch.from_numpy(np.where(observed, scaled, 0).clip(-LARGEST, LARGEST).astype(np.float32)),
        mask=torch.from_numpy(observed),
        times=torch.from_numpy(times),
        lengths=torch.from_numpy(lengths),
        static=torch.from_numpy(_static(made, task, indices, until)),
        target=torch.from_numpy(made.labels[indices]),
        group=[(made.groups or made.ids)[row] for row in indices],
        sample_id=[made.ids[row] for row in indices],
        meta={"interval": task.bin, "full": bool((lengths == length).all()), "time_unit": "h"},
        folds=None if folds is None else torch.from_numpy(folds),
    )
    # Nothing after the hour may reach the network.
    assert not (batch.mask & torch.from_numpy(~known_BL1)).any()
    return batch


def hours_known(batch: IrregularBatch, task: IcuTask) -> torch.Tensor:
    """Return up to which hour each stay of a batch is known, (B,)."""
    return batch.lengths.to(batch.times) * task.bin


def _static(made: LabelledSeries, task: IcuTask, indices: Array, until: Array) -> Array:
    known = (until / task.cutoff)[:, None]
    if made.static is not None:
        known = np.concatenate([made.static[indices], known], axis=1)
    scaled = (known - np.asarray(task.static_location)) / np.asarray(task.static_scale)
    return np.where(np.isfinite(scaled), scaled, 0).clip(-LARGEST, LARGEST).astype(np.float32)


def _logged(values: Array, columns: list[int]) -> Array:
    made = values.copy()
    made[:, columns] = np.log1p(np.maximum(made[:, columns], 0))
    return made


def _skewed(series: LabelledSeries) -> list[str]:
    """Return the channels without negative training values whose skewness is above ``SKEWED``."""
    values = np.concatenate(series.values).astype(np.float64)
    found = []
    for place, name in enumerate(series.channels):
        column = values[:, place]
        column = column[np.isfinite(column)]
        if len(column) > 2 and column.min() >= 0 and column.std() > 0:
            skewness = float((((column - column.mean()) / column.std()) ** 3).mean())
            if skewness > SKEWED:
                found.append(name)
    return found


class StaysOfPart(Dataset):
    """The stays of one part, batch by batch, as a function of the index alone: i + N * epoch is stay i in an epoch.

    Args:
        made: all stays, as ``prepared`` gives them.
        task: their scales.
        rows: which of them.
        noise: standard deviation of noise on observed values, in units of each channel's own.
        drop: share of the observed values that are left out.
        early: share of the stays that are cut at a random hour.
        seed: of noise, drops and hours.
        folds: (N,) of these stays, None where training is not divided.
    """

    def __init__(
        self,
        made: LabelledSeries,
        task: IcuTask,
        rows: Array,
        *,
        noise: float = 0.0,
        drop: float = 0.0,
        early: float = 0.0,
        seed: int = 0,
        folds: Array | None = None,
    ) -> None:
        self.made, self.task, self.rows, self.folds = made, task, rows, folds
        self.noise, self.drop, self.early, self.seed = noise, drop, early, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> StayBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> StayBatch:
        """Build the batch of several stays at once."""
        places = np.asarray(indices, dtype=np.int64) % len(self)
        rows, folds = self.rows[places], None if self.folds is None else self.folds[places]
        if not (self.noise or self.drop or self.early):
            return to_stays(self.made, self.task, rows, folds=folds)
        draws = [np.random.Generator(np.random.Philox(key=[self.seed, index])) for index in indices]
        hours = np.array([self._hour(draw) for draw in draws])
        batch = to_stays(self.made, self.task, rows, hours, folds)
        # Drawn for whole stays, so that what a stay meets does not depend on its neighbours in the batch.
        shape, length = (self.task.elements, len(self.task.channels)), batch.values.shape[1]
        if self.drop:
            chance = np.stack([draw.random(shape, dtype=np.float32)[:length] for draw in draws])
            kept = torch.from_numpy(chance) >= self.drop
            batch = replace(batch, values=batch.values * kept, mask=batch.mask & kept)
        if self.noise:
            noise = np.stack([draw.standard_normal(shape, dtype=np.float32)[:length] for draw in draws])
            batch = replace(batch, values=batch.values + self.noise * torch.from_numpy(noise) * batch.mask)
        return batch

    def whole(self, hours: float | None = None) -> StayBatch:
        """Return the whole part as one batch, as it is known at an hour, without noise or drops."""
        until = None if hours is None else np.full(len(self), hours)
        return to_stays(self.made, self.task, self.rows, until, self.folds)

    @property
    def labels(self) -> Array:
        """(N,) the classes of its stays."""
        return self.made.labels[self.rows]

    def _hour(self, draw: np.random.Generator) -> float:
        """Draw up to which hour a stay is known: at times any whole number of bins, else all there is."""
        count = self.task.elements
        chosen = int(draw.integers(1, count + 1)) if draw.random() < self.early else count
        return self.task.bin * chosen
