"""Forecasts for a file: what a trained module expects after the last row of each series.

Dimension letters: N series, B series at once, L context length, Q query times, C channels seen, K channels forecast.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from integrand.apps.timeseries.forecasting.evaluation import Example
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.forecasting.queries import beyond_training, lead_times, read_queries, span
from integrand.apps.timeseries.scores import Z_LEVEL
from integrand.apps.timeseries.strangers import MOST, strangers
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError, listed
from integrand.datasets.forecasting import ForecastTask, Windows
from integrand.datasets.tables import Series, Table, read_table, require_span

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Notify = Callable[[str], None]

MOST_SERIES = 4
MOST_CHANNELS = 8
SERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Prediction:
    """Gaussian forecasts of the first K channels of a table, one a series, in the channels' own units.

    Attributes:
        table: what they are made from.
        origins: (N,) last stamp of each series, in the table's time.
        leads: (N, Q) from there to the query times, increasing; NaN after the last where a series has fewer.
        mean: (N, Q, K), NaN there.
        std: (N, Q, K), positive; NaN there.
    """

    table: Table
    origins: Array
    leads: Array
    mean: Array
    std: Array


def predict(
    module: ForecastingModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    horizon: float | None = None,
    every: float | None = None,
    at: Sequence[float] | None = None,
    queries: Path | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> Prediction:
    """Forecast every series of a file from its last stamp on; write the forecasts and a picture of them.

    The output has the layout of the input: a row per stamp with ``CHANNEL_mean``, ``_std``, ``_p05`` and ``_p95`` for
    each channel forecast in wide form, a row per stamp and channel in long form. Bounds are those of the central 90 %.
    ``beyond_training`` says of each row whether it lies farther ahead than the model was trained for; a notice says so
    where one does. Channels that were inputs alone in training may be missing. Nothing is written before all is made.

    Args:
        module: a trained module, on the device it is to run on.
        input: the table, see ``read_table``, as are the columns and ``duplicates``. Stamps must be of the kind trained
            on: dates, those without an offset taken as UTC, or plain numbers.
        output: the CSV to write.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        horizon: how far ahead; as far as the module was trained for where None.
        every: interval of the query times; the typical interval of the training data where None.
        at: lead times, instead of these two.
        queries: a CSV of the stamps to forecast, see ``read_queries``, instead of all these.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file, the horizon or a place to write is not right.
    """
    task = module.network.built_for
    require_places(input, output, figure)
    for option, value in (("--horizon", horizon), ("--every", every), ("--at", at)):
        if queries is not None and value is not None:
            raise InputError(f"--queries says itself when to forecast: leave {option} out.")
    if task.known and any(value is not None for value in (horizon, every, at, queries)):
        raise InputError(
            f"the model knows {', '.join(task.known)} beforehand and forecasts at the rows of --input after the last "
            "observation, which hold them: leave --horizon, --every, --at and --queries out."
        )
    leads = lead_times(task, horizon, every, at)
    table = read_table(
        input,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        channels=task.channels,
        optional=[name for name in task.channels[task.targets :] if name not in task.known],
        features=task.static,
        time_unit=task.time_unit,
        duplicates=duplicates,
    )
    for notice in table.notices:
        notify(notice)
    require_kind(table, task)
    known = None
    if task.known:
        table, leads, known = foreseen_rows(table, task)
    table = observed_rows(table, notify)
    if queries is not None:
        table, leads = read_queries(queries, table, task)
    require_span(table, shortest_span(leads, task), what="horizon")
    for notice in (*doubts(table, task), *far_ahead(leads, task)):
        notify(notice)
    prediction = forecast(module, table, leads, known)
    if figure is not None and len(table.series) > MOST_SERIES:
        notify(f"the picture shows the first {MOST_SERIES} of {len(table.series)} series")
    # Both are made before either is written.
    text = to_csv(to_frame(prediction, task))
    picture = None if figure is None else _picture(prediction, task, figure.suffix)
    write_atomically(output, text)
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return prediction


def require_kind(table: Table, task: ForecastTask) -> None:
    """Demand dates where the model was trained on dates; raise ``InputError`` otherwise."""
    if table.time_unit != task.time_unit:
        raise InputError(
            f"time column {table.time_column!r} holds plain numbers, and the model was trained on dates: write stamps "
            "as '2024-01-31 14:00:00', or name another column with --time-column."
        )


def shortest_span(leads: Array, task: ForecastTask) -> float:
    """Return how long a series must last to be forecast: as long as is asked ahead, and at most the horizon trained."""
    return min(float(np.nanmax(leads)), task.horizon)


def far_ahead(leads: Array, task: ForecastTask) -> list[str]:
    """Return a line where lead times are longer than the model was trained for, and none where they are not."""
    if not beyond_training(leads, task).any():
        return []
    return [
        f"the model was trained to forecast up to {span(task.horizon, task)}: what is farther ahead goes on as it has "
        "learned, untested, and has true in the column beyond_training"
    ]


def observed_rows(table: Table, notify: Notify = lambda line: None) -> Table:
    """Leave out the rows on which nothing was observed, so that each series ends with a measurement.

    Raises:
        InputError: a series has no measurement at all.
    """
    kept = []
    for series in table.series:
        rows = np.isfinite(series.values).any(1)
        if not rows.any():
            raise InputError(
                f"series {series.group!r} has no observed value in any channel of the model: remove it from the table."
            )
        times = series.times[rows]
        if times[-1] < series.times[-1]:
            last = table.titles(times[-1:])[0]
            notify(f"series {series.group!r} ends with rows without a value: it is forecast from {last} on")
        kept.append(Series(series.group, times, values=series.values[rows]))
    return replace(table, series=kept)


def doubts(table: Table, task: ForecastTask) -> list[str]:
    """Return, one line each, what makes forecasts from this table worse than those the model was tested on."""
    found = strangers(table, task.groups, "forecast")
    for k, name in enumerate(task.channels[: task.targets]):
        blind = [
            series.group
            for series in table.series
            if not np.isfinite(series.values[series.times > series.times[-1] - task.context, k]).any()
        ]
        if blind:
            found.append(
                f"channel {name!r} was not observed in the last {span(task.context, task)} of series "
                f"{listed(blind, MOST)}: its forecast starts from the mean in training"
            )
    return found


def foreseen_rows(table: Table, task: ForecastTask) -> tuple[Table, Array, Array]:
    """Part each series after its last observation: what was observed, and what is known of the times to come.

    Returns:
        The table up to there; lead times (N, Q) of the rows that follow, NaN after the last of a series; and the values
        of the known channels there, (N, Q, F), standardised.

    Raises:
        InputError: no row follows, or one lacks a known value.
    """
    columns = [task.channels.index(name) for name in task.known]
    location, scale = (np.asarray(x)[columns] for x in (task.location, task.scale))
    observed = [channel for channel in range(len(task.channels)) if channel not in columns]
    series, leads, known = [], [], []
    for one in table.series:
        seen = np.flatnonzero(np.isfinite(one.values[:, observed]).any(1))
        last = int(seen[-1]) if len(seen) else -1
        ahead = one.values[last + 1 :, columns]
        if last < 0 or not len(ahead):
            raise InputError(
                f"series {one.group!r} has no row after its last observation: add rows with {', '.join(task.known)} at "
                "the times to forecast, all else empty."
            )
        if not np.isfinite(ahead).all():
            row, column = np.argwhere(~np.isfinite(ahead))[0]
            stamp = table.titles(one.times[last + 1 + row :][:1])[0]
            raise InputError(f"{task.known[column]} of series {one.group!r} is missing at {stamp}: give it there.")
        series.append(Series(one.group, one.times[: last + 1], values=one.values[: last + 1]))
        leads.append(one.times[last + 1 :] - one.times[last])
        known.append((ahead - location) / scale)
    longest = max(map(len, leads))
    leads_NQ = np.full((len(leads), longest), np.nan)
    known_NQF = np.zeros((len(leads), longest, len(columns)), dtype=np.float32)
    for place, (lead, values) in enumerate(zip(leads, known, strict=True)):
        leads_NQ[place, : len(lead)], known_NQF[place, : len(lead)] = lead, values
    return replace(table, series=series), leads_NQ, known_NQF


@torch.no_grad()
def forecast(module: ForecastingModule, table: Table, leads: Array, known: Array | None = None) -> Prediction:
    """Forecast each series of a table, which has the channels of the task, at some times after its last stamp.

    Args:
        module: a trained module.
        table: N series.
        leads: (Q,) for all, or (N, Q), NaN after the last where a series has fewer.
        known: (N, Q, F) what is known of these times beforehand, where the model asks for it.
    """
    task = module.network.built_for
    origins_N = np.array([series.times[-1] for series in table.series])
    leads_NQ = np.broadcast_to(leads, (len(origins_N), leads.shape[-1]))
    # The network is asked at the last lead again where a series has fewer.
    asked_NQ = np.where(np.isnan(leads_NQ), np.nanmax(leads_NQ, axis=1, keepdims=True), leads_NQ).astype(np.float32)
    windows = Windows(table, task, list(origins_N[:, None]))
    location_K = np.asarray(task.location[: task.targets])
    scale_K = np.asarray(task.scale[: task.targets])
    means, stds = [], []
    module.eval()
    for start in range(0, len(windows), SERIES_AT_ONCE):
        index = np.arange(start, min(start + SERIES_AT_ONCE, len(windows)))
        batch = replace(
            windows.batch(index),
            target=None,
            target_mask=None,
            target_times=torch.from_numpy(asked_NQ[index]),
            known=None if known is None else torch.from_numpy(known[index]),
        )
        said = module(batch.to(module.device))
        means.append(said.mean.cpu().double().numpy() * scale_K + location_K)
        stds.append(said.std.cpu().double().numpy() * scale_K)
    absent = np.isnan(leads_NQ)[..., None]
    mean, std = (np.where(absent, np.nan, np.concatenate(parts)) for parts in (means, stds))
    return Prediction(table, origins_N, leads_NQ, mean, std)


def to_frame(prediction: Prediction, task: ForecastTask) -> pd.DataFrame:
    """Lay the forecasts out as the table was: wide, or long. Stamps are as in the table, as text."""
    import pandas as pd

    table, channels = prediction.table, task.channels[: task.targets]
    there = np.isfinite(prediction.leads)
    stamps = [
        text
        for origin, leads in zip(prediction.origins, prediction.leads, strict=True)
        for text in table.texts(origin + leads[np.isfinite(leads)])
    ]
    keys: dict[str, Sequence[str]] = {table.time_column: stamps}
    if table.group_column is not None:
        counts = there.sum(1)
        keys[table.group_column] = [
            series.group for series, count in zip(table.series, counts, strict=True) for _ in range(count)
        ]
    beyond = np.where(beyond_training(prediction.leads[there], task), "true", "false")
    mean, std = prediction.mean[there], prediction.std[there]
    columns = {"mean": mean, "std": std, "p05": mean - Z_LEVEL * std, "p95": mean + Z_LEVEL * std}
    if table.variable_column is None:
        for k, name in enumerate(channels):
            keys |= {f"{name}_{what}": values[:, k] for what, values in columns.items()}
        return pd.DataFrame(keys | {"beyond_training": beyond})
    long = {name: np.repeat(cells, len(channels)) for name, cells in keys.items()}
    long[table.variable_column] = np.tile(channels, len(stamps))
    long |= {what: values.reshape(-1) for what, values in columns.items()}
    return pd.DataFrame(long | {"beyond_training": np.repeat(beyond, len(channels))})


def to_csv(frame: pd.DataFrame, *, header: bool = True) -> str:
    """Write a frame of forecasts as text."""
    return frame.to_csv(index=False, header=header, float_format="%.7g", lineterminator="\n")


def _picture(prediction: Prediction, task: ForecastTask, suffix: str) -> bytes:
    """Draw the first few series as fan charts."""
    from integrand.apps.timeseries.forecasting.figures import forecast_chart
    from integrand.apps.training.figures import style

    table = prediction.table
    examples = []
    for n, series in enumerate(table.series[:MOST_SERIES]):
        asked = np.isfinite(prediction.leads[n])
        near = series.times > prediction.origins[n] - task.context
        example = Example(
            group=series.group if table.group_column is not None else "",
            title=table.titles(prediction.origins[n : n + 1])[0],
            context_times=series.times[near] - prediction.origins[n],
            context=series.values[near, : task.targets].astype(float),
            target_times=prediction.leads[n, asked],
            target=np.full_like(prediction.mean[n, asked], np.nan),
            mean=prediction.mean[n, asked],
            std=prediction.std[n, asked],
            latent_times=np.zeros(0),
            latent=np.zeros((0, 0)),
        )
        examples.append(example)
    content = io.BytesIO()
    with style():
        chart = forecast_chart(examples, replace(task, horizon=float(np.nanmax(prediction.leads))), rows=MOST_CHANNELS)
        chart.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
