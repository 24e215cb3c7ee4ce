"""A user's recording, cut for a trained network, and where what is said of it is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from integrand.apps.medical.segments.task import SegmentTask
from integrand.apps.training import figures
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError, listed
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.edf_files import SUFFIXES, read_edf
from integrand.datasets.recording import ANY, Recording
from integrand.datasets.segments import Segments, segments_of, under_asked_names
from integrand.datasets.wfdb_files import read_wfdb

QUALITY = 0.9
"""Least share of usable samples of every lead in a segment of which something is said."""


@dataclass(frozen=True)
class CutRecording:
    """A recording and its segments.

    Attributes:
        recording: as it was read.
        starts: (M,) seconds of all segments, one after the other.
        segments: those of good quality, (N <= M).
        told: (M,) which of all they are, as bool.
    """

    recording: Recording
    starts: np.ndarray
    segments: Segments
    told: np.ndarray


def cut_recording(path: Path, task: SegmentTask, *, annotator: str | None) -> CutRecording:
    """Read a record of WFDB or EDF and cut it as a task's segments are.

    Args:
        path: a header ``NAME.hea``, a record ``NAME`` or a file of EDF.
        task: what the network was trained on.
        annotator: suffix of the annotations that mark its beats; None for none.

    Raises:
        InputError: the record cannot be read, lacks a lead, is too short, or no segment of it can be used.
    """
    edf = path.suffix.lower() in SUFFIXES
    recording = read_edf(path) if edf else read_wfdb(path, annotator=annotator)
    lost = [lead for lead in task.leads if lead != ANY and lead not in recording.leads]
    if lost or len(recording.leads) < len(task.leads):
        raise InputError(
            f"record {recording.id} has the leads {listed(recording.leads)}, where the run was trained on "
            f"{listed(task.leads)}: give a record that has them."
        )
    chosen = under_asked_names(recording, task.leads)

    def said(_: Recording):  # what holds is not known, which is no reason to leave it out
        return lambda start, end: ()

    segments = segments_of(chosen, task.classes, said, seconds=task.seconds, rate=task.rate, quality=QUALITY)
    if not len(segments):
        raise InputError(f"record {recording.id}: no segment has a usable signal in all of {', '.join(task.leads)}.")
    starts = np.arange(int(recording.seconds / task.seconds + 1e-9)) * task.seconds
    return CutRecording(recording, starts, segments, np.isin(np.round(starts, 6), np.round(segments.starts, 6)))


def require_outputs(input: Path, output: Path, figure: Path | None, *, kinds: Sequence[str]) -> None:
    """Refuse places to write that would not do, before anything is computed.

    Raises:
        InputError: as ``require_places``, or what is written is of an unknown kind.
    """
    for name, place in (("output", output), ("figure", figure)):
        if place is not None and place.resolve() == input.resolve():
            raise InputError(f"--{name} {place} is the input: name another file.")
    require_places(input, output, figure)
    if output.suffix.lower() != ".csv" and not output.suffix[1:].isalpha():
        raise InputError(f"--output {output} must end in {', '.join(kinds)}.")


def told_of(cut: CutRecording, task: SegmentTask) -> list[str]:
    """Return what a user must know of what is said of a recording, a line each."""
    simulated = ["the model was trained on simulated patients alone"] if task.simulated else []
    return [RESEARCH_ONLY, *cut.segments.told, *simulated]


def draw_along(cut: CutRecording, found: np.ndarray, task: SegmentTask, *, suffix: str) -> bytes:
    """Draw the probabilities (N, K) of a recording's segments along its time, and return the picture's file.

    Where the signal cannot be used the picture is empty.
    """
    shown = np.full((len(task.classes), len(cut.starts)), np.nan)
    shown[:, cut.told] = found.T
    end = float(cut.starts[-1]) + task.seconds
    with figures.style():
        drawn = figures.figure(figures.WIDE, 1.2 + 0.4 * len(task.classes))
        axes = drawn.add_subplot()
        image = axes.imshow(
            shown,
            cmap="Blues",
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=(0.0, end, len(task.classes) - 0.5, -0.5),
            interpolation="nearest",
        )
        axes.set_yticks(range(len(task.classes)), task.classes)
        axes.set_xlabel("time (s)")
        axes.grid(visible=False)
        axes.set_title(f"{cut.recording.id}: for research only")
        drawn.colorbar(image, ax=axes, label="probability")
        content = BytesIO()
        drawn.savefig(content, format=suffix.lower().removeprefix("."))
    return content.getvalue()
