"""Recordings: resampling moves what is marked with the signal, and what does not fit together is named."""

from dataclasses import replace

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.recording import Events, Recording

RATE = 360.0


def waves(seconds: float = 10.0, rate: float = RATE, hertz: float = 3.0) -> Recording:
    """A sine and a slower cosine about 5 mV, with events at the sine's maxima."""
    t = np.arange(round(seconds * rate)) / rate
    signal = 5 + np.stack([np.sin(2 * np.pi * hertz * t), np.cos(np.pi * hertz * t)], axis=1)
    tops = (0.25 + np.arange(1, int(seconds * hertz) - 1)) / hertz
    places = np.rint(tops * rate).astype(int)
    return Recording(
        "w", "p", signal.astype("f4"), rate, ["a", "b"], ["mV", "mV"], Events.of(places, ["N"] * len(places))
    )


@pytest.mark.parametrize("rate", [128.0, 250.0, 257.0, 500.0])
def test_another_rate_is_the_same_signal_at_other_times(rate: float):
    """Both waves lie far below either Nyquist frequency, so that the signal is known at any time."""
    found, exact = waves().resampled(rate), waves(rate=rate)
    assert found.rate == rate
    assert abs(len(found.signal) - len(exact.signal)) <= 1
    inner = slice(round(rate), -round(rate))  # the filter's ends are a matter of what is thought to lie beyond them
    # The ripple of the filter is 1e-4, of waves of 1 about a line; twice, for what passes and what is held back.
    assert np.abs(found.signal[: len(exact.signal)] - exact.signal)[inner].max() < 2e-4


@pytest.mark.parametrize("rate", [128.0, 500.0])
def test_events_stay_at_their_times(rate: float):
    made = waves()
    found = made.resampled(rate)
    off = found.events.samples / rate - made.events.samples / RATE
    assert np.abs(off).max() <= 0.5 / rate + 1e-12
    assert list(found.events.symbols) == list(made.events.symbols)


def test_missing_stretches_are_missing_after_and_spoil_nothing_else():
    made = waves()
    signal = made.signal.copy()
    signal[1800:1890, 0] = np.nan
    found = replace(made, signal=signal).resampled(180.0)
    missing = np.isnan(found.signal)
    assert missing[:, 1].sum() == 0
    assert set(np.flatnonzero(missing[:, 0])) == set(range(900, 945))
    whole = made.resampled(180.0).signal
    far = np.abs(np.arange(len(whole)) - 922) > 40  # the filter is 10 samples of the slower rate long on each side
    assert np.abs(found.signal - whole)[far & (np.arange(len(whole)) > 0)].max() < 1e-6


def test_the_same_rate_is_the_same_recording():
    made = waves()
    assert made.resampled(RATE) is made


def test_a_signal_under_another_name_unit_and_order_of_leads_has_the_same_hash():
    made = waves()
    other = replace(
        made, id="x", patient="y", signal=1000 * made.signal[:, ::-1] - 3, leads=["b", "a"], events=Events.of([], [])
    )
    assert other.content_hash == made.content_hash
    assert waves(hertz=3.01).content_hash != made.content_hash


def test_leads_are_chosen_by_name():
    made = waves()
    assert np.array_equal(made.select(["b", "a"]).signal, made.signal[:, ::-1])
    with pytest.raises(InputError, match=r"recording w has no lead 'V5', it has a, b: name others with leads\."):
        made.select(["a", "V5"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": Events.of([5, 7200], ["N", "N"])}, "recording w: 1 of 2 events lie outside .* first at 7200"),
        ({"events": Events.of([-1], ["N"])}, "first at -1"),
        ({"rate": 0.0}, "rate=0 is out of range"),
        ({"signal": np.zeros((0, 2), "f4")}, "recording w is empty"),
        ({"leads": ["a"]}, r"must be \(L, 1\)"),
    ],
)
def test_parts_that_do_not_fit_are_named(change: dict, message: str):
    with pytest.raises(InputError, match=message):
        replace(waves(), **change)


@pytest.mark.parametrize(("rate", "message"), [(-1.0, "out of range"), (float("nan"), "out of range"), (1e-3, "take ")])
def test_a_rate_that_cannot_be_is_refused(rate: float, message: str):
    with pytest.raises(InputError, match=message):
        waves().resampled(rate)


def test_events_in_disorder_are_refused():
    with pytest.raises(InputError, match="number 3 does"):
        Events.of([1, 5, 4], ["N", "N", "N"])
    with pytest.raises(InputError, match="a symbol each"):
        Events.of([1, 5], ["N"])
