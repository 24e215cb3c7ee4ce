"""What is kept of a recording is what would be made of it, and another recording is never taken for it."""

import dataclasses
from pathlib import Path

import numpy as np

from integrand.datasets.beat_cache import cached_beat_series
from integrand.datasets.beat_series import BeatSeries, beat_series
from integrand.datasets.recording import Events
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


def same(one: BeatSeries, other: BeatSeries) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
    )


def test_what_is_kept_is_what_is_made(tmp_path: Path):
    recording = EcgSimulator(seconds=10).recording(0)
    made = beat_series(recording)
    assert same(cached_beat_series(recording, folder=None), made)
    assert not list(tmp_path.iterdir())
    assert same(cached_beat_series(recording, folder=tmp_path), made)
    (file,) = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    assert same(cached_beat_series(recording, folder=tmp_path), made)
    assert file.stat().st_mtime_ns == before


def test_whatever_changes_the_series_has_a_file_of_its_own(tmp_path: Path):
    recording = EcgSimulator(seconds=10).recording(0)
    events, changed = recording.events, recording.signal.copy()
    changed[5] += 1
    others = [
        recording,
        dataclasses.replace(recording, signal=changed),
        dataclasses.replace(recording, events=Events.of(events.samples, [*events.symbols[:-1], "V"])),
        dataclasses.replace(recording, events=events.at(np.arange(len(events) - 1))),
        dataclasses.replace(recording, patient="another"),
    ]
    for one in others:
        cached_beat_series(one, folder=tmp_path)
    cached_beat_series(recording, rate=100.0, folder=tmp_path)
    cached_beat_series(recording, causal=True, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == len(others) + 2
