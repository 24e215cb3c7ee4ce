"""Labelled series: what classification learns from, and the batches made of it.

Dimension letters: N series, B batch, L length, C channels, K classes, S static features, R rows of all series.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from integrand.core.errors import InputError, unknown
from integrand.datasets.irregular import IrregularBatch

Rows = Sequence[int] | np.ndarray
OFFICIAL_PARTS = ("train", "test")


@dataclass(frozen=True, eq=False)
class LabelledSeries:
    """Series of unequal length, partly observed, each with a class.

    Attributes:
        name: what the data are called.
        channels: name of each channel.
        classes: name of each class, in the order of the labels' numbers.
        times: N arrays (L,), float64, increasing, in ``time_unit``.
        values: N arrays (L, C), float32, NaN where missing.
        labels: (N,) int64, an index into ``classes``.
        ids: a name for each series, each once.
        parts: ``"train"`` or ``"test"`` of each series, where there is an official split.
        groups: what a split must not tear apart (patient, device), of each series, or None.
        static: (N, S) float32 features of each series, NaN where missing, or None.
        static_names: name of each of them.
        time_unit: what ``times`` count.
        notices: what the user should know of how the data were read, one line each.

    Raises:
        InputError: the parts don't fit together; the message names the one at fault.

    Example:
        >>> times, values = [np.arange(2.0), np.arange(3.0)], [np.zeros((2, 1), "f4"), np.ones((3, 1), "f4")]
        >>> series = LabelledSeries("two", ["x"], ["low", "high"], times, values, np.array([0, 1]), ["a", "b"])
        >>> len(series), series.at([1]).ids
        (2, ['b'])
    """

    name: str
    channels: list[str]
    classes: list[str]
    times: list[np.ndarray]
    values: list[np.ndarray]
    labels: np.ndarray
    ids: list[str]
    parts: list[str] | None = None
    groups: list[str] | None = None
    static: np.ndarray | None = None
    static_names: list[str] = field(default_factory=list)
    time_unit: str = ""
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._check_names()
        self._check_labels()
        for index, name in enumerate(self.ids):
            _check_series(name, self.times[index], self.values[index], len(self.channels))

    def __len__(self) -> int:
        return len(self.ids)

    def at(self, rows: Rows) -> "LabelledSeries":
        """Return the series with the numbers ``rows``, in that order; the classes stay all."""

        def pick(items: list) -> list:
            return [items[row] for row in rows]

        return replace(
            self,
            times=pick(self.times),
            values=pick(self.values),
            labels=self.labels[_indices(rows)],
            ids=pick(self.ids),
            parts=None if self.parts is None else pick(self.parts),
            groups=None if self.groups is None else pick(self.groups),
            static=None if self.static is None else self.static[_indices(rows)],
        )

    @property
    def checksum(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over all there is but the notices."""
        words = [self.name, self.channels, self.classes, self.ids, self.parts, self.groups, self.static_names]
        lengths = [len(times) for times in self.times]
        static = None if self.static is None else self.static.shape
        digest = hashlib.sha256(json.dumps([*words, self.time_unit, lengths, static]).encode())
        arrays = [*self.times, self.labels, *self.values, *([] if self.static is None else [self.static])]
        for array in arrays:
            # There are many bit patterns of NaN; one stands for all.
            same = array if array.dtype.kind == "i" else np.where(np.isnan(array), np.nan, array).astype(array.dtype)
            digest.update(np.ascontiguousarray(same, dtype=array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()[:16]

    def _check_names(self) -> None:
        if not self.channels:
            raise InputError(f"labelled series {self.name!r} have no channel: give at least one.")
        if len(self.classes) < 2:
            raise InputError(f"labelled series {self.name!r} have the classes {self.classes}: give at least two.")
        for what, names in (("channel", self.channels), ("class", self.classes), ("id", self.ids)):
            if len(set(names)) < len(names):
                twice = next(name for index, name in enumerate(names) if name in names[:index])
                raise InputError(f"{what} {twice!r} of labelled series {self.name!r} is there twice: name each once.")
        counts = {
            "times": self.times,
            "values": self.values,
            "labels": self.labels,
            "parts": self.parts,
            "groups": self.groups,
            "static": self.static,
        }
        for what, items in counts.items():
            if items is not None and len(items) != len(self):
                raise InputError(f"{what} must be one a series: {len(self)} ids but {len(items)} {what}.")
        if self.static is not None and self.static.shape != (len(self), len(self.static_names)):
            expected = (len(self), len(self.static_names))
            raise InputError(f"static must have shape {expected} by static_names, got {self.static.shape}.")
        if self.static is not None and np.isinf(self.static).any():
            raise InputError("static holds an infinite value: put NaN where one is missing.")
        for part in self.parts or []:
            if part not in OFFICIAL_PARTS:
                raise unknown("part", part, OFFICIAL_PARTS)

    def _check_labels(self) -> None:
        if self.labels.dtype != np.int64 or self.labels.ndim != 1:
            raise InputError(f"labels must be (N,) int64, got {self.labels.shape} {self.labels.dtype}.")
        wrong = (self.labels < 0) | (self.labels >= len(self.classes))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"series {self.ids[row]!r} has label {self.labels[row]}, where {len(self.classes)} classes are "
                f"numbered 0 to {len(self.classes) - 1}: correct it, or name its class."
            )


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, (C,) float64, by which values are standardised."""

    location: np.ndarray
    scale: np.ndarray


def statistics(series: LabelledSeries, rows: Rows) -> Statistics:
    """Return mean and standard deviation of each channel over the observed values of the series ``rows`` alone.

    A channel that is constant there gets scale 1, so that it becomes 0 throughout.

    Raises:
        InputError: a channel has fewer than two values there.
    """
    values_RC = np.concatenate([np.empty((0, len(series.channels))), *(series.values[row] for row in rows)])
    return _statistics(values_RC, "channel", series.channels)


def static_statistics(series: LabelledSeries, rows: Rows) -> Statistics:
    """Return the same of each static feature, (S,); raise ``InputError`` where there are none."""
    if series.static is None:
        raise InputError(f"labelled series {series.name!r} have no static features: leave their statistics out.")
    return _statistics(series.static[_indices(rows)], "static feature", series.static_names)


def to_batch(
    series: LabelledSeries,
    rows: Rows,
    *,
    location: np.ndarray,
    scale: np.ndarray,
    static_location: np.ndarray | None = None,
    static_scale: np.ndarray | None = None,
) -> IrregularBatch:
    """Build the batch of the series ``rows``: standardised values, and times counted from each series' own start.

    Args:
        series: where they are taken from.
        rows: B numbers of series.
        location: (C,) mean of each channel over the training part, of ``statistics``.
        scale: (C,) standard deviation of the same.
        static_location: (S,) mean of each static feature over the training part, of ``static_statistics``.
        static_scale: (S,) standard deviation of the same.

    Returns:
        A batch whose ``target`` holds the labels, (B,) int64. Static features that are missing are 0, the mean.

    Raises:
        InputError: there are static features but no statistics of them.
    """
    indices = _indices(rows)
    lengths = np.array([len(series.times[row]) for row in indices], dtype=np.int64)
    shape = (len(indices), int(lengths.max(initial=0)), len(series.channels))
    values_BLC = np.full(shape, np.nan)
    times_BL = np.zeros(shape[:2])
    for place, row in enumerate(indices):
        own, length = series.times[row], lengths[place]
        values_BLC[place, :length] = series.values[row]
        if length:
            # In double precision: stamps since an epoch are too large for the batch's single precision.
            times_BL[place, :length] = own - own[0]
            times_BL[place, length:] = own[-1] - own[0]
    values_BLC, mask_BLC = _standardised(values_BLC, location, scale)
    static = None
    if series.static is not None:
        if static_location is None or static_scale is None:
            raise InputError(
                f"labelled series {series.name!r} have static features: give their static_location and static_scale."
            )
        static = torch.from_numpy(_standardised(series.static[indices], static_location, static_scale)[0])
    return IrregularBatch(
        values=torch.from_numpy(values_BLC),
        mask=torch.from_numpy(mask_BLC),
        times=torch.from_numpy(times_BL.astype(np.float32)),
        lengths=torch.from_numpy(lengths),
        static=static,
        target=torch.from_numpy(series.labels[indices]),
        group=[] if series.groups is None else [series.groups[row] for row in indices],
        sample_id=[series.ids[row] for row in indices],
        meta={"time_unit": series.time_unit},
    )


def _indices(rows: Rows) -> np.ndarray:
    return np.asarray(rows, dtype=np.int64)


def _standardised(values: np.ndarray, location: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised values in single precision, 0 where missing, and where they are not."""
    observed = ~np.isnan(values)
    return np.where(observed, (values - location) / scale, 0).astype(np.float32), observed


def _statistics(values_RF: np.ndarray, what: str, names: list[str]) -> Statistics:
    location, scale = np.empty(len(names)), np.ones(len(names))
    for index, name in enumerate(names):
        column = values_RF[:, index].astype(np.float64)
        observed = column[~np.isnan(column)]
        if len(observed) < 2:
            raise InputError(
                f"{what} {name!r} has {len(observed)} observed values in training, too few to standardise it: leave it "
                "out, or give more training series."
            )
        location[index] = observed.mean()
        if observed.min() < observed.max():
            scale[index] = observed.std()
    return Statistics(location, scale)


def _check_series(name: str, times: np.ndarray, values: np.ndarray, channels: int) -> None:
    if values.shape != (len(times), channels):
        raise InputError(
            f"series {name!r} has values of shape {values.shape}, where {len(times)} times and {channels} channels "
            f"make {(len(times), channels)}."
        )
    if times.dtype != np.float64 or values.dtype != np.float32:
        raise InputError(
            f"series {name!r} must have times in float64 and values in float32, got {times.dtype} and {values.dtype}."
        )
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError(f"series {name!r} has times that are not finite and increasing: sort them, each once.")
    if np.isinf(values).any():
        raise InputError(f"series {name!r} holds an infinite value: put NaN where one is missing.")
