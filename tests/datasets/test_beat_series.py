"""Series of beats: features in closed form, and nothing of the future in what is causal."""

from dataclasses import replace

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.beat_series import LOCAL_BEATS, RHYTHM, beat_series, rhythm_of
from integrand.datasets.recording import Events, Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


@pytest.fixture(scope="module")
def record() -> Recording:
    return EcgSimulator(seconds=60.0, ectopic=0.9, fibrillating=0.0, noise=0.5).recording(1, seed=0)


def test_an_even_rhythm_has_no_features_but_its_interval():
    found = rhythm_of(0.8 * np.arange(30))
    expected = np.zeros((30, len(RHYTHM)))
    expected[:, 0] = np.log(0.8)
    np.testing.assert_allclose(found.features, expected, atol=1e-7)


def test_features_of_a_premature_beat():
    """Beats a second apart, the 40th half a second early with a compensatory pause."""
    times = np.arange(80.0)
    times[40] -= 0.5
    found = dict(zip(RHYTHM, rhythm_of(times).features[40], strict=True))
    # 40 intervals of 1 s before it, the first beat's among them, and its own.
    past = (40 + 0.5) / 41
    local = np.concatenate([np.ones(2 * LOCAL_BEATS - 1), [0.5, 1.5]])
    expected = [0.5, 0.5 / past, 1.5 / past, 0.5 / local.mean(), 3.0]
    assert [found[name] for name in RHYTHM[:5]] == pytest.approx(np.log(expected).tolist(), abs=1e-12)
    assert found["irregularity"] == pytest.approx(local.std() / local.mean(), abs=1e-9)


def test_windows_are_cut_about_the_marks_and_likeness_tells_beats_apart(record: Recording):
    found = beat_series(record)
    assert found.windows.shape == (len(found), round(0.3 * 125) + round(0.45 * 125), 2)
    normal = found.labels == 0
    inner = np.arange(2, len(found) - 2)
    tops = np.abs(found.windows[inner][normal[inner]][:, :, 0]).argmax(axis=1)
    assert np.median(np.abs(tops - round(0.3 * 125))) <= 1
    likeness = found.features[:, found.feature_names.index("likeness_II")]
    assert np.median(likeness[normal]) > 0.95
    assert np.median(likeness[found.labels == 2]) < 0.8
    assert np.allclose(found.times, found.samples / record.rate)
    assert found.usable.all()


def test_another_rate_of_the_same_recording_has_the_same_beats(record: Recording):
    exact, found = beat_series(record), beat_series(record.resampled(250.0))
    # Marks move by half a sample of 250 Hz at most, 2 ms of intervals of half a second or more.
    rhythm = slice(0, len(RHYTHM))
    assert np.abs(found.features[:, rhythm] - exact.features[:, rhythm]).max() < 2 * np.log(0.304 / 0.3)
    # Windows begin at the nearest sample of 125 Hz, which may be the next one.
    shifted = np.stack([np.roll(found.windows, shift, axis=1)[:, 2:-2] for shift in (-1, 0, 1)])
    off = np.abs(shifted - exact.windows[:, 2:-2]).max(axis=(2, 3)).min(axis=0)
    assert off[1:-1].max() < 0.02 * np.abs(exact.windows).max()


def edited(record: Recording, sample: int) -> Recording:
    """Another signal and other marks from a sample on."""
    signal = record.signal.copy()
    signal[sample:] = signal[sample:][::-1] * -3
    kept = record.events.samples < sample
    places = np.concatenate([record.events.samples[kept], np.arange(sample + 40, len(signal), 150)])
    symbols = [*record.events.symbols[kept], *["V"] * (len(places) - int(kept.sum()))]
    return replace(record, signal=signal, events=Events.of(places, symbols))


def test_what_is_causal_sees_nothing_that_comes_after(record: Recording):
    """By editing the future of a beat; what is not causal changes, so that the test can fail."""
    whole = beat_series(record, causal=True)
    beat = len(whole) // 2
    # The resampling filter is 10 samples of the slower rate long on each side, 0.08 s.
    sample = round((whole.times[beat] + 0.45 + 0.1) * record.rate)
    told = beat_series(edited(record, sample), causal=True)
    count = beat + 1
    for name in ("windows", "features", "intervals", "labels", "usable"):
        np.testing.assert_allclose(getattr(told, name)[:count], getattr(whole, name)[:count], atol=1e-6, err_msg=name)
    offline = [beat_series(each).features[:count] for each in (record, edited(record, sample))]
    assert np.abs(offline[0] - offline[1]).max() > 0.01


def test_beats_where_a_lead_shows_nothing_are_not_usable(record: Recording):
    signal = record.signal.copy()
    signal[3600:5400, 1] = np.nan
    found = beat_series(replace(record, signal=signal))
    lost = (found.times > 10 - 0.45) & (found.times < 15 + 0.3)
    assert np.array_equal(found.usable, ~lost)
    assert np.isfinite(found.windows).all()


def test_too_few_beats_are_refused(record: Recording):
    with pytest.raises(InputError, match="has 1 beats marked, where three are needed"):
        beat_series(replace(record, events=Events.of([500], ["N"])))
