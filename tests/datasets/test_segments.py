"""Segments hold what they are cut from, are labelled by what is marked in them, and know nothing of the rest."""

from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.recording import Events, Recording, require_each_once
from integrand.datasets.rhythms import NOTES, RHYTHMS, require_rhythms, spans_of
from integrand.datasets.segment_labels import FINDINGS, findings, read_label_table, rhythm
from integrand.datasets.segments import (
    Segments,
    centred,
    joined,
    marked_beats,
    segments_of,
    under_asked_names,
)
from integrand.datasets.synthetic.ecg.patients import EcgSimulator

RATE = 100.0
CLASSES = ("sinus", "atrial fibrillation")


def recording(seconds: float = 40.0, name: str = "a", seed: int = 0) -> Recording:
    """Noise of two leads, sinus rhythm for 25 s and fibrillation after it, a beat every 0.8 s."""
    drawn = np.random.default_rng(seed).standard_normal((round(seconds * RATE), 2)).astype(np.float32)
    beats = np.arange(40, len(drawn), 80)
    samples = np.concatenate([[0, 2500], beats])
    symbols, notes = ["+", "+", *["N"] * len(beats)], ["(N", "(AFIB", *[""] * len(beats)]
    order = np.argsort(samples, kind="stable")
    events = Events.of(samples[order], [symbols[i] for i in order], [notes[i] for i in order])
    return Recording(name, name, drawn, RATE, ["II", "V1"], ["mV", "mV"], events, age=50.0, sex="F")


def cut(one: Recording, **options) -> Segments:
    given = {"seconds": 10.0, "rate": RATE, "quality": 0.9, **options}
    return segments_of(one, CLASSES, rhythm, **given)


def test_every_note_of_wfdb_belongs_to_one_class():
    assert sorted(note for notes in RHYTHMS.values() for note in notes) == sorted(NOTES)


def test_segments_are_the_signal_about_its_medians_and_those_where_the_rhythm_changes_are_left_out():
    one = recording()
    found = cut(one)
    assert found.starts.tolist() == [0.0, 10.0, 30.0]
    assert (found.unlabelled, found.unusable) == (1, 0)
    assert found.labels.tolist() == [[True, False], [True, False], [False, True]]
    for start, signal in zip((0, 1000, 3000), found.signal, strict=True):
        piece = one.signal[start : start + 1000]
        np.testing.assert_allclose(signal, piece - np.median(piece, axis=0), atol=1e-6)
    assert np.allclose(found.ages, 50)
    assert found.sexes == ["F"] * 3
    np.testing.assert_allclose(found.beats[1], np.arange(0.0, 10.0, 0.8), atol=1e-9)
    assert "1 of 4 segments" in found.told[0]


def test_a_segment_knows_nothing_of_what_comes_after_it():
    one = recording()
    edited = Recording(
        one.id, one.patient, one.signal.copy(), one.rate, one.leads, one.units, one.events, one.age, one.sex
    )
    edited.signal[1000:] = 50.0 * np.random.default_rng(1).standard_normal((3000, 2))
    np.testing.assert_array_equal(cut(one, quality=0.0).signal[0], cut(edited, quality=0.0).signal[0])


def test_segments_of_another_rate_keep_the_times_of_their_beats():
    one = recording()
    found = cut(one, rate=50.0)
    assert found.signal.shape == (3, 500, 2)
    np.testing.assert_allclose(found.beats[0], cut(one).beats[0])


def test_segments_whose_lead_is_flat_are_left_out_by_the_gate_alone():
    one = recording()
    one.signal[:500, 1] = 0.25
    assert cut(one).starts.tolist() == [10.0, 30.0]
    assert cut(one).unusable == 1
    assert len(cut(one, quality=0.0)) == 3


def test_what_is_missing_lies_at_the_median():
    signal = np.array([[[1.0], [3.0], [np.nan], [2.0]]])
    assert centred(signal)[0, :, 0].tolist() == [-1.0, 1.0, 0.0, 0.0]
    assert (centred(np.full((1, 4, 1), np.nan)) == 0).all()


def test_a_recording_shorter_than_a_segment_is_refused():
    with pytest.raises(InputError, match="5 s long, less than a segment of 10 s"):
        cut(recording(5.0 + 25.0).__class__("b", "b", np.ones((500, 1), "f4"), RATE, ["II"], ["mV"]))


