"""Files of EDF: what pyedflib writes is read, without what tells who the patient is."""

from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.edf_files import read_edf

pyedflib = pytest.importorskip("pyedflib")

RATE = 200


def write(path: Path, *, units=("uV", "mV"), rates=(RATE, RATE), marks: bool = True) -> np.ndarray:
    """Write two sines of 5 s, one to be told in microvolts, and return them in millivolts."""
    writer = pyedflib.EdfWriter(str(path), 2, file_type=pyedflib.FILETYPE_EDFPLUS)
    writer.setPatientName("Jane_Doe")
    writer.setSex(0)
    columns = []
    for place, (unit, rate) in enumerate(zip(units, rates, strict=True)):
        scale = 1000.0 if unit == "uV" else 1.0
        columns.append(np.sin(np.arange(5 * rate) / rate * (place + 1)))
        writer.setSignalHeader(
            place,
            {
                "label": ("ECG II", "ECG V1")[place],
                "dimension": unit,
                "sample_frequency": rate,
                "physical_min": -2 * scale,
                "physical_max": 2 * scale,
                "digital_min": -32768,
                "digital_max": 32767,
            },
        )
    writer.writeSamples(
        [column * (1000.0 if unit == "uV" else 1.0) for column, unit in zip(columns, units, strict=True)]
    )
    if marks:
        writer.writeAnnotation(1.5, -1, "V")
        writer.writeAnnotation(0.5, -1, "N")
    writer.close()
    return columns[0] if rates[0] != rates[1] else np.stack(columns, axis=1)


def test_a_file_is_read_in_millivolts_with_its_marks(tmp_path: Path):
    exact = write(tmp_path / "r.edf")
    found = read_edf(tmp_path / "r.edf")
    assert (found.id, found.patient, found.rate, found.sex) == ("r", "r", RATE, "F")
    assert (found.leads, found.units) == (["ECG II", "ECG V1"], ["mV", "mV"])
    assert np.abs(found.signal - exact).max() < 4 / 65535 + 2**-24  # a step of 16 bits over 4 mV, in float32
    assert found.events.samples.tolist() == [100, 300]
    assert found.events.symbols.tolist() == ["N", "V"]
    assert "Doe" not in repr(found)


def test_signals_of_another_rate_are_left_out_and_named(tmp_path: Path):
    write(tmp_path / "r.edf", rates=(RATE, 50))
    found = read_edf(tmp_path / "r.edf")
    assert found.leads == ["ECG II"]
    assert found.notices == ["r: left out ECG V1 (50 Hz), since most signals have 200 Hz"]


def test_files_that_will_not_do_are_named_in_one_line(tmp_path: Path):
    path = tmp_path / "r.edf"
    with pytest.raises(InputError, match="there is no file"):
        read_edf(path)
    write(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(
        InputError, match=r"r\.edf cannot be read, it is cut short, damaged or of another format"
    ) as told:
        read_edf(path)
    assert "\n" not in str(told.value)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="of another format"):
        read_edf(path)
