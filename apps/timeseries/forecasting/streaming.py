"""Forecasts of a stream: each row answered as it comes, with the numbers that ``predict`` has for the rows so far."""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.forecasting.prediction import (
    Prediction,
    doubts,
    far_ahead,
    forecast,
    observed_rows,
    require_kind,
    shortest_span,
    to_csv,
    to_frame,
)
from integrand.apps.timeseries.forecasting.queries import lead_times, span
from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask
from integrand.datasets.table_stream import Arrival, TableStream

Notify = Callable[[str], None]


def stream(
    module: ForecastingModule,
    *,
    lines: Iterable[bytes],
    write: Callable[[str], None],
    horizon: float | None = None,
    every: float | None = None,
    at: Sequence[float] | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> None:
    """Forecast the series of each row from its last observed row on, as CSV.

    The columns are those of ``predict``, after one with the stamp that the forecast starts from, ``TIME_origin``. A row
    is answered as soon as ``predict`` would answer the rows so far: every channel forecast has had a value, and the
    series lasts as long as is asked ahead, at most as long as the horizon trained. Until then a note says what is
    missing. Only the rows of each series' context are kept.

    Args:
        module: a trained module, on the device it is to run on.
        lines: the header of a table in wide or long form, then its rows; series may interleave, but within each stamps
            must not go backwards.
        write: takes the answer to a row; to the first with the header.
        horizon, every, at: when to forecast, see ``lead_times``.
        time_column, group_column, variable_column, value_column, duplicates: see ``read_table``.
        notify: told what the user should know, each line once.

    Raises:
        InputError: a row is not right, by its number, or an option.
    """
    task = module.network.built_for
    if task.known:
        raise InputError(
            f"the model knows {', '.join(task.known)} beforehand, which a stream can't tell: use --input with a file."
        )
    leads = lead_times(task, horizon, every, at)
    rows = TableStream(
        lines,
        channels=task.channels,
        optional=task.channels[task.targets :],
        static=task.static,
        span=task.context,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        time_unit=task.time_unit,
        duplicates=duplicates,
    )
    told: set[str] = set()

    def tell(notices: Iterable[str]) -> None:
        for notice in notices:
            if notice not in told:
                told.add(notice)
                notify(notice)

    answered = False
    for came in rows:
        tell(rows.take_notices())
        require_kind(came.table, task)
        missing = _missing(came, task, shortest_span(leads, task))
        if missing is not None:
            tell([missing])
            continue
        table = observed_rows(came.table)
        tell([*doubts(table, task), *far_ahead(leads, task)])
        write(to_csv(_with_origin(forecast(module, table, leads), task), header=not answered))
        answered = True


def _missing(came: Arrival, task: ForecastTask, shortest: float) -> str | None:
    """Say what the rows so far lack to be forecast from, None where they lack nothing."""
    series = came.table.series[0]
    if came.unseen:
        return f"no forecast before each of {', '.join(task.channels[: task.targets])} has had a value"
    if came.span < shortest * (1 - 1e-9):
        return f"no forecast of series {series.group!r} before it spans {span(shortest, task)}"
    return None


def _with_origin(prediction: Prediction, task: ForecastTask) -> pd.DataFrame:
    frame = to_frame(prediction, task)
    table = prediction.table
    frame.insert(0, f"{table.time_column}_origin", table.texts(prediction.origins)[0])
    return frame
