"""Stays in intensive care from a user's own table, in hours since admission, and what is known of them by an hour.

Dimension letters: N stays, L elements, C channels.
"""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.physiological_ranges import require_policy, told, within_ranges
from integrand.datasets.table_stamps import MICROSECONDS

HOUR = "h"


def as_stays(series: LabelledSeries, *, outside: str = "missing") -> LabelledSeries:
    """Return series of a table as stays: times in hours since admission, impossible values handled.

    Times that are plain numbers count hours since admission already. Of dates the first of a stay is its admission.

    Args:
        series: as ``read_labelled_table`` has them.
        outside: what becomes of values beyond ``RANGES``, one of ``POLICIES``.

    Raises:
        InputError: an unknown policy, or a time before admission.

    Example:
        >>> times, values = [np.array([0.0, 2.0])], [np.array([[7.4], [735.0]], "f4")]
        >>> series = LabelledSeries("one", ["pH"], ["no", "yes"], times, values, np.array([0]), ["7"], time_unit="1")
        >>> stays = as_stays(series)
        >>> stays.values[0].ravel().tolist(), stays.notices
        ([7.400000095367432, nan], ['1 impossible values count as missing, most of pH'])
    """
    require_policy(outside)
    dated = series.time_unit in MICROSECONDS
    hours = MICROSECONDS.get(series.time_unit, 1) / MICROSECONDS[HOUR] if dated else 1.0
    times = [(own - own[0]) * hours if dated and len(own) else own for own in series.times]
    for name, own in zip(series.ids, times, strict=True):
        if len(own) and own[0] < 0:
            raise InputError(
                f"stay {name} has a row {-own[0]:g} h before its admission: times count hours since admission, so "
                "leave earlier rows out, or give dates."
            )
    beyond: Counter[str] = Counter()
    values = []
    for own in series.values:
        found, wrong = within_ranges(own, series.channels, outside=outside)
        values.append(found)
        beyond.update(wrong)
    dates = ["times count from the first row of each stay, which is taken for its admission"] if dated else []
    return replace(
        series, times=times, values=values, time_unit=HOUR, notices=[*series.notices, *dates, *told(beyond, outside)]
    )


def known_by(series: LabelledSeries, hours: float) -> LabelledSeries:
    """Return what is known of stays by an hour since admission; what comes later is left out, and counted in a notice.

    A stay of which nothing is known by then keeps one element at admission with nothing observed; a notice tells how
    many these are.

    Args:
        series: stays, times in hours since admission.
        hours: the cutoff; an element at the very hour is known.

    Raises:
        InputError: ``hours`` is not positive.

    Example:
        >>> times, values = [np.array([1.0, 3.0])], [np.array([[5.0], [6.0]], "f4")]
        >>> stays = LabelledSeries("one", ["x"], ["lived", "died"], times, values, np.array([0]), ["7"], time_unit="h")
        >>> known = known_by(stays, 2.0)
        >>> known.times[0].tolist(), known.notices
        ([1.0], ['1 rows after hour 2 of their stay are left out'])
    """
    if not hours > 0:
        raise InputError(f"cutoff={hours:g} must be positive: it counts hours since admission.")
    times, values, late, empty = [], [], 0, 0
    for own, cells in zip(series.times, series.values, strict=True):
        known = own <= hours
        late += int((~known).sum())
        own, cells = own[known], cells[known]
        if not np.isfinite(cells).any():
            empty += 1
            own, cells = np.zeros(1), np.full((1, len(series.channels)), np.nan, dtype=np.float32)
        times.append(own)
        values.append(cells)
    notices = [f"{late:,} rows after hour {hours:g} of their stay are left out"] if late else []
    notices += [f"{empty:,} stays have no value by hour {hours:g}: what is known at admission is all"] if empty else []
    return replace(series, times=times, values=values, notices=[*series.notices, *notices])


def require_one_patient_each(series: LabelledSeries) -> None:
    """Refuse one record under the names of two patients, by a hash of its content.

    Raises:
        InputError: there are two stays of the same times and values, by their names.
    """
    met: dict[str, int] = {}
    patients = series.ids if series.groups is None else series.groups
    for row, (times, values) in enumerate(zip(series.times, series.values, strict=True)):
        observed = np.isfinite(values)
        if observed.sum() < 2:  # too little to tell two patients apart
            continue
        cells = np.where(observed, values, 0).astype("<f4")
        digest = hashlib.sha256(times.astype("<f8").tobytes() + observed.tobytes() + cells.tobytes()).hexdigest()
        other = met.setdefault(digest, row)
        if patients[other] != patients[row]:
            raise InputError(
                f"stays {series.ids[other]} and {series.ids[row]} are one record under the names of two patients: "
                "remove one, or give both one patient."
            )


def binned(series: LabelledSeries, width: float, hours: float) -> LabelledSeries:
    """Average what was observed within bins of equal width, (k width, (k + 1) width], each stamped by its end.

    All stays get every bin up to ``hours``, NaN where nothing was observed; the first bin holds admission too. A bin is
    known as a whole by its stamp, so that the first k bins are what is known by hour k ``width``.

    Args:
        series: stays, none of whose times lies after ``hours``.
        width: of a bin, hours.
        hours: the end of the last bin, rounded up to a whole number of bins.

    Raises:
        InputError: ``width`` is not positive.

    Example:
        >>> times, values = [np.array([0.0, 1.0, 1.5])], [np.array([[4.0], [6.0], [8.0]], "f4")]
        >>> stays = LabelledSeries("one", ["x"], ["lived", "died"], times, values, np.array([0]), ["7"], time_unit="h")
        >>> made = binned(stays, 1.0, 3.0)
        >>> made.times[0].tolist(), made.values[0].ravel().tolist()
        ([1.0, 2.0, 3.0], [5.0, 8.0, nan])
    """
    if not width > 0:
        raise InputError(f"bin={width:g} must be positive: it counts hours.")
    count = int(np.ceil(round(hours / width, 9)))
    stamps = width * np.arange(1, count + 1)
    size = count * len(series.channels)
    values = []
    for times, cells in zip(series.times, series.values, strict=True):
        place = np.clip(np.ceil(np.round(times / width, 9)).astype(np.int64) - 1, 0, count - 1)
        row, column = np.nonzero(np.isfinite(cells))
        slot = place[row] * len(series.channels) + column
        total = np.bincount(slot, weights=cells[row, column], minlength=size)
        seen = np.bincount(slot, minlength=size)
        mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
        values.append(mean.reshape(count, len(series.channels)).astype(np.float32))
    return replace(series, times=[stamps.copy() for _ in values], values=values)
