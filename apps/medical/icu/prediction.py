"""Risks of the stays in a file: a CSV with the set that is promised to hold what will happen, and a picture."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.apps.medical.icu.batches import prepared
from integrand.apps.medical.icu.module import IcuModule
from integrand.apps.medical.icu.task import HOURS_KNOWN, IcuTask
from integrand.apps.training import figures
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.icu_stays import as_stays, known_by
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.table_stamps import MICROSECONDS
from integrand.datasets.tables import Table, read_table

Notify = Callable[[str], None]
MOST_ROWS = 40
"""Stays in the picture."""


@dataclass(frozen=True)
class Risks:
    """What was predicted: a row for each stay, or for each stay and hour; the columns are told by ``predict``."""

    table: pd.DataFrame


def predict(
    module: IcuModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    every: float | None = None,
    time_column: str | None = None,
    group_column: str | None = None,
    variable_column: str | None = None,
    value_column: str | None = None,
    duplicates: str = "mean",
    notify: Notify = lambda line: None,
) -> Risks:
    """Tell the risks of every stay of a file; write them and a picture of them. For research only.

    Args:
        module: a trained module, on the device it is to run on.
        input: a CSV in wide or long form in which a column tells stays apart, its times as in training: hours since
            admission, or dates. A channel that the file lacks counts as never observed. It has the columns of what was
            known at admission in training, empty where not known.
        output: the CSV to write: ``stay``, ``hour`` by which what is used was known, ``risk_NAME`` of every class,
            ``set`` of the classes that it is promised to hold what happens, with bars between, and ``abstains``, yes
            where the set is not one class.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        every: hours between risks of a stay, each with what was known by then, up to the last row of the stay; None
            for one risk a stay.
        time_column, group_column, variable_column, value_column, duplicates: how the CSV is read, see ``read_table``.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the file cannot be read, has none of the channels the module was trained on, or lacks a column of
            what was known at admission; or a place to write, or ``every``, is not right.
    """
    task = module.network.built_for
    assert isinstance(task, IcuTask)
    require_places(input, output, figure)
    if every is not None and (every <= 0 or abs(every / task.bin - round(every / task.bin)) > 1e-6):
        raise InputError(f"--every {every:g} must be a whole number of the run's bins of {task.bin:g} h.")
    table = read_table(
        input,
        channels=task.channels,
        optional=task.channels,
        features=task.static[:-1],
        time_column=time_column,
        group_column=group_column,
        variable_column=variable_column,
        value_column=value_column,
        duplicates=duplicates,
    )
    stays = stays_of(table, task, input)
    known = known_by(stays, task.cutoff)
    for notice in [RESEARCH_ONLY, *known.notices, *(_ends_early(known, task) if every is None else [])]:
        notify(notice)
    rows, hours = _asked(known, task, every)
    made = prepared(stays, task)
    frame = to_frame(module, module.judge(made, rows, hours), [made.ids[row] for row in rows], hours)
    picture = None if figure is None else _picture(frame, task, figure.suffix, by_hour=every is not None)
    # Both are made before either is written.
    write_atomically(output, frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return Risks(frame)


def stays_of(table: Table, task: IcuTask, path: Path) -> LabelledSeries:
    """Return the stays of a table with the channels of a task, all of its first class.

    Raises:
        InputError: no column tells stays apart, none of the channels is there, or times are not as in training.
    """
    if table.group_column is None:
        raise InputError(f"{path}: a risk belongs to a stay, name the column of the stay: --group-column.")
    if not any(np.isfinite(one.values).any() for one in table.series):
        raise InputError(f"{path} has no value of the channels trained on, such as {', '.join(task.channels[:5])}.")
    dated = table.time_unit in MICROSECONDS
    if dated != task.dated:
        was, found = ("dates", "numbers") if task.dated else ("hours since admission", "dates")
        raise InputError(f"{path}: its times are {found}, and those of the run's data were {was}: give them alike.")
    series = LabelledSeries(
        name="table",
        channels=task.channels,
        classes=task.classes,
        times=[one.times.astype(np.float64) for one in table.series],
        values=[one.values.astype(np.float32) for one in table.series],
        labels=np.zeros(len(table.series), dtype=np.int64),
        ids=[one.group for one in table.series],
        static=table.static if len(task.static) > 1 else None,
        static_names=[name for name in task.static if name != HOURS_KNOWN],
        time_unit=table.time_unit,
        notices=table.notices,
    )
    return as_stays(series, outside=task.outside)


def to_frame(module: IcuModule, scores: np.ndarray, ids: list[str], hours: np.ndarray) -> pd.DataFrame:
    """Lay the risks, sets and abstentions of judged stays out, a row each."""
    classes = module.network.built_for.classes
    risks = module.risks(scores)
    frame = pd.DataFrame({"stay": ids, "hour": hours})
    for number, name in enumerate(classes):
        frame[f"risk_{name}"] = risks[:, number]
    sets = module.sets(risks)
    if sets is not None:
        frame["set"] = ["|".join(name for name, held in zip(classes, own, strict=True) if held) for own in sets]
        frame["abstains"] = np.where(sets.sum(1) == 1, "no", "yes")
    return frame


def _asked(known: LabelledSeries, task: IcuTask, every: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return row and hour of each risk to be told: the cutoff, or hours up to the bin of the stay's last row."""
    rows, hours = [], []
    for row in range(len(known)):
        until = task.elements * task.bin if every is None else _last(known, row, task)
        asked = [until] if every is None else [*np.arange(every, until - 1e-6, every), until]
        rows += [row] * len(asked)
        hours += [float(hour) for hour in asked]
    return np.array(rows), np.array(hours)


