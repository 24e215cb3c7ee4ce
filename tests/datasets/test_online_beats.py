"""Beats found while a signal comes: nothing depends on its pieces or on what follows, and they are where beats are."""

import os
from dataclasses import replace

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.beat_series import beat_series
from integrand.datasets.beat_stream import BeatStream
from integrand.datasets.block_resampler import BlockResampler
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.online_beats import OnlineBeatDetector
from integrand.datasets.real import mit_bih
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

NEAR = 0.15
"""Seconds within which EC57 takes a detected beat for a true one."""


@pytest.fixture(scope="module")
def patient() -> Recording:
    return EcgSimulator(seconds=60).recording(3)


def detected(signal: np.ndarray, rate: float) -> np.ndarray:
    detector = OnlineBeatDetector(rate, signal.shape[1])
    return np.concatenate([detector.push(signal), detector.finish()])


def in_pieces(signal: np.ndarray, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.split(signal, np.cumsum(rng.integers(1, 400, len(signal) // 400)))


def matched(found: np.ndarray, true: np.ndarray, reach: float) -> int:
    """How many beats pair up one to one, each with the next within reach."""
    pairs = i = j = 0
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) <= reach:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return pairs


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_any_length_have_the_beats_of_the_whole(patient: Recording, seed: int):
    signal = patient.signal.copy()
    signal[4000:4500, 0] = np.nan
    detector = OnlineBeatDetector(patient.rate, 2)
    found = [detector.push(piece) for piece in in_pieces(signal, seed)]
    assert np.array_equal(np.concatenate([*found, detector.finish()]), detected(signal, patient.rate))


def test_what_was_told_stays_whatever_follows(patient: Recording):
    """The detector is causal by its interface; here its pieces are: none is told by what a later one brings."""
    cut = len(patient.signal) // 2
    told = []
    for after in (patient.signal[cut:], -5 * patient.signal[cut:][::-1]):
        detector = OnlineBeatDetector(patient.rate, 2)
        before = detector.push(patient.signal[:cut])
        told.append((before, np.concatenate([before, detector.push(after), detector.finish()])))
    assert np.array_equal(told[0][0], told[1][0])
    for before, whole in told:
        assert np.array_equal(whole[: len(before)], before)
    # All that is half a second old has been told.
    whole = told[0][1]
    assert whole[: len(told[0][0])].max() >= whole[whole < cut - patient.rate / 2].max()
    assert not np.array_equal(told[0][1], told[1][1])


def test_beats_of_simulated_patients_are_found():
    pairs = found = true = 0
    for recording in EcgSimulator(seconds=60).recordings(12, seed=1):
        here = detected(recording.signal, recording.rate)
        marked = beats_of(recording.events, where=recording.id).samples
        pairs += matched(here, marked, NEAR * recording.rate)
        found, true = found + len(here), true + len(marked)
    assert pairs / true > 0.98
    assert pairs / found > 0.99


@pytest.mark.parametrize("rate", [125.0, 250.0, 1000.0])
def test_the_r_peak_is_where_the_largest_wave_is(rate: float):
    """Waves of known places: a Gaussian of 1 mV each, 12 ms wide."""
    places = np.arange(1.0, 29.0, 0.85)
    t = np.arange(round(30 * rate)) / rate
    x = np.exp(-0.5 * ((t[:, None] - places) / 0.012) ** 2).sum(axis=1)
    found = detected(x[:, None], rate) / rate
    assert len(found) == len(places)
    assert np.abs(found - places).max() <= 1 / rate


def test_nothing_is_found_where_nothing_is():
    rng = np.random.default_rng(0)
    still = np.zeros((3600, 2))
    faint = 1e-3 * rng.standard_normal((3600, 2))
    assert not len(detected(still, 360))
    assert not len(detected(faint, 360))
    assert not len(detected(np.full((3600, 2), np.nan), 360))


def test_a_knock_does_not_hide_the_beats_after_it(patient: Recording):
    signal = patient.signal.copy()
    signal[7200:7240] += 20.0
    later = beats_of(patient.events, where="x").samples
    later = later[later > 7200 + 3 * patient.rate]
    found = detected(signal, patient.rate)
    assert matched(found, later, NEAR * patient.rate) >= 0.97 * len(later)


def test_a_missing_stretch_has_no_beats(patient: Recording):
    signal = patient.signal.copy()
    signal[7200:10800] = np.nan
    found = detected(signal, patient.rate)
    assert not ((found > 7200) & (found < 10800)).any()
    assert (found > 11200).sum() > 10


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="rate=50 is out of range"):
        OnlineBeatDetector(50)
    with pytest.raises(InputError, match=r"must be \(L, 2\)"):
        OnlineBeatDetector(360, 2).push(np.zeros((10, 3)))


@pytest.mark.parametrize("record", ["114", "208", "223"])
def test_beats_of_real_patients_are_found(record: str):
    """Records for learning (DS1) alone."""
    pytest.importorskip("wfdb")
    if not os.path.exists(os.path.join(os.environ.get("INTEGRAND_DATA", ""), "mitdb", "100.hea")):
        pytest.skip("no MIT-BIH database here: integrand data download mit_bih")
    found = mit_bih.load([record])[0]
    end = round(300 * found.rate)
    marked = beats_of(found.events, where=record).samples
    marked = marked[marked < end]
    here = detected(found.signal[:end], found.rate)
    pairs = matched(here, marked, NEAR * found.rate)
    assert pairs / len(marked) > 0.98
    assert pairs / len(here) > 0.99


@pytest.mark.parametrize(
    ("rate", "to"), [(360.0, 125.0), (100.0, 125.0), (125.0, 125.0), (1000.0, 125.0), (257.0, 125.0)]
)
def test_a_rate_changed_in_blocks_is_that_of_the_whole(rate: float, to: float):
    rng = np.random.default_rng(5)
    signal = (rng.standard_normal((3001, 2)) + 40).astype(np.float32)
    whole = Recording("a", "a", signal, rate, ["a", "b"], ["mV", "mV"]).resampled(to).signal
    over = signal.astype(np.float64) - signal[0]
    resampler = BlockResampler(rate, to, leads=2)
    found = np.concatenate([*(resampler.push(piece) for piece in in_pieces(over, 1)), resampler.finish()])
    # Recordings are of single precision, with a step of 4e-6 at 40.
    np.testing.assert_allclose(found + signal[0], whole, atol=4e-6)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("detect", [False, True])
def test_beats_of_a_stream_are_those_of_the_recording(patient: Recording, detect: bool, gaps: bool):
    signal = patient.signal.copy()
    if gaps:
        signal[:500, 0] = np.nan
        signal[9000:11000, 1] = np.nan
        signal[-200:, 0] = np.nan
    marked = detected(signal, patient.rate) if detect else beats_of(patient.events, where="x").samples
    whole = beat_series(replace(patient, signal=signal, events=Events.of(marked, ["N"] * len(marked))), causal=True)
    stream = BeatStream(rate=patient.rate, leads=patient.leads, to=125.0, detect=detect)
    found, start = [], 0
    for piece in in_pieces(signal, 2):
        here = marked[(marked >= start) & (marked < start + len(piece))]
        found += stream.push(piece, None if detect else here)
        start += len(piece)
    found += stream.finish()
    assert [beat.sample for beat in found] == whole.samples.tolist()
    assert [beat.usable for beat in found] == whole.usable.tolist()
    assert whole.usable.all() != gaps
    for name, of in (("window", whole.windows), ("features", whole.features), ("interval", whole.intervals)):
        np.testing.assert_allclose(np.stack([getattr(beat, name) for beat in found]), of, atol=1e-5, err_msg=name)


def test_beats_that_are_told_late_are_refused():
    stream = BeatStream(rate=100.0, leads=["II"], to=125.0, detect=False)
    for _ in range(20):
        stream.push(np.zeros((100, 1), dtype=np.float32))
    with pytest.raises(InputError, match="beat at sample 10 is told too late"):
        stream.push(np.zeros((50, 1), dtype=np.float32), np.array([10]))
