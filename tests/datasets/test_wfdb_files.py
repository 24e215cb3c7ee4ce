"""Files of WFDB: what is written by the package wfdb itself is read, and what is damaged is named."""

import re
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.heart_beats import CLASS_OF, CLASSES, CODES, NO_BEATS, beats_of
from integrand.datasets.recording import Events
from integrand.datasets.wfdb_files import read_events, read_wfdb, wfdb_records, write_events

wfdb = pytest.importorskip("wfdb")

SAMPLES, SYMBOLS = [40, 300, 610, 900], ["N", "V", "+", "A"]


def signal() -> np.ndarray:
    t = np.arange(1000) / 250
    return np.stack([np.sin(2 * np.pi * t), 0.3 * np.cos(5 * t)], axis=1)


def write(folder: Path, name: str = "r1", *, units=("mV", "uV"), leads=("MLII", "V5"), comments=("71 F",)) -> Path:
    """Write a record by wfdb, its second lead in microvolts, and annotations."""
    scale = [1000.0 if unit == "uV" else 1.0 for unit in units]
    wfdb.wrsamp(
        name,
        fs=250,
        units=list(units),
        sig_name=list(leads),
        p_signal=signal() * scale,
        fmt=["16", "16"],
        comments=list(comments),
        write_dir=str(folder),
    )
    wfdb.wrann(name, "atr", np.array(SAMPLES), symbol=SYMBOLS, fs=250, write_dir=str(folder))
    return folder / f"{name}.hea"


def test_a_record_is_read_in_millivolts_with_its_marks(tmp_path: Path):
    found = read_wfdb(write(tmp_path), annotator="atr")
    assert (found.id, found.patient, found.rate, found.age, found.sex) == ("r1", "r1", 250.0, 71.0, "F")
    assert (found.leads, found.units) == (["MLII", "V5"], ["mV", "mV"])
    # 16 bits over the range of a lead.
    assert np.abs(found.signal - signal()).max() < 2.0 / 2**15
    assert found.events.samples.tolist() == SAMPLES
    assert found.events.symbols.tolist() == SYMBOLS
    assert read_wfdb(tmp_path / "r1").signal.shape == (1000, 2)


@pytest.mark.parametrize(
    ("comment", "age", "sex"),
    [
        ("69 M 1085 1629 x1", 69, "M"),
        ("-1 M 742 654 x1", None, "M"),
        ("Age: 81  Sex: F", 81, "F"),
        ("<age>: 58 <sex>: male", 58, "M"),
        ("Aldomet, Inderal", None, None),
    ],
)
def test_age_and_sex_are_found_in_comments(tmp_path: Path, comment: str, age: float | None, sex: str | None):
    found = read_wfdb(write(tmp_path, comments=(comment,)))
    assert (found.age, found.sex) == (age, sex)


def test_leads_of_one_name_are_told_apart_and_units_of_others_are_kept(tmp_path: Path):
    path = write(tmp_path, leads=("ECG", "ART"), units=("mV", "mmHg"))
    path.write_text(path.read_text().replace("ART", "ECG"))  # which wfdb reads and does not write
    found = read_wfdb(path)
    assert (found.leads, found.units) == (["ECG", "ECG 2"], ["mV", "mmHg"])


def test_annotations_are_written_as_wfdb_reads_them(tmp_path: Path):
    place = write(tmp_path).with_suffix("")
    path = write_events(place, "pred", Events.of(SAMPLES, SYMBOLS, ["", "", "(N", ""]), rate=250)
    assert path == tmp_path / "r1.pred"
    peer = wfdb.rdann(str(place), "pred")
    assert (peer.sample.tolist(), peer.symbol, peer.fs) == (SAMPLES, SYMBOLS, 250)
    ours = read_events(place, "pred")
    assert ours.notes.tolist() == ["", "", "(N", ""]
    with pytest.raises(InputError, match="no events to write"):
        write_events(place, "pred", Events.of([], []), rate=250)
    with pytest.raises(InputError, match="annotator='p1'"):
        write_events(place, "p1", Events.of([1], ["N"]), rate=250)


def test_records_of_a_folder_are_found(tmp_path: Path):
    (tmp_path / "in").mkdir()
    write(tmp_path, "b")
    write(tmp_path / "in", "a")
    assert [path.stem for path in wfdb_records(tmp_path)] == ["b", "a"]
    with pytest.raises(InputError, match="there is no folder"):
        wfdb_records(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no record in"):
        wfdb_records(tmp_path / "empty")


def damage(path: Path, how: str) -> None:
    data = path.with_suffix(".dat")
    if how == "no header":
        path.unlink()
    elif how == "no signal":
        data.unlink()
    elif how == "cut":
        data.write_bytes(data.read_bytes()[:1001])
    elif how == "other":
        data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    elif how == "no marks":
        path.with_suffix(".atr").unlink()
    elif how == "beyond":
        wfdb.wrann("r1", "atr", np.array([40, 1200]), symbol=["N", "N"], fs=250, write_dir=str(path.parent))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no header", "there is no header .*r1.hea'"),
        ("no signal", "its header names 'r1.dat', which is not there"),
        ("cut", "record r1 cannot be read, a file is cut short or damaged"),
        ("other", "record r1: lead MLII has not the checksum of its header"),
        ("no marks", "record r1 has no annotations 'r1.atr'"),
        ("beyond", "1 of 2 events lie outside the signal of 1000 samples, the first at 1200"),
    ],
)
def test_files_that_will_not_do_are_named_in_one_line(tmp_path: Path, how: str, message: str):
    path = write(tmp_path)
    damage(path, how)
    with pytest.raises(InputError, match=message) as caught:
        read_wfdb(path, annotator="atr")
    assert "\n" not in str(caught.value)


def test_every_code_of_wfdb_is_a_beat_or_none():
    told = {label.symbol for label in wfdb.io.annotation.ann_labels} - {" "}
    assert told == (set(CLASS_OF) | NO_BEATS) - {".", "'", "`", "P"} | (told & {"P"})
    assert not set(CLASS_OF) & NO_BEATS
    assert set(CODES) == set(CLASSES)


def test_a_code_that_there_is_not_is_named():
    with pytest.raises(InputError, match=re.escape("100: 'Z' is no code of an annotation in WFDB")):
        beats_of(Events.of([1, 2], ["N", "Z"]), where="100")
