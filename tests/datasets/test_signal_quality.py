"""The signal-quality gate: what was put into a clean lead is found, sample by sample, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.recording import Recording
from integrand.datasets.signal_quality import REASONS, signal_quality
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


@pytest.fixture(scope="module")
def clean() -> Recording:
    """Two leads as a converter of 11 bits over 10 mV gives them."""
    made = EcgSimulator(seconds=30.0).recording(1)
    return replace(made, signal=(np.rint(made.signal / 0.005) * 0.005).astype("f4"))


def spoiled(clean: Recording, how: str, where: slice) -> Recording:
    signal = clean.signal.copy()
    if how == "missing":
        signal[where, 0] = np.nan
    elif how == "flat":
        signal[where, 0] = 0.3
    elif how == "saturated":
        signal[where, 0] = 5.12
    elif how == "off":
        signal[where, 0] += np.linspace(40, 60, where.stop - where.start)
    return replace(clean, signal=signal)


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_lead_is_usable_throughout(seed: int):
    made = EcgSimulator(seconds=30.0, ectopic=0.5).recording(seed)
    found = signal_quality(replace(made, signal=(np.rint(made.signal / 0.005) * 0.005).astype("f4")))
    assert found.usable.all()
    assert found.told(made.leads) == []


@pytest.mark.parametrize("how", REASONS)
def test_what_was_put_in_is_found_and_nothing_else(clean: Recording, how: str):
    where = slice(3600, 4320)
    found = signal_quality(spoiled(clean, how, where))
    expected = np.ones(clean.signal.shape, dtype=bool)
    expected[where, 0] = False
    assert (found.usable != expected).sum() <= 2  # a neighbour may have the very value of a flat stretch
    share = found.shares[how]
    assert share[0] == pytest.approx(720 / len(clean.signal), abs=2 / len(clean.signal))
    assert share[1] == 0
    assert found.told(clean.leads)[0].startswith("lead II is ")
    assert f"{how} for 6.7%" in found.told(clean.leads)[0]


def test_a_short_flat_stretch_is_none(clean: Recording):
    assert signal_quality(spoiled(clean, "flat", slice(3600, 3900))).usable.all()


def test_a_lead_without_a_sample_is_missing(clean: Recording):
    found = signal_quality(spoiled(clean, "missing", slice(0, len(clean.signal))))
    assert not found.usable[:, 0].any()
    assert found.usable[:, 1].all()


def test_a_lead_that_never_moves_is_flat(clean: Recording):
    found = signal_quality(spoiled(clean, "flat", slice(0, len(clean.signal))))
    assert not found.usable[:, 0].any()


def test_other_units_are_refused(clean: Recording):
    with pytest.raises(InputError, match="lead II is in mmHg, where mV is needed"):
        signal_quality(replace(clean, units=["mmHg", "mV"]))
