"""Imputations for a file: what a trained module puts where a table has gaps, and how well each value fits the rest.

Dimension letters: N windows, L rows of a series, C channels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from integrand.apps.timeseries.imputation.evaluation import Example
from integrand.apps.timeseries.imputation.module import ImputationModule
from integrand.apps.timeseries.strangers import strangers
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError
from integrand.datasets.imputation import Cuts, ImputationTask
from integrand.datasets.tables import Series, Table, read_table

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Notify = Callable[[str], None]

MOST_SERIES = 3
MOST_ROWS = 8
WINDOWS_AT_ONCE = 64
FOLDS = 5
"""In how many goes the values of a window are hidden to be scored, each fifth of them by the other four."""


@dataclass(frozen=True)
class Imputed:
    """Imputations of a table, in the channels' own units.

    Attributes:
        table: what was given.
        mean: of each series (L, C): the value itself where it was observed.
        std: (L, C), 0 where it was observed.
        score: (L, C), how many standard deviations each observed value lies from what the others make of it, NaN where
            nothing was observed; None where not asked for.
    """

    table: Table
    mean: list[Array]
    std: list[Array]
    score: list[Array] | None


def predict(
    module: ImputationModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    scores: bool = False,
    every: float | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> Imputed:
    """Fill every gap of a file; write all values with their deviations, and a picture of them.

    The output has a row per stamp, with each channel's value where it was observed and its imputation where it was not,
    and ``CHANNEL_std``, 0 where it was observed. With ``scores`` there is ``CHANNEL_score``: each observed value is
    hidden in turn and told from the others, and the score is by how many standard deviations it misses that. Values of
    3 and more don't fit the rest: anomalies, where the model is a good one. Nothing is written before all is made.

    Args:
        module: a trained module, on the device it is to run on.
        input: the table, see ``read_table``, as are the columns and ``duplicates``; a channel that it lacks is told
            from the others.
        output: the CSV to write.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        scores: whether to score the observed values.
        every: interval of further rows, at which nothing was observed, between first and last stamp of each series, in
            the run's time unit; None for none.
        notify: told what the user should know, one line each.

    Raises:
        InputError: the file or a place to write is not right.
    """
    task = module.network.built_for
    require_places(input, output, figure)
    table = read_table(
        input,
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        channels=task.channels,
        optional=task.channels,
        time_unit=task.time_unit,
        duplicates=duplicates,
    )
    for notice in table.notices:
        notify(notice)
    if not any(np.isfinite(series.values).any() for series in table.series):
        raise InputError(
            f"{input} holds no value of the channels the run was trained on, {', '.join(task.channels)}: name its "
            "columns as these."
        )
    if table.time_unit != task.time_unit:
        raise InputError(
            f"time column {table.time_column!r} holds plain numbers, and the model was trained on dates: write stamps "
            "as '2024-01-31 14:00:00', or name another column with --time-column."
        )
    for notice in strangers(table, task.groups, "imputed"):
        notify(notice)
    if every is not None:
        table = with_rows(table, every)
    imputed = impute(module, table, scores=scores)
    text = to_frame(imputed, task).to_csv(index=False, float_format="%.7g", lineterminator="\n")
    picture = None if figure is None else _picture(imputed, task, figure.suffix)
    write_atomically(output, text)
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return imputed


def with_rows(table: Table, every: float) -> Table:
    """Return the table with further rows, every so often from the first stamp of a series to its last.

    A row that is there already is not added; nor is one that only rounding keeps apart from it.

    Raises:
        InputError: the interval is not positive, or makes more than a million rows.
    """
    longest = max(float(s.times[-1] - s.times[0]) for s in table.series)
    if not (every > 0 and longest / every < 1e6):
        raise InputError(f"--every {every:g} is out of range: it must be positive, and give less than a million rows.")
    series = []
    for one in table.series:
        asked = one.times[0] + every * np.arange(int((one.times[-1] - one.times[0]) / every * (1 + 1e-9)) + 1)
        after = np.searchsorted(one.times, asked).clip(max=len(one.times) - 1)
        away = np.minimum(np.abs(asked - one.times[after]), np.abs(asked - one.times[np.maximum(after - 1, 0)]))
        times = np.union1d(one.times, asked[away > 1e-6 * every])
        values = np.full((len(times), one.values.shape[1]), np.nan, dtype=np.float32)
        values[np.searchsorted(times, one.times)] = one.values
        series.append(Series(one.group, times, values=values))
    return replace(table, series=series)


@torch.no_grad()
def impute(module: ImputationModule, table: Table, *, scores: bool = False) -> Imputed:
    """Impute each series of a table, which has the channels of the task.

    Long series are cut into windows of the length that the module was trained on, which overlap by half: a row has the
    answer of the window whose ends are farthest from it.
    """
    task = module.network.built_for
    module.eval()
    location, scale = np.asarray(task.location), np.asarray(task.scale)
    cuts, inner = _cuts(table, task)
    mean = [np.full((len(s.times), len(task.channels)), np.nan) for s in table.series]
    std = [one.copy() for one in mean]
    score = [one.copy() for one in mean]
    row_of = np.cumsum([0, *(len(s.times) for s in table.series)])
    for start in range(0, len(cuts), WINDOWS_AT_ONCE):
        index = np.arange(start, min(start + WINDOWS_AT_ONCE, len(cuts)))
        batch = cuts.batch(index)
        answer = module(batch.to(module.device))
        folds = [_scored(module, cuts, index, fold) for fold in range(FOLDS)] if scores else []
        for place, window in enumerate(index):
            length, series = int(batch.lengths[place]), cuts.series[window]
            rows = cuts.first[window] - row_of[series] + np.arange(length)
            low, high = inner[window]
            own = (table.series[series].times[rows] >= low) & (table.series[series].times[rows] < high)
            mean[series][rows[own]] = answer.mean[place, :length].cpu().double().numpy()[own] * scale + location
            std[series][rows[own]] = answer.std[place, :length].cpu().double().numpy()[own] * scale
            for misses, asked in folds:
                here = own[:, None] & asked[place, :length]
                score[series][rows] = np.where(here, misses[place, :length], score[series][rows])
    for one, m, s in zip(table.series, mean, std, strict=True):
        seen = np.isfinite(one.values)
        m[seen], s[seen] = one.values[seen], 0.0
    return Imputed(table, mean, std, score if scores else None)


def to_frame(imputed: Imputed, task: ImputationTask) -> pd.DataFrame:
    """Lay the table out in wide form, a row per stamp: each channel's value, its deviation and its score, if any."""
    import pandas as pd

    table = imputed.table
    stamps = np.concatenate([table.texts(s.times) for s in table.series])
    keys: dict[str, Array] = {table.time_column: stamps}
    if table.group_column is not None:
        keys[table.group_column] = np.repeat([s.group for s in table.series], [len(s.times) for s in table.series])
    mean, std = np.concatenate(imputed.mean), np.concatenate(imputed.std)
    score = None if imputed.score is None else np.concatenate(imputed.score)
    for k, name in enumerate(task.channels):
        keys |= {name: mean[:, k], f"{name}_std": std[:, k]}
        if score is not None:
            keys[f"{name}_score"] = score[:, k]
    return pd.DataFrame(keys)


