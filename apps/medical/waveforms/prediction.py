"""What a run says of a recording: its clean signal as a CSV, or its beats as annotations of WFDB or a CSV."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from integrand.apps.medical.waveforms.denoising_figures import strip
from integrand.apps.medical.waveforms.detection_figures import beat_strip
from integrand.apps.medical.waveforms.matching import heart_rates, pick_beats
from integrand.apps.medical.waveforms.module import BeatDetectionModule, DenoisingModule, WaveformModule
from integrand.apps.medical.waveforms.reading import Reading, read
from integrand.apps.training import figures
from integrand.apps.training.files import write_atomically
from integrand.apps.training.places import require_places
from integrand.core.errors import InputError
from integrand.datasets.beat_detection import on_peaks
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.recording import Events, Recording
from integrand.datasets.recording_files import read_recording
from integrand.datasets.signal_quality import signal_quality
from integrand.datasets.wfdb_files import write_events

Array = np.ndarray
Notify = Callable[[str], None]
STRIPS = 3
STRIP_SECONDS = 10.0


class Cleaned(NamedTuple):
    """What was written of a recording that was cleaned: ``time``, and of each lead ``NAME``, ``NAME_std`` in mV."""

    table: pd.DataFrame


class Beats(NamedTuple):
    """What was written of a recording whose beats were found.

    Attributes:
        events: the beats, with the symbol ``N``.
        probability: (N,) of each.
    """

    events: Events
    probability: Array


def denoise(
    module: DenoisingModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    time_column: str | None = None,
    notify: Notify = lambda line: None,
) -> Cleaned:
    """Clean every lead of a recording, fill its gaps, and write it; draw strips of the first lead.

    Args:
        module: a trained module, on the device it is to run on.
        input: a record of WFDB or EDF, or a CSV with a column of times.
        output: the CSV to write: ``time`` in seconds, and of each lead in mV the clean signal and its deviation.
        figure: the picture to write; None for none.
        time_column: of a CSV.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the recording cannot be read, or has no lead in mV; a place to write is not right.
    """
    require_places(input, output, figure)
    recording = _electric(_read(input, time_column, notify), notify)
    readings = [_reading(module, recording, lead, notify) for lead in range(len(recording.leads))]
    columns: dict[str, Array] = {"time": np.arange(len(recording.signal)) / recording.rate}
    for name, reading in zip(recording.leads, readings, strict=True):
        columns |= {name: reading.mean, f"{name}_std": reading.std}
    table = pd.DataFrame(columns)
    picture = None if figure is None else _cleaned_picture(recording, readings[0])
    write_atomically(output, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _write_picture(figure, picture)
    return Cleaned(table)


def find_beats(
    module: BeatDetectionModule,
    *,
    input: Path,
    output: Path,
    figure: Path | None,
    time_column: str | None = None,
    notify: Notify = lambda line: None,
) -> Beats:
    """Find the beats of a recording's first lead and write them; draw strips.

    Args:
        module: a trained module, on the device it is to run on.
        input: a record of WFDB or EDF, or a CSV with a column of times.
        output: ``NAME.csv`` with ``sample``, ``time`` in seconds, ``probability`` and ``heart_rate`` in 1/min from the
            beat before; or annotations of WFDB, ``NAME.SUFFIX`` with a suffix of letters.
        figure: the picture to write; None for none.
        time_column: of a CSV.
        notify: told what the user should know, a line each.

    Raises:
        InputError: the recording cannot be read, or has no lead in mV; a place to write is not right; there is no beat
            to write as annotations.
    """
    require_places(input, output, figure)
    recording = _electric(_read(input, time_column, notify), notify)
    reading = _reading(module, recording, 0, notify)
    found = _beats(module, recording, reading, lead=0)
    picture = None if figure is None else _beats_picture(recording, reading, found.events.samples)
    if output.suffix.lower() == ".csv":
        write_atomically(output, to_table(found, recording.rate).to_csv(index=False, lineterminator="\n"))
    else:
        write_events(output.with_suffix(""), output.suffix.removeprefix("."), found.events, rate=recording.rate)
    _write_picture(figure, picture)
    return found


def beats_by_run(module: BeatDetectionModule, recording: Recording, *, lead: int | str = 0) -> Events:
    """Return the beats that a run finds in a lead of a recording, each at its R peak, with the symbol ``N``.

    What ``datasets.beat_detection.detect_beats`` does by wfdb.

    Args:
        module: a trained module, on the device it is to run on.
        recording: in millivolts.
        lead: its name, or its number.
    """
    place = recording.leads.index(lead) if isinstance(lead, str) and lead in recording.leads else lead
    if not isinstance(place, int):
        recording, place = recording.select([place]), 0
    reading = read(module, recording.signal[:, place].astype(np.float64), recording.rate)
    return _beats(module, recording, reading, lead=place).events


def to_table(found: Beats, rate: float) -> pd.DataFrame:
    """Lay beats out in rows, with the heart rate since the beat before, NaN of the first."""
    times = found.events.samples / rate
    with np.errstate(divide="ignore"):
        since = 60 / np.diff(times, prepend=np.nan)
    return pd.DataFrame(
        {
            "sample": found.events.samples,
            "time": times.round(6),
            "probability": found.probability.round(4),
            "heart_rate": since.round(2),
        }
    )


def _read(path: Path, time_column: str | None, notify: Notify) -> Recording:
    recording = read_recording(path, time_column=time_column)
    notify(RESEARCH_ONLY)
    for notice in recording.notices:
        notify(notice)
    return recording


def _electric(recording: Recording, notify: Notify) -> Recording:
    """Return a recording with its leads in millivolts alone, and tell where they show nothing of the heart."""
    kept = [lead for lead, unit in zip(recording.leads, recording.units, strict=True) if unit == "mV"]
    if not kept:
        raise InputError(f"recording {recording.id} has no lead in mV: name the units in its header.")
    chosen = recording.select(kept)
    for line in signal_quality(chosen).told(kept):
        notify(line)
    return chosen


def _reading(module: WaveformModule, recording: Recording, lead: int, notify: Notify) -> Reading:
    task = module.network.built_for
    if lead == 0 and recording.rate != task.rate:
        how = "read at its own rate" if module.network.any_rate else f"resampled to {task.rate:g} Hz"
        notify(f"the recording has {recording.rate:g} Hz, the run was trained at {task.rate:g} Hz: it is {how}")
    signal = recording.signal[:, lead].astype(np.float64)
    if not np.isfinite(signal).any():
        raise InputError(f"recording {recording.id}: lead {recording.leads[lead]} is missing throughout.")
    return read(module, signal, recording.rate)


def _beats(module: BeatDetectionModule, recording: Recording, reading: Reading, *, lead: int) -> Beats:
    """Return the beats of a reading, at the R peaks of the signal where that is there."""
    signal = recording.signal[:, lead].astype(np.float64)
    there = np.isfinite(signal)
    places = np.arange(len(signal))
    whole = np.interp(places, places[there], signal[there]) if there.any() else np.zeros(len(signal))
    found = pick_beats(reading.probability, recording.rate, float(module.threshold))
    found = on_peaks(whole, found[there[found]], recording.rate)
    reach = round(0.06 * recording.rate)
    wide = np.pad(reading.probability, reach)
    near = wide[found[:, None] + np.arange(2 * reach + 1)].max(axis=1) if len(found) else np.zeros(0)
    return Beats(Events.of(found, ["N"] * len(found)), near)


def _starts(recording: Recording) -> list[tuple[int, int]]:
    """Return the bounds of strips spread evenly over a recording."""
    size = min(len(recording.signal), round(STRIP_SECONDS * recording.rate))
    count = max(1, min(STRIPS, len(recording.signal) // size))
    firsts = np.linspace(0, len(recording.signal) - size, count).round().astype(int)
    return [(int(first), int(first) + size) for first in firsts]


def _cleaned_picture(recording: Recording, reading: Reading) -> "figures.Figure":
    bounds = _starts(recording)
    with figures.style():
        drawn = figures.figure(figures.WIDE, 0.7 + 1.9 * len(bounds))
        panels = drawn.subplots(len(bounds), 1, squeeze=False)[:, 0]
        for axes, (first, end) in zip(panels, bounds, strict=True):
            part = slice(first, end)
            seconds = np.arange(first, end) / recording.rate
            strip(axes, seconds, recording.signal[part, 0], reading.mean[part], reading.std[part], None)
        panels[0].set_title(f"{recording.id}, lead {recording.leads[0]}. {RESEARCH_ONLY}")
        panels[-1].set_xlabel("seconds")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return drawn


def _beats_picture(recording: Recording, reading: Reading, beats: Array) -> "figures.Figure":
    bounds, rate = _starts(recording), recording.rate
    with figures.style():
        drawn = figures.figure(figures.WIDE, 2.6 + 1.9 * len(bounds))
        panels = drawn.subplots(len(bounds) + 1, 1, squeeze=False)[:, 0]
        for axes, (first, end) in zip(panels, bounds, strict=False):
            own = beats[(beats >= first) & (beats < end)] / rate
            part = slice(first, end)
            seconds = np.arange(first, end) / rate
            beat_strip(axes, seconds, recording.signal[part, 0], reading.probability[part], own, None)
        panels[0].set_title(f"{recording.id}, lead {recording.leads[0]}. {RESEARCH_ONLY}")
        told = heart_rates(beats, rate, len(recording.signal))
        panels[-1].plot((np.arange(len(told)) + 0.5) * 10, told, color=figures.MODEL)
        panels[-1].set_ylabel("1/min")
        panels[-1].set_xlabel("seconds")
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return drawn


def _write_picture(path: Path | None, drawn: "figures.Figure | None") -> None:
    import io

    if path is None or drawn is None:
        return
    content = io.BytesIO()
    with figures.style():
        drawn.savefig(content, format=path.suffix.lower().removeprefix("."))
    write_atomically(path, content.getvalue())
