"""Recorded trajectories: real data, the user's HDF5 files and tables, and how they are split.

Dimension letters: N trajectories, T times, D state.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from integrand.apps.application import load
from integrand.apps.training.reader_options import as_data_options
from integrand.core.errors import InputError, unknown
from integrand.datasets.hdf5_files import SUFFIXES
from integrand.datasets.simulations import Simulations
from integrand.datasets.splits import PARTS, ChronologicalSplit, IndexSplit, by_series, chronological
from integrand.datasets.synthetic.simulators import SIMULATORS, simulator
from integrand.datasets.synthetic.systems.system import System
from integrand.datasets.tables import Series, Table, read_table

SplitBy = Literal["trajectories", "time"]
REAL = {
    "hare_lynx": "integrand.datasets.real.hare_lynx:load",
    "planets": "integrand.datasets.real.planets:load",
}
"""Loaders of the real data sets."""
TABLES = (".csv", ".tsv", ".txt", ".gz", ".xz", ".parquet")
UNEVEN = 0.01
"""How far a time may be from the grid of equal intervals, in intervals: room for rounding and no more."""


@dataclass(frozen=True)
class Parts:
    """What training, validation and test are made of.

    Attributes:
        train: trajectories of the training part.
        validation: likewise.
        test: likewise.
        split: tells two splits apart.
        counts: how many there are of each part, as the report has them.
        counted: what they count, in the plural.
        notices: what the user should know of them.
    """

    train: Simulations
    validation: Simulations
    test: Simulations
    split: IndexSplit | ChronologicalSplit
    counts: dict[str, int]
    counted: str
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file is read: columns of a table, and the channels wanted of it."""

    channels: tuple[str, ...] = ()
    time_column: str | None = None
    group_column: str | None = None
    time_unit: str = "h"


def is_recorded(dataset: str) -> bool:
    """Return whether data are a file's, or a real data set's, and not a simulator's."""
    return dataset in REAL or "/" in dataset or dataset.endswith((*SUFFIXES, *TABLES))


def read_record(dataset: str, reading: Reading) -> tuple[Simulations, tuple[str, ...]]:
    """Return all trajectories of a data set or file, at equal intervals from time 0 on, and notices.

    Raises:
        InputError: there is no such file, it cannot be read, times are not evenly spaced, a value is missing,
            trajectories differ in length, or it holds fields on a grid.
    """
    if dataset in REAL:
        found, notices = load(REAL[dataset])(), ()
    elif dataset.endswith(SUFFIXES) or Path(dataset).is_dir():
        from integrand.datasets.simulation_files import read_simulations  # needs h5py

        found, notices = read_simulations(dataset), ()
        if found.dims:
            raise InputError(f"{dataset} holds fields on a grid, and dynamics learns systems: add --task surrogate.")
        found = replace(found, values=found.values.double(), times=found.times.double() - float(found.times[0]))
    else:
        found, notices = read_trajectories(dataset, reading)
    if reading.channels and dataset in REAL:
        raise InputError(f"data.channels is for files: {dataset} is taken whole.")
    if reading.channels and not dataset.endswith(TABLES):
        found = _selected(found, reading.channels)
    _demand_even(found.times.numpy(), Path(dataset).name)
    return found, notices


def read_trajectories(path: str, reading: Reading) -> tuple[Simulations, tuple[str, ...]]:
    """Read a table whose groups are trajectories; their times are counted from the first of each."""
    try:
        table = read_table(
            path,
            time_column=reading.time_column,
            group_column=reading.group_column,
            channels=reading.channels or None,
            time_unit=reading.time_unit,
            duplicates="error",
        )
    except InputError as error:
        told = str(error).replace(", or choose --duplicates mean, first or last", "")
        raise InputError(as_data_options(told)) from error
    first = table.series[0]
    for series in table.series:
        _demand_whole(series, table)
        _demand_even(series.times - series.times[0], f"trajectory {series.group!r}")
        if len(series.times) != len(first.times):
            raise InputError(
                f"trajectory {series.group!r} has {len(series.times)} rows and {first.group!r} {len(first.times)}: cut "
                "all to the same length."
            )
    spans = [float(series.times[-1] - series.times[0]) for series in table.series]
    interval = spans[0] / max(1, len(first.times) - 1)
    for series, span in zip(table.series, spans, strict=True):
        if abs(span - spans[0]) > UNEVEN * interval:
            raise InputError(
                f"trajectory {series.group!r} lasts {span:g} and {first.group!r} {spans[0]:g}, with as many rows each: "
                "give all the same interval."
            )
    found = Simulations(
        name=Path(path).name,
        values=torch.from_numpy(np.stack([series.values for series in table.series]).astype(np.float64)),
        times=torch.from_numpy(first.times - first.times[0]),
        channels=tuple(table.channels),
        units={} if table.time_unit == "1" else {"time": table.time_unit},
    )
    return found, tuple(as_data_options(line) for line in table.notices)


