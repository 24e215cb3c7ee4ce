"""Scoring a trained beat detector on the test part, beside the detectors of wfdb.

Dimension letters: L samples, N beats, W windows of time, G patients.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from integrand.apps.medical.waveforms.data import WaveformData
from integrand.apps.medical.waveforms.matching import heart_rates, matched, pick_beats
from integrand.apps.medical.waveforms.module import BeatDetectionModule
from integrand.apps.medical.waveforms.patient_bootstrap import compared
from integrand.apps.medical.waveforms.reading import read
from integrand.apps.medical.waveforms.sources import Lead
from integrand.apps.training.tables import further_table
from integrand.core.errors import InputError
from integrand.datasets.beat_detection import METHODS, detect_beats
from integrand.datasets.recording import Recording
from integrand.datasets.splits import PARTS
from integrand.datasets.waveform_noise import Corruption

Array = np.ndarray
Notify = Callable[[str], None]
STRETCH_SECONDS = 60.0
"""Of a whole recording that has one signal-to-noise ratio."""
METRICS = {
    "f1": "harmonic mean of sensitivity and positive predictivity, with noise",
    "sensitivity": "share of the beats that are found within 150 ms, with noise",
    "predictivity": "share of what is said to be a beat that is one, with noise",
    "heart_rate_error": "mean absolute error of the heart rate of 10 s, 1/min, with noise",
    "f1_as_recorded": "the first without the noise that was drawn",
    "heart_rate_error_as_recorded": "the fourth without the noise that was drawn",
}
"""Metrics and what they are."""


@dataclass(frozen=True)
class Detected:
    """What was found in one lead, as it was recorded or with noise.

    Attributes:
        lead: with its beats.
        signal: (L,) mV that was read, NaN in gaps.
        snr: (S,) dB of each stretch of ``STRETCH_SECONDS``; of a lead as it was recorded none.
        probability: (L,) by the model, that a beat is near.
        beats: (N,) samples, by the model and by each baseline.
    """

    lead: Lead
    signal: Array
    snr: Array
    probability: Array
    beats: dict[str, Array]


@dataclass(frozen=True)
class DetectionEvaluation:
    """What the figures and the report are drawn from.

    Attributes:
        name: the model's name.
        noisy, recorded: of each lead of the test part, with noise and as it was recorded.
        results: what goes to ``results.json``.
    """

    name: str
    noisy: list[Detected]
    recorded: list[Detected]
    results: dict[str, Any]


def evaluate(
    module: BeatDetectionModule, data: WaveformData, *, name: str, seed: int, notify: Notify
) -> DetectionEvaluation:
    """Score the model and the baselines on whole recordings of the test part, with noise and without.

    Args:
        module: the trained module, on the device it is to run on.
        data: its data.
        name: the model's name in the tables.
        seed: what the run was seeded with, for the record.
        notify: told what is being done, one line each.
    """
    leads = data.whole("test")
    found: dict[str, list[Detected]] = {"noisy": [], "recorded": []}
    notify(f"finding the beats of {len(leads)} test recordings by {name} and by {' and '.join(METHODS)}")
    for number, lead in enumerate(leads):
        noisy, snr = with_noise(lead, data.corruption, number)
        for how, signal, ratios in (("noisy", noisy, snr), ("recorded", lead.signal, np.zeros(0))):
            found[how].append(detected(module, lead, signal, ratios, name))
    return DetectionEvaluation(
        name=name,
        noisy=found["noisy"],
        recorded=found["recorded"],
        results=_results(name, found, data, float(module.threshold), seed),
    )


def detected(module: BeatDetectionModule, lead: Lead, signal: Array, snr: Array, name: str) -> Detected:
    """Return what model and baselines find in a signal of a lead."""
    reading = read(module, signal, lead.rate)
    beats = {name: pick_beats(reading.probability, lead.rate, float(module.threshold))}
    recording = Recording(lead.id, lead.patient, signal[:, None].astype(np.float32), lead.rate, [lead.name], ["mV"])
    for method in METHODS:
        beats[method] = detect_beats(recording, method=method).samples
    return Detected(lead, signal, snr, reading.probability, beats)


def with_noise(lead: Lead, corruption: Corruption, number: int) -> tuple[Array, Array]:
    """Return a lead with noise, (L,) NaN in gaps, and the ratios of its stretches; the same always."""
    generator = np.random.Generator(np.random.Philox(key=[2**33, number]))
    found = np.empty(len(lead.signal))
    ratios = []
    for first, end in stretches(lead):
        clean = lead.signal[first:end].astype(np.float64)
        if np.ptp(clean) == 0:  # a lead that is off has no ratio
            found[first:end] = clean
            ratios.append(np.nan)
            continue
        drawn = corruption.draw(clean, lead.rate, generator)
        found[first:end] = np.where(drawn.observed, drawn.signal, np.nan)
        ratios.append(drawn.snr)
    return found, np.array(ratios)


def stretches(lead: Lead) -> Iterator[tuple[int, int]]:
    """Yield the bounds of stretches of ``STRETCH_SECONDS``; what is left at the end belongs to the last one."""
    size, length = round(STRETCH_SECONDS * lead.rate), len(lead.signal)
    count = max(1, length // size)
    for place in range(count):
        yield place * size, length if place == count - 1 else (place + 1) * size


def beat_sums(found: Detected, who: str) -> Array:
    """Return beats right, said and marked, the error of the heart rate summed over windows, and their number, (5,).

    A window with fewer than two beats marked has no heart rate, and one with fewer than two found has the rate 0.
    """
    lead, said = found.lead, found.beats[who]
    true, told = (heart_rates(beats, lead.rate, len(lead.signal)) for beats in (lead.beats, said))
    known = true > 0
    right = matched(lead.beats, said, lead.rate)
    return np.array(
        [right, len(said), len(lead.beats), np.abs(true - told)[known].sum(), known.sum()], dtype=np.float64
    )


def scores(sums: Array) -> dict[str, Array]:
    """Return the scores of sums (..., 10): with noise, then as recorded."""
    right, said, marked, error, windows = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)[:5]
    right_r, said_r, marked_r, error_r, windows_r = np.moveaxis(np.asarray(sums, dtype=float), -1, 0)[5:]
    return {
        "f1": 2 * right / np.maximum(said + marked, 1),
        "sensitivity": right / np.maximum(marked, 1),
        "predictivity": right / np.maximum(said, 1),
        "heart_rate_error": error / np.maximum(windows, 1),
        "f1_as_recorded": 2 * right_r / np.maximum(said_r + marked_r, 1),
        "heart_rate_error_as_recorded": error_r / np.maximum(windows_r, 1),
    }


def _results(
    name: str, found: dict[str, list[Detected]], data: WaveformData, threshold: float, seed: int
) -> dict[str, Any]:
    patients = [each.lead.patient for each in found["noisy"]]
    names, groups = np.unique(patients, return_inverse=True)
    if not len(names):
        raise InputError("the test part has no recording.")
    sums = {}
    for who in (name, *METHODS):
        each = np.stack(
            [
                np.concatenate([beat_sums(noisy, who), beat_sums(recorded, who)])
                for noisy, recorded in zip(found["noisy"], found["recorded"], strict=True)
            ]
        )
        sums[who] = np.stack([np.bincount(groups, weights=column) for column in each.T], axis=1)
    higher = ["f1", "sensitivity", "predictivity", "f1_as_recorded"]
    low, high = data.corruption.snr
    made = compared(name, sums, scores, higher=higher)
    if len(names) == 1:
        made.pop("intervals")
        made.pop("bootstrap")
        made["gains"] = {}
    return {
        "app": "medical",
        "task": "beat_detection",
        "dataset": data.dataset,
        "protocol": data.split.of["protocol"],
        "split_hash": data.split.hash,
        "seed": seed,
        "model": name,
        **made,
        "better": {metric: "higher" if metric in higher else "lower" for metric in METRICS},
        "about": METRICS,
        "remarks": [
            f"The signals are {'simulated: no patient was measured' if data.task.simulated else 'measured'}.",
            f"Noise is drawn upon each minute at {low:g} to {high:g} dB. A beat is found if it is within 150 ms; the "
            f"model says one where its probability is {threshold:g} or more, which was chosen on the validation part.",
            *(["There is one patient, and so no interval."] if len(names) == 1 else []),
        ],
        "tables": [_by_patient(name, found, names, groups)],
        "samples": {"name": "recordings", **{part: len(data.whole(part)) for part in PARTS}},
    }


def _by_patient(name: str, found: dict[str, list[Detected]], names: Array, groups: Array) -> dict[str, Any]:
    """Return a table of F1 as recorded and with noise, a row for each patient."""
    rows: dict[str, dict[str, float]] = {}
    for place, patient in enumerate(names.tolist()):
        row: dict[str, float] = {}
        for how, said in (("noisy", "with noise"), ("recorded", "as recorded")):
            own = [each for each, group in zip(found[how], groups, strict=True) if group == place]
            for who in (name, *METHODS):
                right, told, marked, *_ = np.sum([beat_sums(each, who) for each in own], axis=0)
                row[f"{who}, {said}"] = float(2 * right / max(told + marked, 1))
        rows[patient] = row
    columns = list(next(iter(rows.values())))
    better = dict.fromkeys(columns, "higher")
    return further_table("F1 by patient", rows, better, "Records of one patient count together.")
