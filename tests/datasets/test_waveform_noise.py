"""Noise has the ratio and the spectrum that it says, and gaps are as many and as long as it says."""

import math

import numpy as np
import pytest
from scipy.signal import welch

from integrand.core.errors import InputError
from integrand.datasets.waveform_noise import KINDS, WANDER, Corruption

RATE, COUNT = 250.0, 250 * 600
CLEAN = np.sin(2 * np.pi * 1.3 * np.arange(COUNT) / RATE) + 0.4


def drawn(*, seed: int = 0, clean: np.ndarray = CLEAN, **options) -> tuple[np.ndarray, np.ndarray, float]:
    found = Corruption(**options).draw(clean, RATE, np.random.default_rng(seed))
    return found.signal - np.where(found.observed, clean, 0.0), found.observed, found.snr


@pytest.mark.parametrize("kinds", [("white",), ("motion", "mains"), tuple(KINDS)])
def test_the_ratio_holds_in_the_very_piece(kinds: tuple[str, ...]):
    """Against the definition: the variance of the signal, the power of the noise, without gaps."""
    ratios = []
    for seed in range(5):
        noise, _, snr = drawn(seed=seed, kinds=kinds, snr=(-3.0, 12.0), gaps=0.0)
        assert 10 * math.log10(np.var(CLEAN) / np.mean(noise**2)) == pytest.approx(snr, abs=1e-9)
        ratios.append(snr)
    assert min(ratios) >= -3
    assert max(ratios) <= 12
    assert len(set(ratios)) == 5


def share(kind: str, low: float, high: float) -> float:
    """Return the share of a kind's power between two frequencies."""
    noise, _, _ = drawn(kinds=(kind,), gaps=0.0)
    frequency, power = welch(noise, RATE, nperseg=250 * 60)
    return float(power[(frequency >= low) & (frequency <= high)].sum() / power.sum())


def test_each_kind_has_its_band():
    assert share("white", 0, RATE / 4) == pytest.approx(0.5, abs=0.02)
    assert share("wander", WANDER[0] - 0.03, WANDER[1] + 0.03) > 0.99
    assert share("mains", 49, 51) + share("mains", 59, 61) > 0.99
    # A walk of decay tau has a power that falls to a half at 1 / (2 pi tau) = 0.32 Hz: half of it lies below.
    assert share("motion", 0, 0.318) == pytest.approx(0.5, abs=0.06)
    assert share("motion", 0, 30) > 0.99


def test_the_mains_are_of_one_of_the_frequencies():
    assert share_at(50.0) > 0.99
    assert share_at(60.0) > 0.99


def share_at(mains: float) -> float:
    noise, _, _ = drawn(kinds=("mains",), mains=(mains,), gaps=0.0)
    frequency, power = welch(noise, RATE, nperseg=250 * 60)
    return float(power[np.abs(frequency - mains) < 0.5].sum() / power.sum())


def test_gaps_are_as_many_and_as_long_as_asked():
    clean = CLEAN[: 250 * 10]
    shares, lengths = [], []
    for seed in range(200):
        noise, observed, _ = drawn(seed=seed, clean=clean, gaps=0.2, gap_seconds=(0.2, 0.4))
        assert (noise[~observed] == 0).all()
        shares.append(1 - observed.mean())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], ~observed, [0]]).astype(int)))
        lengths += list(edges[1::2] - edges[::2])
    assert max(shares) <= 0.2
    # Evenly drawn from 0 to 0.2, but for gaps that fall onto others: 0.1 less a tenth of it at most.
    assert 0.085 < np.mean(shares) < 0.105
    assert np.mean(np.array(lengths) >= 50) > 0.7  # the last gap of a piece is cut to the share
    assert not Corruption(gaps=0.0).draw(clean, RATE, np.random.default_rng(0)).observed.min() < 1


def test_the_same_seed_draws_the_same_and_another_does_not():
    one, again, other = (drawn(seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kinds": ("whit",)}, "did you mean 'white'"),
        ({"kinds": ()}, "kinds of noise are missing"),
        ({"snr": (5.0, 1.0)}, "a least and a greatest ratio"),
        ({"gaps": 0.9}, "a share from 0 to 0.5"),
        ({"gap_seconds": (0.0, 1.0)}, "must be above 0 s"),
        ({"mains": (0.0,)}, "must be above 0 Hz"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options: dict, said: str):
    with pytest.raises(InputError, match=said):
        Corruption(**options)


def test_a_signal_without_a_ratio_and_a_rate_without_the_mains_are_refused():
    with pytest.raises(InputError, match="neither flat nor missing"):
        Corruption().draw(np.zeros(100), RATE, np.random.default_rng(0))
    with pytest.raises(InputError, match="mains of 60 Hz cannot be had at 100 Hz"):
        Corruption(kinds=("mains",), mains=(60.0,)).draw(CLEAN, 100.0, np.random.default_rng(0))