def _cuts(table: Table, task: ImputationTask) -> tuple[Cuts, list[tuple[float, float]]]:
    """Cut every series into windows that overlap by half; return the span of time that each of them answers for."""
    starts, ends, inner = [], [], []
    for series in table.series:
        first, last = float(series.times[0]), float(series.times[-1])
        count = max(1, int(np.ceil(2 * (last - first) / task.window)) - 1)
        start = first + task.window / 2 * np.arange(count)
        end = start + task.window
        end[-1] = np.nextafter(max(end[-1], last), np.inf)
        low, high = start + task.window / 4, start + 3 * task.window / 4
        low[0], high[-1] = -np.inf, np.inf
        asked = np.searchsorted(series.times, high) > np.searchsorted(series.times, low)  # none within a long gap
        starts.append(start[asked])
        ends.append(end[asked])
        inner += list(zip(low[asked], high[asked], strict=True))
    return Cuts(table, task, starts, ends), inner


def _scored(module: ImputationModule, cuts: Cuts, index: Array, fold: int) -> tuple[Array, Array]:
    """Hide every fifth observed value and return by how many deviations each misses the answer, and which these are."""

    def hidden(place: int, times: Array, observed: Array) -> Array:
        # Counted along each channel, and on from one channel to the next, so that a row is never hidden whole.
        order = observed.cumsum(0) + np.arange(observed.shape[1])
        return observed & (order % FOLDS == fold)

    batch = cuts.batch(index, hidden)
    answer = module(batch.to(module.device))
    assert batch.target is not None
    assert batch.target_mask is not None
    misses = (batch.target - answer.mean.cpu()).abs() / answer.std.cpu()
    return misses.double().numpy(), batch.target_mask.numpy()


def _picture(imputed: Imputed, task: ImputationTask, suffix: str) -> bytes:
    """Draw the first windows of the first few series."""
    from integrand.apps.timeseries.imputation.figures import imputation_chart
    from integrand.apps.training.figures import style

    examples = []
    for number, series in enumerate(imputed.table.series[:MOST_SERIES]):
        near = series.times <= series.times[0] + task.window
        mean = imputed.mean[number][near]
        examples.append(
            Example(
                group=series.group if imputed.table.group_column is not None else "",
                title=imputed.table.titles(series.times[:1])[0],
                times=series.times[near] - series.times[0],
                given=series.values[near].astype(float),
                hidden=np.full_like(mean, np.nan),
                mean=mean,
                std=imputed.std[number][near],
                line=np.full_like(mean, np.nan),
                score=np.full_like(mean, np.nan) if imputed.score is None else imputed.score[number][near],
            )
        )
    content = io.BytesIO()
    with style():
        chart = imputation_chart(examples, task, rows=MOST_ROWS)
        chart.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
