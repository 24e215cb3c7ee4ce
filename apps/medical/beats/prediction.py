"""Beats of a recording with their classes, as annotations of WFDB or a CSV, and a picture of the rarest."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from integrand.apps.medical.beats.answers import UNCERTAIN, UNUSABLE, Answer, answers, columns
from integrand.apps.medical.beats.data import scaled
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.prediction_figure import picture
from integrand.apps.medical.beats.task import BeatTask
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError
from integrand.datasets.beat_detection import detect_beats
from integrand.datasets.beat_series import BAND, BeatSeries, beat_series
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.edf_files import SUFFIXES, read_edf
from integrand.datasets.online_beats import OnlineBeatDetector
from integrand.datasets.recording import Events, Recording, with_leads
from integrand.datasets.signal_quality import signal_quality
from integrand.datasets.signal_rows import read_signal_csv
from integrand.datasets.wfdb_files import HEADER, read_wfdb, write_events

Notify = Callable[[str], None]

TABLES = (".csv", ".txt", ".tsv")
TAKEN = ("atr", "hea", "dat", "edf", "bdf", "txt", "tsv", "json")
"""Suffixes that no annotations of ours have: those of the publisher's, of signals, and of what is no annotation."""
WIDEST = 20.0
"""mV that the middle nine tenths of no lead span, unless it is not in mV."""


@dataclass(frozen=True)
class NamedBeats:
    """What was said of a recording.

    Attributes:
        series: its beats.
        answers: one for each.
    """

    series: BeatSeries
    answers: list[Answer]


def predict(
    module: BeatModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    annotator: str | None = None,
    rate: float | None = None,
    notify: Notify = lambda line: None,
) -> NamedBeats:
    """Name the beats of a recording; write what is said of them and a picture.

    Args:
        module: a trained module, on the device it is to run on.
        input: a record of WFDB (``NAME.hea``, or ``NAME``), a file of EDF, or a table of text, see ``SignalRows``;
            with the leads that the run was trained on.
        output: a CSV to write, or annotations of WFDB where it ends otherwise, as in ``100.pred``. Annotations are N,
            S, V, F and Q of the likeliest class, noted ``uncertain`` where the conformal set does not hold exactly one
            class; and Q, noted ``unusable``, where the signal shows nothing of the heart.
        figure: the picture to write, ``.png``, ``.pdf`` or ``.svg``; None for none.
        annotator: suffix of a WFDB record's annotations whose places of beats are taken. Where None, and a table has no
            column of beats, they are found in the signal: a causal run finds them as a stream does.
        rate: Hz, of a table; told by its stamps where None.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the recording cannot be read, lacks a lead, is not in mV, or has too few beats; a place to write is
            not right.
    """
    task = module.network.built_for
    require_places(input, output, figure)
    suffix = _annotator(output)
    recording = with_leads(_read(input, annotator, rate), task.leads)
    _check(recording)
    notify(RESEARCH_ONLY)
    for line in (*recording.notices, *signal_quality(recording).told(recording.leads)):
        notify(line if line.startswith(recording.id) else f"{recording.id}: {line}")
    if annotator is None and not len(recording.events):
        recording = replace(recording, events=_found(recording, task))
    series = beat_series(recording, rate=task.rate, causal=task.causal)
    p = named(module, series)
    sets = module.sets(p)
    if sets is None:
        notify("this run was not calibrated, for want of a validation part: every answer is the likeliest class")
    said = answers(p, sets, series.usable, task.classes)
    # All is made before anything is written.
    drawn = None if figure is None else picture(series, said, figure.suffix)
    content = _annotations(series, said, recording.rate, output) if suffix else to_csv(series, said, task.classes)
    write_atomically(output, content)
    if figure is not None and drawn is not None:
        write_atomically(figure, drawn)
    return NamedBeats(series, said)


@torch.inference_mode()
def named(module: BeatModule, series: BeatSeries) -> np.ndarray:
    """Return the probabilities of the beats of a recording, (N, K) float64 on the host."""
    run = scaled(series, module.network.built_for).to(module.device)
    return module.eval()(run)[0].cpu().double().numpy()