def _demand_whole(series: Series, table: Table) -> None:
    bad = np.argwhere(~np.isfinite(series.values))
    if len(bad):
        row, channel = bad[0]
        raise InputError(
            f"channel {table.channels[channel]!r} of trajectory {series.group!r} is missing at time "
            f"{table.texts(series.times[row : row + 1])[0]}: fill the gap (integrand train timeseries --task "
            "imputation learns to), or begin or end the trajectory there."
        )


def _demand_even(times: np.ndarray, what: str) -> None:
    if len(times) < 2:
        raise InputError(f"{what} has {len(times)} state: a trajectory needs two at least.")
    interval = (times[-1] - times[0]) / (len(times) - 1)
    off = np.abs(times - times[0] - interval * np.arange(len(times)))
    if off.max() > UNEVEN * interval:
        row = int(np.argmax(np.abs(np.diff(times) - interval)))
        raise InputError(
            f"times of {what} are not evenly spaced: from {times[row]:g} to {times[row + 1]:g} it is "
            f"{times[row + 1] - times[row]:g}, on average {interval:g}; interpolate to equal intervals first."
        )


def _selected(found: Simulations, channels: tuple[str, ...]) -> Simulations:
    for name in channels:
        if name not in found.channels:
            raise unknown("channel in data.channels", name, found.channels)
    places = [found.channels.index(name) for name in channels]
    return replace(found, values=found.values[:, :, places], channels=channels)


def known_system(found: Simulations) -> System | None:
    """Return the simulator whose trajectories a file holds, all with the same parameters; None where it is not so."""
    if found.name not in SIMULATORS:
        return None
    named, said = simulator(found.name), found.provenance
    system = simulator(found.name, **{size: int(said.get(size, own)) for size, own in named.sizes.items()})
    same = all(bool((each == each[0]).all()) for each in found.parameters.values())
    if not isinstance(system, System) or found.channels != tuple(system.channels) or not same:
        return None
    return system if set(found.parameters) == set(system.parameters) else None


def split_record(
    found: Simulations,
    *,
    by: SplitBy | None,
    fractions: tuple[float, float, float],
    seed: int,
    test_span: float | None,
    dataset: str,
) -> Parts:
    """Divide trajectories among the parts, or the time of each.

    In time, a window of validation or test begins at the last state before it, which was observed then: nothing that is
    to be predicted has been seen, and no state is predicted twice.

    Args:
        found: all trajectories.
        by: ``"trajectories"``, at random; ``"time"``, one after the other; by time where None and there is but one.
        fractions: shares of training, validation and test.
        seed: of the choice of trajectories.
        test_span: time of a test window, where it is split in time; the whole test part where None.
        dataset: for the record.

    Raises:
        InputError: a part would be without a trajectory, or without a state to predict.
    """
    by = by or ("time" if len(found) == 1 else "trajectories")
    of: dict[str, str | float | int] = {"dataset": Path(dataset).name, "checksum": found.checksum}
    if by == "trajectories":
        split = by_series(len(found), fractions=fractions, seed=seed, of=of)
        rows = (split.train, split.validation, split.test)
        train, validation, test = (found.select(each) for each in rows)
        counts: dict[str, int] = dict(zip(PARTS, map(len, rows), strict=True))
        return Parts(train, validation, test, split, counts, "trajectories")
    times = found.times
    interval = float(times[-1]) / (len(times) - 1)
    split = chronological(
        0.0, float(times[-1]), fractions, of | ({} if test_span is None else {"test_span": test_span})
    )
    ends = [int((times < split.span(part)[1] - UNEVEN * interval).sum()) for part in ("train", "validation")]
    ends.append(len(times))
    counts: dict[str, int] = dict(zip(PARTS, np.diff([0, *ends]).tolist(), strict=True))
    if counts["train"] < 2 or min(counts.values()) < 1:
        raise InputError(
            f"{len(times)} states give parts of {counts['train']}, {counts['validation']} and {counts['test']} by the "
            f"shares {fractions}: training needs two, the others one; give a longer trajectory or other "
            "data.fractions."
        )
    length = counts["test"] if test_span is None else round(test_span / interval)
    if not 1 <= length <= counts["test"]:
        raise InputError(
            f"data.test_span={test_span:g} is out of range: from an interval, {interval:g}, to the test part, "
            f"{counts['test'] * interval:g}."
        )
    windows = [_piece(found, first - 1, first + length) for first in range(ends[1], ends[2] - length + 1, length)]
    test = replace(
        windows[0],
        values=torch.cat([each.values for each in windows]),
        parameters={name: each.repeat(len(windows)) for name, each in found.parameters.items()},
    )
    began = "one window" if len(windows) == 1 else f"{len(windows)} windows of {length} states"
    notice = (
        f"split in time: {counts['train']} states to learn from, {counts['validation']} to choose by, {counts['test']} "
        f"to predict in {began} from the state before"
    )
    return Parts(
        _piece(found, 0, ends[0]), _piece(found, ends[0] - 1, ends[1]), test, split, counts, "states", (notice,)
    )


def _piece(found: Simulations, first: int, end: int) -> Simulations:
    return replace(found, values=found.values[:, first:end], times=found.times[first:end] - found.times[first])