def _last(known: LabelledSeries, row: int, task: IcuTask) -> float:
    """Return the end of the bin of a stay's last row."""
    place = int(np.ceil(round(float(known.times[row][-1]) / task.bin, 9)))
    return task.bin * min(max(place, 1), task.elements)


def _ends_early(known: LabelledSeries, task: IcuTask) -> list[str]:
    """Return a line on stays whose rows end well before the cutoff, none where there are none."""
    short = [name for row, name in enumerate(known.ids) if _last(known, row, task) < 0.75 * task.cutoff]
    if not short:
        return []
    return [
        f"the rows of {len(short):,} stays end before hour {0.75 * task.cutoff:g}: they are judged as if nothing was "
        f"observed until hour {task.cutoff:g}, as in training; --every tells the risk by the hour of their last row"
    ]


def _picture(frame: pd.DataFrame, task: IcuTask, suffix: str, *, by_hour: bool) -> bytes:
    """Draw the risks of the first stays: lines over the hours, or a bar each."""
    column = f"risk_{task.classes[-1]}"
    names = list(dict.fromkeys(frame["stay"]))[:MOST_ROWS]
    content = io.BytesIO()
    with figures.style():
        drawn = figures.figure(figures.WIDE, 3.2 if by_hour else 1.2 + 0.26 * len(names))
        axes = drawn.add_subplot()
        if by_hour:
            for name in names:
                own = frame[frame["stay"] == name]
                axes.plot(own["hour"], own[column], color=figures.MODEL, alpha=max(0.15, 1 / len(names)), marker=".")
            axes.set_ylim(0, 1)
            axes.set_xlabel("hours since admission")
            axes.set_ylabel(f"risk: {task.classes[-1]}")
        else:
            own = frame[frame["stay"].isin(names)]
            axes.barh(range(len(own)), own[column], color=figures.MODEL)
            axes.set_yticks(range(len(own)), own["stay"])
            axes.set_xlim(0, 1)
            axes.set_xlabel(f"risk: {task.classes[-1]}")
            axes.invert_yaxis()
        axes.set_title("Research use only" + (f"; the first {MOST_ROWS} stays" if len(names) == MOST_ROWS else ""))
        drawn.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
