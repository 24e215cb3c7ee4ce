"""Beats of a recording named from a file: annotations that wfdb reads back, a CSV, a picture, and refusals."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from integrand.apps.medical.beats.answers import answers
from integrand.apps.medical.beats.module import BeatModule
from integrand.apps.medical.beats.prediction import NamedBeats, named, predict
from integrand.apps.medical.beats.prediction_figure import picture, strips
from integrand.core.errors import InputError
from integrand.datasets.beat_series import beat_series
from integrand.datasets.catalogue import RESEARCH_ONLY
from integrand.datasets.heart_beats import beats_of
from integrand.datasets.recording import Recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator
from integrand.datasets.wfdb_files import read_events, write_events

wfdb = pytest.importorskip("wfdb")


@pytest.fixture(scope="module")
def patient() -> Recording:
    return EcgSimulator(seconds=30, ectopic=1.0).recording(11, seed=5)


def write_record(
    folder: Path, recording: Recording, *, name: str = "p1", units: str = "mV", comments: str = ""
) -> Path:
    """Write a recording as a record of WFDB with its beats, and return its header."""
    digits = 30_000 / max(1.0, float(np.nanmax(np.abs(recording.signal))))
    wfdb.wrsamp(
        name,
        fs=recording.rate,
        units=[units] * len(recording.leads),
        sig_name=recording.leads,
        p_signal=recording.signal.astype(np.float64),
        fmt=["16"] * len(recording.leads),
        adc_gain=[digits] * len(recording.leads),
        baseline=[0] * len(recording.leads),
        comments=[comments] if comments else [],
        write_dir=str(folder),
    )
    if len(recording.events):
        write_events(folder / name, "atr", recording.events, rate=recording.rate)
    return folder / f"{name}.hea"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, patient: Recording) -> Path:
    return write_record(tmp_path_factory.mktemp("record"), patient, comments="70 M Jane Doe 12345")


def test_the_table_says_what_the_network_says(causal_beats: BeatModule, record: Path, tmp_path: Path):
    output = tmp_path / "named.csv"
    found = predict(causal_beats, input=record, output=output, figure=None, annotator="atr")
    rows = list(csv.DictReader(output.read_text().splitlines()))
    names = ["record", "sample", "time_s", "class", *(f"probability_{k}" for k in "NSVFQ"), "set", "answer", "usable"]
    assert list(rows[0]) == names
    assert {row["record"] for row in rows} == {"p1"}
    p = np.array([[float(row[f"probability_{name}"]) for name in "NSVFQ"] for row in rows])
    np.testing.assert_allclose(p, named(causal_beats, found.series), atol=1e-6)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert [row["class"] for row in rows] == ["NSVFQ"[k] for k in p.argmax(1)]
    least = np.broadcast_to(causal_beats.least_probability.numpy(), 5)
    for row, one in zip(rows, found.answers, strict=True):
        held = {name for name, share, bound in zip("NSVFQ", one.probabilities, least, strict=True) if share >= bound}
        assert set(row["set"].split()) == held
        assert row["answer"] == (row["class"] if len(held) == 1 else "uncertain")
    marked = beats_of(read_events(record.with_suffix(""), "atr"), where="p1").samples
    assert [int(row["sample"]) for row in rows] == marked.tolist()
    assert [float(row["time_s"]) for row in rows] == pytest.approx((marked / 360).tolist(), abs=1e-6)


def test_wfdb_reads_the_annotations_back(causal_beats: BeatModule, patient: Recording, tmp_path: Path):
    signal = patient.signal.copy()
    signal[5000:6000] = signal[5000]
    record = write_record(tmp_path, replace(patient, signal=signal))
    told: list[str] = []
    output = tmp_path / "p1.pred"
    found = predict(causal_beats, input=record, output=output, figure=None, annotator="atr", notify=told.append)
    back = wfdb.rdann(str(tmp_path / "p1"), "pred")
    assert back.sample.tolist() == found.series.samples.tolist()
    assert back.fs == 360
    notes = [note.rstrip("\x00") for note in back.aux_note]
    # Flat is what stays so for a second, and a causal run sees 0.45 seconds beyond a beat.
    flat = (found.series.samples > 5000 + 0.6 * 360) & (found.series.samples < 6000)
    assert flat.any()
    for one, symbol, note, lost in zip(found.answers, back.symbol, notes, flat, strict=True):
        if lost:
            assert (symbol, note, one.answer) == ("Q", "unusable", "unusable")
        elif one.usable:
            assert symbol == one.name
            assert note == ("" if one.answer == one.name else "uncertain")
    assert any("lead II is flat for" in line for line in told)
    # The annotations of the record itself are as they were.
    assert len(read_events(tmp_path / "p1", "atr")) == len(patient.events)


def test_beats_that_nobody_marked_are_found(causal_beats: BeatModule, record: Path, tmp_path: Path, patient: Recording):
    marked = beats_of(patient.events, where="x").samples
    found = predict(causal_beats, input=record, output=tmp_path / "a.csv", figure=None)
    near = [np.abs(marked - sample).min() for sample in found.series.samples]
    assert np.mean(np.array(near) <= 0.15 * 360) > 0.95
    assert len(found.answers) > 0.9 * len(marked)


def test_a_run_that_looks_ahead_finds_them_by_the_detector_of_whole_recordings(
    causal_beats: BeatModule, record: Path, tmp_path: Path, patient: Recording
):
    from integrand.apps.medical.beats.models.beat_network import S5BeatNetwork
    from integrand.datasets.beat_detection import detect_beats
    from integrand.datasets.wfdb_files import read_wfdb

    module = BeatModule(S5BeatNetwork(width=8, d_state=8, layers=1, stages=1))
    module.build_networks(replace(causal_beats.network.built_for, causal=False))
    told: list[str] = []
    found = predict(module, input=record, output=tmp_path / "a.csv", figure=None, notify=told.append)
    assert found.series.samples.tolist() == detect_beats(read_wfdb(record)).samples.tolist()
    # It was never calibrated: there are no sets, and every answer is a class.
    assert any("was not calibrated" in line for line in told)
    assert {(one.set, one.answer == one.name) for one in found.answers} == {("", True)}


def test_leads_are_taken_by_name_and_any_for_the_rest(causal_beats: BeatModule, patient: Recording, tmp_path: Path):
    """The other order of leads changes nothing; ``*`` takes whichever is left."""
    swapped = write_record(tmp_path, patient.select(["V1", "II"]), name="p2")
    straight = write_record(tmp_path, patient, name="p3")
    renamed = write_record(tmp_path, replace(patient, leads=["II", "V5"]), name="p4")
    found: list[NamedBeats] = []
    for record in (swapped, straight):
        found.append(predict(causal_beats, input=record, output=tmp_path / "a.csv", figure=None, annotator="atr"))
    task = causal_beats.network.built_for
    causal_beats.network.task = replace(task, leads=["II", "*"])
    try:
        found.append(predict(causal_beats, input=renamed, output=tmp_path / "a.csv", figure=None, annotator="atr"))
    finally:
        causal_beats.network.task = task
    for other in found[1:]:
        for one, two in zip(found[0].answers, other.answers, strict=True):
            np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-6)


def test_an_edf_file_is_read(causal_beats: BeatModule, patient: Recording, tmp_path: Path):
    pyedflib = pytest.importorskip("pyedflib")
    path = tmp_path / "p5.edf"
    writer = pyedflib.EdfWriter(str(path), 2)
    for place, lead in enumerate(patient.leads):
        writer.setSignalHeader(
            place,
            {
                "label": lead, "dimension": "mV", "sample_frequency": 360, "physical_min": -5.0, "physical_max": 5.0,
                "digital_min": -32768, "digital_max": 32767, "transducer": "", "prefilter": "",
            },
        )  # fmt: skip
    writer.writeSamples([np.ascontiguousarray(patient.signal[:, place].astype(np.float64)) for place in range(2)])
    writer.close()
    found = predict(causal_beats, input=path, output=tmp_path / "a.csv", figure=None)
    near = [np.abs(beats_of(patient.events, where="x").samples - sample).min() for sample in found.series.samples]
    assert len(near) > 20
    assert np.mean(np.array(near) <= 0.15 * 360) > 0.95
    with pytest.raises(InputError, match=r"is for records of WFDB, p5\.edf is none"):
        predict(causal_beats, input=path, output=tmp_path / "a.csv", figure=None, annotator="atr")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_says_that_it_is_for_research(causal_beats: BeatModule, record: Path, tmp_path: Path, suffix: str):
    told: list[str] = []
    figure = tmp_path / f"strips{suffix}"
    predict(causal_beats, input=record, output=tmp_path / "a.csv", figure=figure, notify=told.append)
    assert told[0] == RESEARCH_ONLY
    assert figure.stat().st_size > 5_000
    # The name in the header's comments is nowhere.
    assert not any("Jane" in line for line in told)
    assert b"Jane" not in (tmp_path / "a.csv").read_bytes()


def test_a_picture_shows_every_class_that_occurs(patient: Recording):
    series = beat_series(patient, causal=True)
    p = np.eye(5)[np.arange(len(series)) % 5]
    said = answers(p, p > 0.5, series.usable, list("NSVFQ"))
    drawn = strips(series, said)
    texts = [text.get_text() for text in drawn.findobj(Text) if isinstance(text, Text)]
    assert RESEARCH_ONLY in texts
    assert any(text.startswith("simulated recording") for text in texts)
    assert {f"{name}\n100%" for name in "NSVFQ"} <= set(texts)
    assert picture(series, said, ".svg").decode().count("<svg") == 1


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("p1.atr", "neither a CSV nor annotations of ours"),
        ("p1.dat", "neither a CSV nor annotations of ours"),
        ("p1.h5", "neither a CSV nor annotations of ours"),
        ("p 1.pred", "WFDB has names of letters"),
        ("absent/p1.csv", "there is no folder"),
    ],
)
def test_places_that_cannot_be_written_are_refused(
    causal_beats: BeatModule, record: Path, tmp_path: Path, output: str, told: str
):
    with pytest.raises(InputError, match=told) as caught:
        predict(causal_beats, input=record, output=tmp_path / output, figure=None)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def changed(patient: Recording, kind: str) -> Recording:
    signal = patient.signal.copy()
    if kind == "flat":
        signal[:] = 0.1
    elif kind == "missing":
        signal[:, 1] = np.nan
    elif kind == "microvolts":
        signal *= 1000
    elif kind == "short":
        signal = signal[:300]
    return replace(patient, signal=signal, events=patient.events.at(patient.events.samples < 300))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("flat", "has 0 beats marked, where three are needed"),
        ("missing", "lead V1 is missing throughout"),
        ("microvolts", "more than any heart has: give it in mV"),
        ("short", "beats marked, where three are needed"),
    ],
)
def test_signals_that_show_no_heart_are_refused(
    causal_beats: BeatModule, patient: Recording, tmp_path: Path, kind: str, told: str
):
    record = write_record(tmp_path, changed(patient, kind), name="p6")
    with pytest.raises(InputError, match=told) as caught:
        predict(causal_beats, input=record, output=tmp_path / "a.csv", figure=None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.csv").exists()


def test_recordings_of_another_kind_are_refused(causal_beats: BeatModule, patient: Recording, tmp_path: Path):
    cases = (
        (write_record(tmp_path, replace(patient, leads=["II", "V5"]), name="p7"), "has no lead 'V1', it has II, V5"),
        (write_record(tmp_path, patient, name="p8", units="mmHg"), "is in mmHg, where mV is needed"),
        (write_record(tmp_path, replace(patient, rate=60.0), name="p9"), "has 60 Hz"),
        (tmp_path / "none.hea", "there is no header"),
        (tmp_path / "none.csv", "there is no file"),
        (tmp_path / "photo.jpg", "neither a header of WFDB"),
    )
    for record, told in cases:
        with pytest.raises(InputError, match=told) as caught:
            predict(causal_beats, input=record, output=tmp_path / "a.csv", figure=None)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"has no annotations 'p8\.qrs'"):
        predict(causal_beats, input=cases[1][0], output=tmp_path / "a.csv", figure=None, annotator="qrs")
