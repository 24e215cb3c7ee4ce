"""Forecasts for a file: what a trained module expects after the last row of each series.

Dimension letters: N series, B series at once, L context length, Q query times, C channels seen, K channels forecast.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from integrand.apps.timeseries.forecasting.evaluation import Example
from integrand.apps.timeseries.forecasting.module import ForecastingModule
from integrand.apps.timeseries.scores import Z_LEVEL
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError
from integrand.datasets.forecasting import ForecastTask, Windows
from integrand.datasets.tables import Series, Table, read_table, require_span

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Notify = Callable[[str], None]

PICTURES = (".png", ".pdf", ".svg")
MOST_SERIES = 4
MOST_CHANNELS = 8
MOST_LEADS = 100_000
SERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Prediction:
    """Gaussian forecasts of the first K channels of a table, one a series, in the channels' own units.

    Attributes:
        table: what they are made from.
        origins: (N,) last stamp of each series, in the table's time.
        leads: (Q,) from there to the query times.
        mean: (N, Q, K).
        std: (N, Q, K), positive.
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
    Channels that were inputs alone in training may be missing. Nothing is written before all is made.

    Args:
        module: a trained module, on the device it is to run on.
        input: the table, see ``read_table``, as are the columns and ``duplicates``. Stamps must be of the kind trained
            on: dates, those without an offset taken as UTC, or plain numbers.
        output: the CSV to write.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        horizon: how far ahead; as far as the module was trained for where None, never farther.
        every: interval of the query times; the typical interval of the training data where None.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file, the horizon or a place to write is not right.
    """
    task = module.network.built_for
    _require_places(input, output, figure)
    leads = lead_times(task, horizon, every)
    table = read_table(
        input,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        channels=task.channels,
        optional=task.channels[task.targets :],
        time_unit=task.time_unit,
        duplicates=duplicates,
    )
    for notice in table.notices:
        notify(notice)
    if table.time_unit != task.time_unit:
        raise InputError(
            f"time column {table.time_column!r} holds plain numbers, and the model was trained on dates: write stamps "
            "as '2024-01-31 14:00:00', or name another column with --time-column."
        )
    table = observed_rows(table, notify)
    require_span(table, task.horizon if horizon is None else horizon, what="horizon")
    for notice in doubts(table, task):
        notify(notice)
    prediction = forecast(module, table, leads)
    if figure is not None and len(table.series) > MOST_SERIES:
        notify(f"the picture shows the first {MOST_SERIES} of {len(table.series)} series")
    # Both are made before either is written.
    text = to_frame(prediction, task).to_csv(index=False, float_format="%.7g", lineterminator="\n")
    picture = None if figure is None else _picture(prediction, task, figure.suffix)
    write_atomically(output, text)
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return prediction


def lead_times(task: ForecastTask, horizon: float | None = None, every: float | None = None) -> Array:
    """Return the query times (Q,) after the forecast origin: every so often, up to the horizon.

    Raises:
        InputError: the horizon is beyond the one trained for, or no query time lies within it.
    """
    horizon = task.horizon if horizon is None else horizon
    every = task.resolution if every is None else every
    if not 0 < horizon <= task.horizon * (1 + 1e-9):
        raise InputError(
            f"horizon {_span(horizon, task)} is out of range: the model was trained to forecast up to "
            f"{_span(task.horizon, task)}; ask for no more, or train with --data.horizon {horizon:g}."
        )
    if not 0 < every <= horizon * (1 + 1e-9) or horizon / every > MOST_LEADS:
        raise InputError(
            f"interval {_span(every, task)} between forecasts is out of range: it must be positive, at most the "
            f"horizon of {_span(horizon, task)}, and give no more than {MOST_LEADS:,} forecasts; set --every."
        )
    return every * np.arange(1, int(horizon / every * (1 + 1e-9)) + 1)


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
            last = table.stamps(times[-1:])[0]
            notify(f"series {series.group!r} ends with rows without a value: it is forecast from {_title(last)} on")
        kept.append(Series(series.group, times, values=series.values[rows]))
    return replace(table, series=kept)


def doubts(table: Table, task: ForecastTask) -> list[str]:
    """Return, one line each, what makes forecasts from this table worse than those the model was tested on."""
    found = []
    strangers = [series.group for series in table.series if task.groups and series.group not in task.groups]
    if strangers and table.group_column is None:
        found.append(
            f"no column tells which series this is; the model was trained on {_listed(task.groups)} "
            "(--group-column names the column)"
        )
    elif strangers:
        found.append(
            f"series that the model was not trained on: {_listed(strangers)}; they are forecast like an average of "
            f"those it was ({_listed(task.groups)})"
        )
    for k, name in enumerate(task.channels[: task.targets]):
        blind = [
            series.group
            for series in table.series
            if not np.isfinite(series.values[series.times > series.times[-1] - task.context, k]).any()
        ]
        if blind:
            found.append(
                f"channel {name!r} was not observed in the last {_span(task.context, task)} of series "
                f"{_listed(blind)}: its forecast starts from the mean in training"
            )
    return found


@torch.no_grad()
def forecast(module: ForecastingModule, table: Table, leads: Array) -> Prediction:
    """Forecast each series of a table, which has the channels of the task, at ``leads (Q,)`` after its last stamp."""
    task = module.network.built_for
    origins_N = np.array([series.times[-1] for series in table.series])
    windows = Windows(table, task, list(origins_N[:, None]))
    location_K = np.asarray(task.location[: task.targets])
    scale_K = np.asarray(task.scale[: task.targets])
    means, stds = [], []
    module.eval()
    for start in range(0, len(windows), SERIES_AT_ONCE):
        index = np.arange(start, min(start + SERIES_AT_ONCE, len(windows)))
        asked_BQ = torch.from_numpy(np.tile(leads.astype(np.float32), (len(index), 1)))
        batch = replace(windows.batch(index), target=None, target_mask=None, target_times=asked_BQ)
        said = module(batch.to(module.device))
        means.append(said.mean.cpu().double().numpy() * scale_K + location_K)
        stds.append(said.std.cpu().double().numpy() * scale_K)
    return Prediction(table, origins_N, leads, np.concatenate(means), np.concatenate(stds))


def to_frame(prediction: Prediction, task: ForecastTask) -> pd.DataFrame:
    """Lay the forecasts out as the table was: wide, or long. Stamps are as in the table, as text."""
    import pandas as pd

    table, channels = prediction.table, task.channels[: task.targets]
    count = len(prediction.leads)
    stamps = [_text(one) for origin in prediction.origins for one in table.stamps(origin + prediction.leads)]
    keys: dict[str, Sequence[str]] = {table.time_column: stamps}
    if table.group_column is not None:
        keys[table.group_column] = [series.group for series in table.series for _ in range(count)]
    low, high = (prediction.mean + sign * Z_LEVEL * prediction.std for sign in (-1, 1))
    columns = {"mean": prediction.mean, "std": prediction.std, "p05": low, "p95": high}
    if table.variable_column is None:
        for k, name in enumerate(channels):
            keys |= {f"{name}_{what}": values[..., k].reshape(-1) for what, values in columns.items()}
        return pd.DataFrame(keys)
    long = {name: np.repeat(cells, len(channels)) for name, cells in keys.items()}
    long[table.variable_column] = np.tile(channels, len(stamps))
    return pd.DataFrame(long | {what: values.reshape(-1) for what, values in columns.items()})


def _picture(prediction: Prediction, task: ForecastTask, suffix: str) -> bytes:
    """Draw the first few series as fan charts."""
    from integrand.apps.timeseries.forecasting.figures import forecast_chart
    from integrand.apps.training.figures import style

    table, leads = prediction.table, prediction.leads
    examples = []
    for n, series in enumerate(table.series[:MOST_SERIES]):
        near = series.times > prediction.origins[n] - task.context
        example = Example(
            group=series.group if table.group_column is not None else "",
            title=_title(table.stamps(prediction.origins[n : n + 1])[0]),
            context_times=series.times[near] - prediction.origins[n],
            context=series.values[near, : task.targets].astype(float),
            target_times=leads,
            target=np.full_like(prediction.mean[n], np.nan),
            mean=prediction.mean[n],
            std=prediction.std[n],
            latent_times=np.zeros(0),
            latent=np.zeros((0, 0)),
        )
        examples.append(example)
    content = io.BytesIO()
    with style():
        chart = forecast_chart(examples, replace(task, horizon=float(leads[-1])), rows=MOST_CHANNELS)
        chart.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()


def _require_places(input: Path, output: Path, figure: Path | None) -> None:
    taken = {input.resolve(): "--input"}
    for option, path in (("--output", output), ("--figure", figure)):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder: name a file in it.")
        if not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}; make it, or name another.")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{option} {path}: the folder {path.parent} cannot be written to; name another.")
        if path.resolve() in taken:
            raise InputError(f"{option} {path} is the file of {taken[path.resolve()]} too: name another.")
        taken[path.resolve()] = option
    if figure is not None and figure.suffix.lower() not in PICTURES:
        raise InputError(f"--figure {figure} must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}.")


def _span(length: float, task: ForecastTask) -> str:
    return f"{length:g}" if task.time_unit == "1" else f"{length:g} {task.time_unit}"


def _text(stamp: object) -> str:
    return f"{stamp:.15g}" if isinstance(stamp, float) else str(stamp)


def _title(stamp: object) -> str:
    return _text(stamp) if isinstance(stamp, float) else f"{stamp:%Y-%m-%d %H:%M}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
