"""Beats found where none are marked: as many as there are and where they are, simulated and as cardiologists say."""

import os
from dataclasses import replace

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.beat_detection import METHODS, detect_beats
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

processing = pytest.importorskip("wfdb.processing")
WINDOW = 0.15
"""Seconds within which EC57 counts a beat as found."""


def found(recording: Recording, events: Events) -> tuple[int, int, int, np.ndarray]:
    """Return how many beats are found, are marked and are said, and how far off those found are, s."""
    marked = beats_of(recording.events, where=recording.id).samples
    said = processing.compare_annotations(marked, events.samples, round(WINDOW * recording.rate))
    near = np.abs(marked[:, None] - events.samples[None]).min(axis=1) / recording.rate
    return said.tp, len(marked), len(events), near[near <= WINDOW]


def cut(recording: Recording, seconds: float) -> Recording:
    length = round(seconds * recording.rate)
    events = recording.events.at(recording.events.samples < length)
    return replace(recording, signal=recording.signal[:length], events=events)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate", [125.0, 360.0, 1000.0])
def test_simulated_beats_are_found_at_their_peaks(method: str, rate: float):
    totals, near = np.zeros(3), []
    for recording in EcgSimulator(seconds=20.0, rate=rate).recordings(8, seed=5):
        *counts, offs = found(recording, detect_beats(recording, method=method))
        totals += counts
        near.append(offs)
    assert totals[0] / totals[1] > 0.95
    assert totals[0] / totals[2] > 0.99
    # Of normal beats the peak is that of R, where the simulator has its mark: within two samples of the slowest rate.
    assert np.mean(np.concatenate(near) < 0.016) > 0.97


@pytest.mark.parametrize(
    ("record", "sensitivity", "predictivity"),
    # Of clean records of normal beats, of many ventricular ones, and of muscle noise and inverted beats.
    [("101", 0.99, 0.99), ("119", 0.99, 0.98), ("203", 0.97, 0.97)],
)
def test_real_beats_are_found(record: str, sensitivity: float, predictivity: float):
    if not os.path.exists(os.path.join(os.environ.get("INTEGRAND_DATA", ""), "mitdb", "100.hea")):
        pytest.skip("no MIT-BIH database here: integrand data download mit_bih")
    recording = cut(mit_bih.load([record])[0], 300.0)
    right, marked, said, near = found(recording, detect_beats(recording))
    assert right / marked > sensitivity
    assert right / said > predictivity
    # A cardiologist's mark and the largest value are apart where a beat has two peaks.
    assert np.median(near) < 0.005


def test_a_delay_moves_every_beat_by_it():
    recording = EcgSimulator(seconds=30.0, rate=360.0).recording(1, seed=0)
    later = replace(
        recording, signal=np.concatenate([recording.signal[720:1440][::-1], recording.signal]), events=Events.of([], [])
    )
    here, there = detect_beats(recording).samples, detect_beats(later).samples - 720
    assert set(here[here > 720]) == set(there[there > 720])


def test_the_beats_of_a_lead_are_asked_for_by_name_or_number():
    recording = EcgSimulator(seconds=20.0).recording(2, seed=0)
    assert detect_beats(recording, lead="V1").samples.tolist() == detect_beats(recording, lead=1).samples.tolist()
    assert set(detect_beats(recording, lead="V1").symbols) == {"N"}


def test_a_missing_stretch_has_no_beats_and_spoils_no_others():
    recording = EcgSimulator(seconds=30.0, rate=250.0).recording(3, seed=0)
    signal = recording.signal.copy()
    signal[2500:3750] = np.nan
    whole, holed = detect_beats(recording).samples, detect_beats(replace(recording, signal=signal)).samples
    assert not ((holed >= 2500) & (holed < 3750)).any()
    away = [place for place in whole if place < 2400 or place > 3850]
    assert set(away) <= set(holed)


def test_no_two_beats_are_nearer_than_a_heart_can_beat():
    recording = EcgSimulator(seconds=60.0, noise=8.0).recording(4, seed=0)
    for method in METHODS:
        assert np.diff(detect_beats(recording, method=method).samples).min() >= 0.2 * recording.rate


def of(signal: np.ndarray, *, rate: float = 250.0, unit: str = "mV") -> Recording:
    return Recording("r", "r", signal[:, None].astype(np.float32), rate, ["II"], [unit])


@pytest.mark.parametrize(
    ("recording", "options", "said"),
    [
        (of(np.zeros(2500)), {}, "is flat throughout"),
        (of(np.full(2500, np.nan)), {}, "is missing throughout"),
        (of(np.ones(2500), unit="mmHg"), {}, "lead II is in mmHg, where mV is needed"),
        (of(np.arange(900.0), rate=90.0), {}, "has 90 Hz, and beats are found at 100 Hz or more"),
        (of(np.arange(2500.0)), {"lead": 1}, "no lead number 1, it has II"),
        (of(np.arange(2500.0)), {"lead": "V1"}, "no lead 'V1', it has II"),
        (of(np.arange(2500.0)), {"method": "gqr"}, "did you mean 'gqrs'"),
    ],
)
def test_what_has_no_beats_is_refused(recording: Recording, options: dict, said: str):
    with pytest.raises(InputError, match=said) as refused:
        detect_beats(recording, **options)
    assert "\n" not in str(refused.value)


def test_noise_without_a_heart_has_no_beats():
    signal = 0.002 * np.random.default_rng(0).standard_normal(2500)
    assert len(detect_beats(of(signal))) == 0
