"""Recordings from files: a CSV says the same as the recording it was written from, whatever its clock."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.core.errors import InputError
from integrand.datasets.recording import Recording
from integrand.datasets.recording_files import read_csv, read_recording
from integrand.datasets.synthetic.ecg.patients import EcgSimulator


@pytest.fixture(scope="module")
def recording() -> Recording:
    return EcgSimulator(seconds=10.0).recording(0)


def written(recording: Recording, path: Path, *, decimals: int = 6, **columns: np.ndarray) -> Path:
    times = np.round(np.arange(len(recording.signal)) / recording.rate, decimals)
    pd.DataFrame({"time": times, "II": recording.signal[:, 0]} | columns).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("decimals", [3, 6])
def test_a_csv_has_the_rate_of_its_times_and_the_signal(recording: Recording, tmp_path: Path, decimals: int):
    found = read_csv(written(recording, tmp_path / "one.csv", decimals=decimals))
    assert (found.rate, found.leads, found.units, found.id) == (360.0, ["II"], ["mV"], "one")
    assert np.allclose(found.signal, recording.signal[:, :1], atol=1e-6)
    assert found.notices == ["one.csv: II without a unit counts as mV"]


def test_units_behind_names_are_brought_to_millivolts(recording: Recording, tmp_path: Path):
    path = tmp_path / "two.csv"
    times = np.arange(len(recording.signal)) / recording.rate
    pd.DataFrame({"Seconds": times, "V1 (uV)": 1e3 * recording.signal[:, 1], "V2 [V]": 1.0, "ABP (mmHg)": 80}).to_csv(
        path, index=False
    )
    found = read_csv(path)
    assert (found.leads, found.units, found.notices) == (["V1", "V2", "ABP"], ["mV", "mV", "mmHg"], [])
    assert np.allclose(found.signal[:, 0], recording.signal[:, 1], atol=1e-4)
    assert np.allclose(found.signal[:, 1], 1000)


def test_stamps_are_times_and_empty_cells_are_missing(tmp_path: Path):
    stamps = pd.date_range("2024-05-01 10:00", periods=500, freq="4ms")
    lead = np.sin(np.arange(500.0))
    lead[100:200] = np.nan
    path = tmp_path / "three.csv"
    pd.DataFrame({"clock": stamps, "x": lead}).to_csv(path, index=False)
    found = read_csv(path, time_column="clock")
    assert found.rate == 250.0
    assert np.isnan(found.signal[:, 0]).sum() == 100


def test_records_of_wfdb_and_csv_are_told_apart_by_their_names(recording: Recording, tmp_path: Path):
    wfdb = pytest.importorskip("wfdb")
    wfdb.wrsamp(
        "made", fs=360, units=["mV", "mV"], sig_name=recording.leads, p_signal=recording.signal.astype(float),
        fmt=["16", "16"], write_dir=str(tmp_path),
    )  # fmt: skip
    written(recording, tmp_path / "made.csv")
    for name, leads in (("made.hea", 2), ("made", 2), ("made.csv", 1)):
        assert read_recording(tmp_path / name).signal.shape == (3600, leads)


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"a": [1.0, 2.0]}, {}, "no column of times, it has a"),
        ({"time": [0.0, 1.0]}, {"time_column": "clock"}, "no column 'clock'"),
        ({"time": [0.0, 1.0]}, {}, "needs a lead beside its column of times"),
        ({"time": [0.0, 0.1, 0.2], "a": ["1", "x", "3"]}, {}, "'x' in row 3 of 'a' is no number"),
        ({"time": ["soon", "later"], "a": [1.0, 2.0]}, {}, "'soon' in row 2 is neither a number nor a stamp"),
        ({"time": [1.0, 0.5], "a": [1.0, 2.0]}, {}, "times must increase"),
        ({"time": [0, 0.1, 0.2, 0.3, 1.0, 1.1], "a": np.arange(6.0)}, {}, "times are not at a steady rate"),
    ],
)
def test_what_is_no_recording_is_refused(columns: dict, options: dict, said: str, tmp_path: Path):
    path = tmp_path / "bad.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    with pytest.raises(InputError, match=said) as refused:
        read_csv(path, **options)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_of_no_kind_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="there is no file"):
        read_recording(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is no recording that can be read"):
        read_recording(tmp_path / "none.txt")
