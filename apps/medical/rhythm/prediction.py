"""Rhythms along a recording, as a CSV or as annotations that WFDB reads, and a picture of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.apps.medical.rhythm.module import RhythmModule
from integrand.apps.medical.segments.recordings import (
    CutRecording,
    cut_recording,
    draw_along,
    require_outputs,
    told_of,
)
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError
from integrand.datasets.recording import Events
from integrand.datasets.rhythms import CHANGE, RHYTHMS
from integrand.datasets.wfdb_files import write_events

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Rhythms:
    """What was predicted: a row for each segment, see ``to_frame``."""

    table: pd.DataFrame


def predict(
    module: RhythmModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None = None,
    annotator: str | None = None,
    notify: Notify = lambda line: None,
) -> Rhythms:
    """Name the rhythm of each segment of a recording; write the names and a picture of them.

    Args:
        module: a trained module, on the device it is to run on.
        input: a record of WFDB, by its header or its bare name, or a file of EDF.
        output: a ``.csv``, or ``NAME.SUFFIX`` of letters for annotations of WFDB: a change of rhythm wherever the name
            changes, and a mark ``U`` on the quality where the signal cannot be used.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        annotator: suffix of the annotations that mark the record's beats, for networks that see intervals.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the record cannot be read or lacks a lead, no segment can be used, a place to write is not right.
    """
    task = module.network.built_for
    require_outputs(input, output, figure, kinds=(".csv", "a suffix of letters such as .rhy"))
    cut = cut_recording(input, task, annotator=annotator)
    found = module.named(cut.segments)
    frame = to_frame(cut, found, module)
    picture = None if figure is None else draw_along(cut, found, task, suffix=figure.suffix)
    for line in told_of(cut, task):
        notify(line)
    if output.suffix.lower() == ".csv":
        write_atomically(output, frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    else:
        events = to_events(frame, cut.recording.rate)
        write_events(output.with_suffix(""), output.suffix[1:], events, rate=cut.recording.rate)
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return Rhythms(frame)


def to_frame(cut: CutRecording, found: np.ndarray, module: RhythmModule) -> pd.DataFrame:
    """Return a row for each segment: ``start`` and ``end`` in seconds, ``class``, ``probability_NAME``, ``set``.

    Of a segment whose signal cannot be used nothing is said. ``set`` has semicolons between the classes that the
    conformal threshold leaves.
    """
    classes = module.network.built_for.classes
    seconds = module.network.built_for.seconds
    frame = pd.DataFrame({"start": cut.starts, "end": cut.starts + seconds})
    rows = np.flatnonzero(cut.told)
    frame["class"] = ""
    frame.loc[rows, "class"] = [classes[k] for k in found.argmax(axis=1)]
    for k, name in enumerate(classes):
        frame[f"probability_{name}"] = np.nan
        frame.loc[rows, f"probability_{name}"] = found[:, k]
    sets = module.sets(found)
    if sets is not None:
        frame["set"] = ""
        frame.loc[rows, "set"] = [
            ";".join(name for name, held in zip(classes, row, strict=True) if held) for row in sets
        ]
    return frame


def to_events(frame: pd.DataFrame, rate: float) -> Events:
    """Return the changes of rhythm as WFDB has them: code ``+`` and the rhythm's note; ``~`` with the note ``U`` where
    the signal cannot be used.

    Raises:
        InputError: a class that is no rhythm of WFDB, as a user's own labels may be.
    """
    strange = sorted({name for name in frame["class"] if name and name not in RHYTHMS})
    if strange:
        raise InputError(f"{strange[0]!r} is no rhythm that WFDB has a note for: write a .csv.")
    told = frame["class"].to_numpy()
    changed = np.append(True, told[1:] != told[:-1])
    names = [str(name) for name in told[changed]]
    return Events.of(
        np.rint(frame["start"].to_numpy()[changed] * rate).astype(np.int64),
        [CHANGE if name else "~" for name in names],
        [RHYTHMS[name][0] if name else "U" for name in names],
    )
