"""The three small series of the package: files as their provenance says, and known values at known times."""

import csv
import hashlib
import importlib.util
import io
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from integrand.datasets.real import co2, el_nino, sunspots
from integrand.datasets.tables import Table

FOLDER = Path(__file__).parents[2] / "datasets" / "real"
SCRIPT = FOLDER / "make_small_series.py"
NAMES = ("co2", "el_nino", "sunspots")


def content_of(name: str) -> bytes:
    return lzma.decompress((FOLDER / f"{name}.csv.xz").read_bytes())


def make_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_small_series", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


def only(table: Table) -> tuple[np.ndarray, np.ndarray]:
    (one,) = table.series
    assert one.group == "all"
    assert one.values.dtype == np.float32
    assert (np.diff(one.times) > 0).all()
    assert np.isfinite(one.values).all()
    return one.times, one.values


def test_the_files_are_those_of_their_provenance():
    provenance = (FOLDER / "small_series.PROVENANCE.md").read_text(encoding="utf-8")
    sums = re.findall(r"`([0-9a-f]{64})`", provenance)
    script = make_script()
    for name, source, ours in zip(NAMES, sums[::2], sums[1::2], strict=True):
        assert hashlib.sha256(content_of(name)).hexdigest() == ours
        assert script.SOURCES[name].sha256 == source
        assert script.SOURCES[name].member.removeprefix("statsmodels/") in provenance


def test_the_files_equal_their_sources(tmp_path: Path):
    """Where statsmodels is installed, or SMALL_SERIES_SOURCE names the folder that holds it."""
    spec = importlib.util.find_spec("statsmodels")
    installed = Path(spec.origin).parents[1] if spec and spec.origin else None
    packages = Path(os.environ.get("SMALL_SERIES_SOURCE") or installed or "absent")
    if not (packages / "statsmodels/datasets/co2/co2.csv").is_file():
        pytest.skip("no source: install statsmodels 0.15.0, or name the folder that holds it with SMALL_SERIES_SOURCE")
    subprocess.run(
        [sys.executable, str(SCRIPT), str(packages), "--target", str(tmp_path)], check=True, capture_output=True
    )
    for name in NAMES:
        assert lzma.decompress((tmp_path / f"{name}.csv.xz").read_bytes()) == content_of(name)


def test_the_script_refuses_another_source():
    with pytest.raises(ValueError, match="sha256"):
        make_script().compact_csv("co2", b"date,co2\n")


def test_co2():
    table = co2.load()
    times, values = only(table)
    assert (table.channels, table.time_unit, str(table.epoch)) == (["co2"], "h", "1958-03-29 00:00:00+00:00")
    assert values.shape == (2225, 1)
    # As published: the first three Saturdays, and the last.
    np.testing.assert_array_equal(values[[0, 1, 2, -1], 0], np.array([316.1, 317.3, 317.6, 371.5], dtype=np.float32))
    assert str(table.stamps(times[-1:])[0]) == "2001-12-29 00:00:00"
    steps, counts = np.unique(np.diff(times) / 168, return_counts=True)
    assert dict(zip(steps, counts, strict=True)) == {1: 2202, 2: 14, 3: 2, 4: 2, 5: 1, 6: 1, 9: 1, 19: 1}
    assert times[-1] / 168 == 2283  # of 2,284 weeks 59 have no row
    assert (co2.UNITS, co2.TARGETS) == ({"co2": "ppm"}, ("co2",))


def test_el_nino():
    table = el_nino.load()
    times, values = only(table)
    np.testing.assert_array_equal(times, np.arange(61 * 12))
    assert table.channels == ["nino12", "nino3", "nino4", "nino34"] == list(el_nino.UNITS) == list(el_nino.TARGETS)
    assert (table.time_unit, table.epoch, table.timezone) == ("1", None, None)
    np.testing.assert_array_equal(table.stamps(times[:2]), [0, 1])
    # As published for January 1950 and December 2010.
    np.testing.assert_array_equal(values[0], np.array([23.11, 23.74, 27.03, 24.83], dtype=np.float32))
    np.testing.assert_array_equal(values[-1], np.array([22.07, 24.0, 27.54, 25.29], dtype=np.float32))
    # The coast is warmest in March and coldest in September; the strongest El Niño of the record peaked in late 1997.
    by_month = values[:, 0].reshape(61, 12).mean(0)
    assert (by_month.argmax(), by_month.argmin()) == (2, 8)
    anomaly = values[:, 3].reshape(61, 12) - values[:, 3].reshape(61, 12).mean(0)
    assert 1950 + np.unravel_index(anomaly.argmax(), anomaly.shape)[0] == 1997


def test_sunspots():
    table = sunspots.load()
    times, values = only(table)
    np.testing.assert_array_equal(times, np.arange(1700, 2009))
    assert (table.channels, table.time_unit, table.epoch) == (["sunspots"], "1", None)
    assert sunspots.TARGETS == tuple(sunspots.UNITS) == ("sunspots",)
    # The highest maximum is that of 1957; a spectrum peaks near eleven years.
    assert times[values[:, 0].argmax()] == 1957
    spectrum = np.abs(np.fft.rfft(values[:, 0] - values[:, 0].mean()))
    assert 309 / spectrum.argmax() == pytest.approx(11, abs=0.4)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_file_is_a_row_of_its_table(name: str):
    rows = list(csv.reader(io.StringIO(content_of(name).decode("ascii"))))[1:]
    _, values = only(importlib.import_module(f"integrand.datasets.real.{name}").load())
    np.testing.assert_array_equal(values, np.array([row[1:] for row in rows], dtype=np.float32))