def to_csv(series: BeatSeries, said: list[Answer], classes: list[str]) -> str:
    """Write beats as text: record, sample, time_s, and what is said of each."""
    lines = [",".join(["record", "sample", "time_s", *columns(classes)])]
    for sample, time, one in zip(series.samples, series.times, said, strict=True):
        lines.append(",".join([series.id, str(sample), f"{time:.6f}", *one.cells()]))
    return "\n".join([*lines, ""])


def _annotator(output: Path) -> str | None:
    """Return the suffix of the annotations to write, None for a table.

    Raises:
        InputError: annotations have no such suffix.
    """
    suffix = output.suffix.removeprefix(".")
    if suffix.lower() == "csv":
        return None
    if not (suffix.isascii() and suffix.isalpha()) or suffix.lower() in TAKEN:
        raise InputError(
            f"--output {output} is neither a CSV nor annotations of ours: end it in .csv, or in .pred for WFDB."
        )
    if not output.stem.replace("-", "").replace("_", "").isalnum():
        raise InputError(
            f"--output {output}: WFDB has names of letters, digits, hyphens and underscores alone: name another."
        )
    return suffix


def _read(path: Path, annotator: str | None, rate: float | None) -> Recording:
    kind = path.suffix.lower()
    if annotator is not None and (kind in SUFFIXES or kind in TABLES):
        raise InputError(f"--annotator {annotator} is for records of WFDB, {path.name} is none: leave it out.")
    if kind in TABLES:
        return read_signal_csv(path, rate=rate)
    if rate is not None:
        raise InputError(f"--rate {rate:g} is for tables of text, {path.name} tells its own: leave it out.")
    if kind in SUFFIXES:
        # What an EDF file has marked is free text, and names no beats.
        return replace(read_edf(path), events=Events.of([], []))
    if kind and kind != HEADER and not Path(f"{path}{HEADER}").is_file():
        raise InputError(
            f"--input {path.name} is neither a header of WFDB (NAME.hea), nor EDF, nor a CSV: name one of these."
        )
    return read_wfdb(path, annotator=annotator)


def _check(recording: Recording) -> None:
    """Refuse what cannot be an electrocardiogram in mV of which beats are seen."""
    if recording.rate <= 2 * BAND[1]:
        raise InputError(
            f"recording {recording.id} has {recording.rate:g} Hz, and more than {2 * BAND[1]:g} are needed: give "
            "one of a higher rate."
        )
    for place, (lead, unit) in enumerate(zip(recording.leads, recording.units, strict=True)):
        x = recording.signal[:, place]
        x = x[np.isfinite(x)]
        if unit == "mV" and not len(x):
            raise InputError(f"recording {recording.id}: lead {lead} is missing throughout: give one that has it.")
        if unit == "mV" and (span := float(np.subtract(*np.quantile(x, [0.95, 0.05])))) > WIDEST:
            raise InputError(
                f"recording {recording.id}: lead {lead} spans {span:.4g} mV, more than any heart has: give it in mV."
            )


def _found(recording: Recording, task: BeatTask) -> Events:
    """Find the beats: as a stream does where the run is causal, else in the first lead that shows something."""
    if task.causal:
        detector = OnlineBeatDetector(recording.rate, len(recording.leads))
        places = np.concatenate([detector.push(recording.signal), detector.finish()])
        return Events.of(places, ["N"] * len(places))
    usable = signal_quality(recording).usable
    return detect_beats(recording, lead=int(np.argmax(usable.any(axis=0))))


def _annotations(series: BeatSeries, said: list[Answer], rate: float, output: Path) -> bytes:
    """Return the bytes of a file of annotations."""
    symbols = ["Q" if one.answer == UNUSABLE else one.name for one in said]
    notes = [one.answer if one.answer in (UNCERTAIN, UNUSABLE) else "" for one in said]
    with tempfile.TemporaryDirectory() as folder:
        events = Events.of(series.samples, symbols, notes)
        return write_events(Path(folder, output.stem), output.suffix[1:], events, rate=rate).read_bytes()
