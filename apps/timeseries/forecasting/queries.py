"""When to forecast: lead times after the forecast origin, or stamps of the user's own.

Dimension letters: N series, Q query times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.table_columns import Roles, is_text, read_cells
from integrand.datasets.table_stamps import MICROSECONDS, Stamps, read_stamps
from integrand.datasets.tables import Table, read_groups

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray

MOST_LEADS = 100_000
FARTHEST = 1000
"""Horizons of training ahead of which nothing is forecast: the solver goes all the way."""


def lead_times(
    task: ForecastTask,
    horizon: float | None = None,
    every: float | None = None,
    at: Sequence[float] | None = None,
) -> Array:
    """Return the query times (Q,) after the forecast origin: those of ``at``, or every so often up to the horizon.

    Args:
        task: what was trained for.
        horizon: the last of them; the horizon trained for where None.
        every: the interval; the typical one of the training data where None.
        at: lead times, in any order, instead of the two.

    Raises:
        InputError: a number is out of range or there twice, or ``at`` is given beside the others.

    Example:
        >>> task = ForecastTask(["x"], 1, [""], "h", 48.0, 24.0, 6.0, [], [], [0.0], [1.0])
        >>> lead_times(task), lead_times(task, at=[7.5, 3])
        (array([ 6., 12., 18., 24.]), array([3. , 7.5]))
    """
    if at is not None:
        return _chosen(task, at, horizon, every)
    horizon = task.horizon if horizon is None else horizon
    every = task.resolution if every is None else every
    if not 0 < horizon <= task.horizon * FARTHEST:
        raise InputError(
            f"horizon {span(horizon, task)} is out of range: it must be positive, and at most {FARTHEST} times the "
            f"{span(task.horizon, task)} that the model was trained for."
        )
    if not 0 < every <= horizon * (1 + 1e-9) or horizon / every > MOST_LEADS:
        raise InputError(
            f"interval {span(every, task)} between forecasts is out of range: it must be positive, at most the "
            f"horizon of {span(horizon, task)}, and give no more than {MOST_LEADS:,} forecasts; set --every."
        )
    return every * np.arange(1, int(horizon / every * (1 + 1e-9)) + 1)


def _chosen(task: ForecastTask, at: Sequence[float], horizon: float | None, every: float | None) -> Array:
    for option, value in (("--horizon", horizon), ("--every", every)):
        if value is not None:
            raise InputError(f"--at says itself when to forecast: leave {option} out.")
    leads = np.sort(np.asarray(at, dtype=np.float64))
    if not 0 < len(leads) <= MOST_LEADS:
        raise InputError(f"--at has {len(leads)} lead times: give from one to {MOST_LEADS:,}.")
    wrong = leads[~((leads > 0) & (leads <= task.horizon * FARTHEST))]
    if len(wrong):
        raise InputError(
            f"--at {wrong[0]:g} is out of range: lead times count from the last row on, are positive, and at most "
            f"{FARTHEST} times the {span(task.horizon, task)} that the model was trained for."
        )
    again = leads[1:][np.diff(leads) == 0]
    if len(again):
        raise InputError(f"--at names the lead time {again[0]:g} twice: name it once.")
    return leads


def read_queries(path: Path, table: Table, task: ForecastTask) -> tuple[Table, Array]:
    """Return the series for which a file asks forecasts, and how long after the last stamp of each, (N, Q).

    The file has a row a query, with the columns of the table's time and, where there is one, of its groups; others are
    passed over. Lead times increase along Q, and the rows of series with fewer are padded with NaN.

    Args:
        path: a CSV.
        table: the series, each ending where its forecast begins.
        task: what was trained for.

    Raises:
        InputError: a query is of an unknown series, is there twice, or does not lie after the last row of its series;
            the message names its row.
    """
    try:
        cells = read_cells(path, () if table.group_column is None else {table.group_column})
        for kind, name in (("time", table.time_column), ("group", table.group_column)):
            if name is not None and name not in cells:
                raise InputError(
                    f"there is no {kind} column {name!r}, as the table has it, among {', '.join(map(repr, cells))}."
                )
        return _leads_of(cells, table, task)
    except InputError as error:
        raise InputError(f"--queries {path}: {error}") from error


def _leads_of(cells: dict[str, pd.Series], table: Table, task: ForecastTask) -> tuple[Table, Array]:
    column = cells[table.time_column]
    roles = Roles(table.time_column, table.group_column, variable=None, value=None, counts=(), notices=())
    groups, group_R = read_groups(cells, roles)
    # Dates among plain numbers are read as such, to be refused as such.
    stamps = read_stamps(column, "h" if table.epoch is None and is_text(column) else table.time_unit, group_R)
    _require_same_kind(stamps, table, column)
    places = {series.group: place for place, series in enumerate(table.series)}
    for group in groups:
        if group not in places:
            raise unknown("series", group, places)
    shift = 0.0
    if stamps.epoch is not None and table.epoch is not None:
        shift = (stamps.epoch - table.epoch).total_seconds() * 1e6 / MICROSECONDS[table.time_unit]
    found: dict[int, dict[float, object]] = {}
    for row, group, time in zip(column.index, group_R, stamps.times + shift, strict=True):
        place = places[groups[group]]
        lead = _require_ahead(float(time), row, str(column[row]), table, place, task)
        leads = found.setdefault(place, {})
        if lead in leads:
            raise InputError(f"rows {leads[lead]} and {row} ask the same of series {groups[group]!r}: remove one.")
        leads[lead] = row
    asked = [np.sort(list(found[place])) for place in sorted(found)]
    if sum(map(len, asked)) > MOST_LEADS:
        raise InputError(f"there are more than {MOST_LEADS:,} queries: ask in several files.")
    leads_NQ = np.full((len(asked), max(map(len, asked))), np.nan)
    for place, leads in enumerate(asked):
        leads_NQ[place, : len(leads)] = leads
    chosen = sorted(found)
    static = None if table.static is None else table.static[chosen]
    return replace(table, series=[table.series[place] for place in chosen], static=static), leads_NQ


def _require_same_kind(stamps: Stamps, table: Table, column: pd.Series) -> None:
    if (stamps.epoch is None) != (table.epoch is None):
        has, wanted = ("plain numbers", "dates") if stamps.epoch is None else ("dates", "plain numbers")
        raise InputError(f"time column {column.name!r} holds {has}, and the table has {wanted}: write stamps as there.")
    if (stamps.timezone is None) != (table.timezone is None):
        has, wanted = ("no offset", "one") if stamps.timezone is None else ("an offset", "none")
        raise InputError(
            f"stamps in column {column.name!r} have {has} from UTC, those of the table have {wanted}: write both alike."
        )


def _require_ahead(time: float, row: object, stamp: str, table: Table, place: int, task: ForecastTask) -> float:
    """Return how long after its series' last row a query lies."""
    series = table.series[place]
    lead = time - float(series.times[-1])
    last = f"the last row of series {series.group!r}, {table.texts(series.times[-1:])[0]}"
    context = max(float(series.times[-1]) - task.context, float(series.times[0]))
    if time < context:
        raise InputError(
            f"row {row} asks for {stamp}, before the context of series {series.group!r}, which begins at "
            f"{table.texts(np.array([context]))[0]}: ask for stamps after {last}."
        )
    if lead <= 0:
        raise InputError(
            f"row {row} asks for {stamp}, which is not after {last}, and so no forecast: ask for later stamps, or end "
            "the table before it."
        )
    if lead > task.horizon * FARTHEST:
        raise InputError(
            f"row {row} asks for {stamp}, more than {FARTHEST} times the {span(task.horizon, task)} that the model was "
            f"trained for after {last}: ask for earlier stamps."
        )
    return lead


def beyond_training(leads: Array, task: ForecastTask) -> Array:
    """Tell which lead times are longer than the model was trained for, bool of the same shape."""
    return leads > task.horizon * (1 + 1e-6)


def span(length: float, task: ForecastTask) -> str:
    """Write a length of time with its unit."""
    return f"{length:g}" if task.time_unit == "1" else f"{length:g} {task.time_unit}"
