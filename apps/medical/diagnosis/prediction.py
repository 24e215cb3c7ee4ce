"""What is found in each segment of a recording, as a CSV and a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from integrand.apps.medical.diagnosis.module import DiagnosisModule
from integrand.apps.medical.segments.recordings import (
    CutRecording,
    cut_recording,
    draw_along,
    require_outputs,
    told_of,
)
from integrand.apps.training.files import write_atomically
from integrand.core.errors import InputError

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Diagnoses:
    """What was predicted: a row for each segment, see ``to_frame``."""

    table: pd.DataFrame


def predict(
    module: DiagnosisModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None = None,
    notify: Notify = lambda line: None,
) -> Diagnoses:
    """Label each segment of a recording; write the labels and a picture of their probabilities.

    Args:
        module: a trained module, on the device it is to run on.
        input: a record of WFDB, by its header or its bare name, or a file of EDF.
        output: the ``.csv`` to write.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the record cannot be read or lacks a lead, no segment can be used, a place to write is not right.
    """
    task = module.network.built_for
    require_outputs(input, output, figure, kinds=(".csv",))
    if output.suffix.lower() != ".csv":
        raise InputError(f"--output {output} must end in .csv: labels have no annotation of WFDB.")
    cut = cut_recording(input, task, annotator=None)
    found = module.named(cut.segments)
    frame = to_frame(cut, found, module)
    picture = None if figure is None else draw_along(cut, found, task, suffix=figure.suffix)
    for line in told_of(cut, task):
        notify(line)
    write_atomically(output, frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    if figure is not None and picture is not None:
        write_atomically(figure, picture)
    return Diagnoses(frame)


def to_frame(cut: CutRecording, found: np.ndarray, module: DiagnosisModule) -> pd.DataFrame:
    """Return a row for each segment: ``start`` and ``end`` in seconds, ``labels``, ``probability_NAME``, ``set``.

    ``labels`` are those named, ``set`` those that cannot be ruled out, with semicolons between. Of a segment whose
    signal cannot be used nothing is said, and ``usable`` is 0.
    """
    task = module.network.built_for
    rows, classes = np.flatnonzero(cut.told), task.classes
    frame = pd.DataFrame({"start": cut.starts, "end": cut.starts + task.seconds, "usable": cut.told.astype(int)})

    def joined(chosen: np.ndarray) -> list[str]:
        return [";".join(name for name, held in zip(classes, row, strict=True) if held) for row in chosen]

    frame["labels"] = ""
    frame.loc[rows, "labels"] = joined(found >= module.limits())
    for k, name in enumerate(classes):
        frame[f"probability_{name}"] = np.nan
        frame.loc[rows, f"probability_{name}"] = found[:, k]
    sets = module.sets(found)
    if sets is not None:
        frame["set"] = ""
        frame.loc[rows, "set"] = joined(sets)
    return frame
