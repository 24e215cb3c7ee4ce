"""The five minutes in the package are those of the database, sample by sample and beat by beat."""

import hashlib
import lzma
import os
import re

import numpy as np
import pytest

from integrand.datasets.real import ecg_five_minutes, mit_bih
from integrand.datasets.real.make_ecg_five_minutes import FIRST, LEAD, LENGTH, RECORD


def test_the_file_is_the_one_of_its_provenance():
    page = ecg_five_minutes.FILE.with_name("ecg_five_minutes.PROVENANCE.md").read_text("utf-8")
    (ours,) = re.findall(r"`([0-9a-f]{64})`", page)
    assert hashlib.sha256(lzma.decompress(ecg_five_minutes.FILE.read_bytes())).hexdigest() == ours


def test_it_is_five_minutes_of_one_lead_with_beats():
    recording = ecg_five_minutes.load()
    assert (recording.seconds, recording.units, recording.simulated) == (300.0, ["mV"], False)
    assert np.isfinite(recording.signal).all()
    # 509 beats in 300 s, and no two within a refractory period.
    assert len(recording.events) == 509
    assert np.diff(recording.events.samples).min() > 0.2 * recording.rate


def test_it_is_the_excerpt_of_the_database():
    if not os.path.exists(os.path.join(os.environ.get("INTEGRAND_DATA", ""), "mitdb", "208.hea")):
        pytest.skip("no MIT-BIH database here: integrand data download mit_bih")
    pytest.importorskip("wfdb")
    whole, ours = mit_bih.load([RECORD])[0].select([LEAD]), ecg_five_minutes.load()
    assert np.array_equal(whole.signal[FIRST : FIRST + LENGTH], ours.signal)
    inside = (whole.events.samples >= FIRST) & (whole.events.samples < FIRST + LENGTH)
    beats = whole.events.at(inside & np.isin(whole.events.symbols.astype(str), ["N", "V", "F", "Q"]))
    assert (beats.samples - FIRST).tolist() == ours.events.samples.tolist()
    assert beats.symbols.tolist() == ours.events.symbols.tolist()