def test_one_signal_of_two_patients_is_refused():
    one, other = recording(), recording(name="b")
    with pytest.raises(InputError, match="a and b are one signal"):
        require_each_once([one, other])
    require_each_once([one, recording(name="b", seed=1)])


def test_leads_are_chosen_by_name_and_by_what_is_left():
    one = recording()
    turned = under_asked_names(one, ["V1", "*"])
    assert turned.leads == ["V1", "*"]
    np.testing.assert_array_equal(turned.signal, one.signal[:, ::-1])
    with pytest.raises(InputError, match="fewer than"):
        under_asked_names(one, ["II", "*", "*"])
    with pytest.raises(InputError, match="has no lead 'V9'"):
        under_asked_names(one, ["V9"])


def test_joined_segments_are_those_of_all_and_their_checksum_is_of_what_they_hold():
    parts = [cut(recording()), cut(recording(name="b", seed=1))]
    whole = joined(parts)
    assert len(whole) == 6
    assert whole.patients == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(whole.at([4]).signal[0], parts[1].signal[1])
    assert whole.checksum == joined(parts).checksum != joined(parts[::-1]).checksum
    with pytest.raises(InputError, match=r"data\.leads"):
        joined([parts[0], cut(under_asked_names(recording(name="b"), ["V1", "II"]))])


def test_unknown_rhythms_are_refused():
    with pytest.raises(InputError, match="'\\(XYZ' is no rhythm of WFDB"):
        spans_of(Events.of([0], ["+"], ["(XYZ"]), 10, where="a")
    with pytest.raises(InputError, match="unknown rhythm 'sinsu': did you mean 'sinus'"):
        require_rhythms(["sinsu", "paced"])


def test_before_the_first_mark_no_rhythm_is_known():
    spans = spans_of(Events.of([5], ["+"], ["(N"]), 20, where="a")
    assert spans.at(0, 10) is None
    assert spans.at(5, 20) == "sinus"


@pytest.mark.parametrize(("interval", "told"), [(0.5, {"tachycardia"}), (0.8, set()), (1.2, {"bradycardia"})])
def test_findings_are_what_the_marks_amount_to(interval: float, told: set[str]):
    beats = np.arange(0.2, 10.0, interval)
    samples = np.concatenate([[0], np.rint(beats * RATE)]).astype(int)
    symbols = ["+", *["N"] * len(beats)]
    symbols[3] = "V"
    events = Events.of(samples, symbols, ["(N", *[""] * len(beats)])
    one = Recording("a", "a", np.ones((1000, 1), "f4"), RATE, ["II"], ["mV"], events)
    said = findings(one)(0.0, 10.0)
    assert said is not None
    assert set(said) == told | {"ventricular beats"}


def test_findings_of_simulated_patients_have_every_kind():
    maker = EcgSimulator(seconds=20, rate=100, ectopic=0.8, fibrillating=0.5, intervals=(0.45, 1.3))
    held = {name for one in maker.recordings(24) for name in findings(one)(0.0, 20.0) or ()}
    assert held == set(FINDINGS)


def test_mean_intervals_of_simulated_patients_lie_where_asked():
    maker = EcgSimulator(seconds=30, rate=100, ectopic=0, fibrillating=0, intervals=(0.5, 0.52))
    for one in maker.recordings(3):
        assert 0.48 < np.diff(marked_beats(one)).mean() < 0.54
    with pytest.raises(InputError, match="the shorter first"):
        EcgSimulator(intervals=(1.0, 0.9))


def test_a_table_of_labels_says_what_holds_when(tmp_path: Path):
    path = tmp_path / "labels.csv"
    path.write_text("record,labels,start,end,patient\na,x; y,0,12,p\na,,12,40,p\nb,z,,,q\n")
    table = read_label_table(path)
    assert table.classes == ["x", "y", "z"]
    assert table.patients == {"a": "p", "b": "q"}
    said = table.labelling()(recording())
    assert said(0.0, 10.0) == ("x", "y")
    assert said(10.0, 20.0) is None
    assert said(20.0, 30.0) == ()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("record\na\n", "no column 'labels'"),
        ("record,labels,start\na,x,soon\n", "line 2: start='soon' is no number"),
        ("record,labels,start,end\na,x,-1,4\n", "start must be at least 0 s and below end"),
        ("record,labels,start,end\na,x,5,4\n", "start must be at least 0 s and below end"),
        ("record,labels,patient\na,x,p\na,y,q\n", "gives record a to two patients"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, text: str, cause: str):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=cause):
        read_label_table(path)
