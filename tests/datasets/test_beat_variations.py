"""Variations of beats: what they change and what they leave."""

from dataclasses import replace

import numpy as np
import pytest

from integrand.datasets.beat_series import BEFORE, PIECES, RHYTHM, BeatSeries, beat_series, retold
from integrand.datasets.beat_variations import SUPRAVENTRICULAR, VENTRICULAR, seen_otherwise, varied
from integrand.datasets.beat_variations import with_fibrillating_atria as fibrillating
from integrand.datasets.beat_variations import with_premature_atria as premature
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


@pytest.fixture(scope="module")
def series() -> BeatSeries:
    return beat_series(EcgSimulator(seconds=240.0, ectopic=0.9, fibrillating=0.0, noise=0.2).recording(1, seed=0))


def drawn(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("causal", [False, True])
def test_beats_told_again_as_they_were_are_the_same(causal: bool):
    made = beat_series(EcgSimulator(seconds=60.0).recording(0, seed=0), causal=causal)
    again = retold(made, times=made.times, windows=made.windows, labels=made.labels, usable=made.usable, causal=causal)
    np.testing.assert_allclose(again.features, made.features, atol=2e-3)  # of windows in single precision
    np.testing.assert_allclose(again.usual, made.usual, rtol=1e-5)
    assert again.simulated
    assert len(again.trace) == 0


def test_other_electrodes_leave_the_rhythm_and_the_classes(series: BeatSeries):
    found = seen_otherwise(series, drawn())
    assert (found.labels == series.labels).all()
    ratio = found.intervals / series.intervals
    assert np.ptp(ratio) < 1e-9
    scaled = [place for place, name in enumerate(RHYTHM) if name == "rr"]
    expected = series.features[:, : len(RHYTHM)].astype(np.float64)
    expected[:, scaled] += np.log(ratio[0])
    np.testing.assert_allclose(found.features[:, : len(RHYTHM)], expected, atol=1e-5)


def test_other_electrodes_see_what_the_leads_saw_and_noise(series: BeatSeries):
    """By least squares: windows are a combination of the leads, but for a shift of each beat and noise."""
    reach = 3
    shifted = np.stack([np.roll(series.windows, -shift, axis=1) for shift in range(-reach, reach + 1)])
    shifted, left, moved = shifted[:, :, reach:-reach], [], []
    for seed in range(20):
        found = seen_otherwise(series, drawn(seed))
        assert found.windows.shape == series.windows.shape
        y, best, remains = found.windows[:, reach:-reach], np.full(len(series), reach), np.array(np.inf)
        for _ in range(5):
            x = shifted[best, np.arange(len(series))]
            mixing = np.linalg.lstsq(x.reshape(-1, 2), y.reshape(-1, 2), rcond=None)[0]
            remains = ((y - shifted @ mixing) ** 2).mean(axis=(2, 3))
            best = remains.argmin(axis=0)
        left.append(float(remains.min(axis=0).mean() / (y**2).mean()))
        moved.append(float(np.abs(found.windows - series.windows).mean() / np.abs(series.windows).mean()))
    assert np.median(left) < 0.05
    assert min(moved) > 0.05


def test_fibrillating_atria_have_no_p_waves_and_no_rhythm(series: BeatSeries):
    found = [fibrillating(series, drawn(seed)) for seed in range(20)]
    for one in found:
        assert not (one.labels == SUPRAVENTRICULAR).any()
        assert (np.bincount(one.labels, minlength=5)[2:] == np.bincount(series.labels, minlength=5)[2:]).all()
    intervals = np.stack([one.intervals for one in found])
    ordinary = found[0].labels != VENTRICULAR
    variation = intervals[:, ordinary].std(axis=1) / intervals[:, ordinary].mean(axis=1)
    assert variation.min() > 0.1
    assert variation.max() < 0.36
    # Independent: the correlation of neighbours over all recordings lies within four deviations of none.
    both = ordinary[1:] & ordinary[:-1]
    z = (intervals - intervals[:, ordinary].mean(1, keepdims=True)) / intervals[:, ordinary].std(1, keepdims=True)
    products = (z[:, 1:] * z[:, :-1])[:, both]
    assert abs(products.mean()) < 4 / np.sqrt(products.size)
    # The mean over beats, where the atria's waves cancel, is a line where the P wave was.
    first, last = (round((time + BEFORE) * series.rate) for time in PIECES["p_"])

    def bend(one: BeatSeries) -> float:
        piece = one.windows[one.labels == 0].mean(axis=0)[first:last, 0]
        line = np.linspace(piece[0], piece[-1], len(piece))
        return float(np.abs(piece - line).max())

    assert np.median([bend(one) for one in found]) < 0.25 * bend(series)


def test_variations_follow_from_the_seed_and_leave_what_was_measured(series: BeatSeries):
    kept = replace(series, windows=series.windows.copy(), times=series.times.copy())
    first, again, other = (varied(series, drawn(seed)) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        assert (one.windows == same.windows).all()
        assert (one.features == same.features).all()
    assert (first[0].windows != other[0].windows).any()
    assert (series.windows == kept.windows).all()
    assert (series.times == kept.times).all()
    assert all(one.patient == series.patient for one in first)


def test_variations_of_a_causal_series_are_causal(series: BeatSeries):
    """Beats after the 60th are another's: what is told of the earlier ones does not change."""
    causal = retold(
        series, times=series.times, windows=series.windows, labels=series.labels, usable=series.usable, causal=True
    )
    edited = replace(causal, windows=np.where(np.arange(len(causal))[:, None, None] < 60, causal.windows, -1.0))
    for given, changes in ((True, False), (False, True)):
        found = [
            retold(one, times=one.times, windows=one.windows, labels=one.labels, usable=one.usable, causal=given)
            for one in (causal, edited)
        ]
        assert (found[0].features[:60] != found[1].features[:60]).any() == changes


def test_a_recording_of_supraventricular_beats_alone_is_left_with_its_atria(series: BeatSeries):
    own = replace(series, labels=np.full_like(series.labels, SUPRAVENTRICULAR))
    assert [len(one) for one in varied(own, drawn())] == [len(own)] * 2


def test_premature_atria_make_early_beats_of_normal_ones_alone(series: BeatSeries):
    shares, usual = [], np.median(series.intervals)
    for seed in range(30):
        found = premature(series, drawn(seed))
        made = found.labels != series.labels
        shares.append(made.mean())
        assert (series.labels[made] == 0).all()
        assert (found.labels[made] == SUPRAVENTRICULAR).all()
        # Not next to an ectopic beat that was there, and earlier than ever in the rhythm of the sinus node.
        assert not (made[1:] & (series.labels[:-1] != 0)).any()
        assert not (made[:-1] & (series.labels[1:] != 0)).any()
        assert (found.intervals[made] <= 0.8 * usual + 1e-9).all()
        assert (found.intervals[made] >= 0.3 - 1e-9).all()
        # Only the beats themselves, and the intervals that follow them, are others.
        after = np.roll(made, 1) & ~made
        untouched = ~made & ~after
        np.testing.assert_allclose(found.intervals[untouched], series.intervals[untouched], atol=1e-9)
        assert (found.intervals[after] >= np.maximum(series.intervals[after], usual) - 1e-9).all()
        assert (found.windows[~made] == series.windows[~made]).all()
        # The complex, from 40 ms before its mark on, is as it was: the way through the ventricles is the same.
        complex_of = slice(round((BEFORE - 0.04) * series.rate), None)
        assert (found.windows[made][:, complex_of] == series.windows[made][:, complex_of]).all()
    assert min(shares) < 0.1
    assert max(shares) > 0.3
