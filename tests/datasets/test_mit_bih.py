"""The MIT-BIH database: the parts are of different patients, and the real files are what their publisher counts."""

import os
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.catalogue import find
from integrand.datasets.heart_beats import CLASSES, beats_of
from integrand.datasets.real import mit_bih
from integrand.datasets.real.mit_bih import DS1, DS2, PACED, PARTS, PATIENT
from integrand.datasets.wfdb_files import read_events

COUNTS = {"as_published": ((45_866, 944, 3_788, 415, 8), (44_259, 1_837, 3_221, 388, 7))}
"""Beats of each class, N, S, V, F and Q, in both parts: de Chazal et al. (2004), Table III, but for some beats that the
publisher has renamed since."""


def test_no_patient_is_in_both_parts():
    train, test = ({PATIENT.get(record, record) for record in part} for part in PARTS["inter_patient"])
    assert not train & test
    assert len(PARTS["inter_patient"].train) == 21


def test_the_published_parts_are_all_but_the_paced_records():
    assert sorted((*DS1, *DS2, *PACED)) == sorted({*DS1, *DS2, *PACED})
    assert len(DS1) == len(DS2) == 22
    assert len({path.path for path in find("mit_bih").files}) == 3 * 48


def test_a_record_that_there_is_not_is_refused_before_files_are_looked_for():
    with pytest.raises(InputError, match="unknown record of mit_bih '110'"):
        mit_bih.load(["110"])


@pytest.fixture(scope="module")
def here() -> None:
    if not os.path.exists(os.path.join(os.environ.get("INTEGRAND_DATA", ""), "mitdb", "100.hea")):
        pytest.skip("no MIT-BIH database here: integrand data download mit_bih")
    pytest.importorskip("wfdb")


def test_one_patient_stands_under_two_numbers(here: None):
    found = mit_bih.load(["202"])[0]
    assert (found.id, found.patient, found.age, found.sex) == ("202", "201", 68.0, "M")


def test_real_records_are_half_an_hour_of_two_leads(here: None):
    found = mit_bih.load(["100", "114"])
    assert [record.signal.shape for record in found] == [(650_000, 2)] * 2
    assert [record.leads for record in found] == [["MLII", "V5"], ["V5", "MLII"]]
    assert all(record.units == ["mV", "mV"] and record.rate == 360 for record in found)
    assert all(np.isfinite(record.signal).all() for record in found)


@pytest.mark.parametrize("part", [0, 1], ids=["train", "test"])
def test_real_beats_are_as_many_as_counted(here: None, part: int):
    counts = np.zeros(len(CLASSES), dtype=int)
    for record in PARTS["as_published"][part]:
        events = read_events(Path(os.environ["INTEGRAND_DATA"], "mitdb", record), mit_bih.ANNOTATOR)
        counts += np.bincount(beats_of(events, where=record).labels, minlength=len(CLASSES))
    assert tuple(counts) == COUNTS["as_published"][part]
