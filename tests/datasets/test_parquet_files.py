"""Parquet tables read as the CSV of the same cells does, and fail with the same words."""

import datetime
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.apps.timeseries.classification.data import ClassificationData
from integrand.apps.timeseries.forecasting.data import ForecastingData
from integrand.core.errors import InputError
from integrand.datasets.labelled_tables import read_labelled_table
from integrand.datasets.tables import Table, read_table

WIDE = """station,time,temp,wind,remark
10,2024-01-01 00:00:00,1.5,NA,calm
10,2024-01-01 01:30:00,,2,calm
9,2024-01-01 00:30:00,null,-,gusty
9,2024-01-02 00:30:00,-3,4e1,gusty
"""
LONG = """station,time,variable,value
a,2024-01-02 00:30:00,wind,40
a,2024-01-02 00:30:00,temp,-3
b,2024-01-01 01:30:00,wind,2
b,2024-01-01 00:00:00,temp,1.5
"""


@pytest.fixture
def store(tmp_path: Path):
    """Write a frame as parquet; without pyarrow there is nothing to test."""
    pytest.importorskip("pyarrow")

    def store(frame: pd.DataFrame, name: str = "table.parquet") -> Path:
        frame.to_parquet(tmp_path / name)
        return tmp_path / name

    return store


def csv_of(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def frame_of(path: Path) -> pd.DataFrame:
    """The CSV as pandas types it, with dates for stamps."""
    return pd.read_csv(path, parse_dates=["time"], na_values=["-"])


def assert_same(one: Table, other: Table) -> None:
    assert (one.channels, one.layout, one.group_column) == (other.channels, other.layout, other.group_column)
    assert (one.time_unit, one.epoch, one.timezone, one.notices) == (
        other.time_unit,
        other.epoch,
        other.timezone,
        other.notices,
    )
    assert [series.group for series in one.series] == [series.group for series in other.series]
    for mine, theirs in zip(one.series, other.series, strict=True):
        np.testing.assert_array_equal(mine.times, theirs.times)
        np.testing.assert_array_equal(mine.values, theirs.values)


@pytest.mark.parametrize("text", [WIDE, LONG], ids=["wide", "long"])
@pytest.mark.parametrize("form", ["typed", "all text", "nullable"])
def test_it_reads_as_the_csv_of_the_same_cells(store, tmp_path: Path, text: str, form: str):
    path = csv_of(tmp_path, text)
    frame = frame_of(path) if form != "all text" else pd.read_csv(path, dtype=str, keep_default_na=False)
    frame = frame.convert_dtypes() if form == "nullable" else frame
    assert_same(read_table(store(frame)), read_table(path))


def test_stamps_keep_their_offset_and_may_be_the_index(store):
    stamps = pd.date_range("2024-03-31", periods=4, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame({"x": [0.0, 1, 2, 3]}, index=pd.Index(stamps, name="time"))
    table = read_table(store(frame))
    assert table.series[0].times.tolist() == [0, 1, 2, 3]  # the clock is put on at 02:00, no hour is lost
    assert str(table.epoch) == "2024-03-30 23:00:00+00:00"
    one_offset = frame.tz_convert("Asia/Kolkata")
    assert read_table(store(one_offset)).timezone == "+05:30"
    assert str(read_table(store(one_offset)).stamps(np.array([0.5]))[0]) == "2024-03-31 05:00:00+05:30"


def test_days_decimals_truth_values_categories_and_counts(store):
    frame = pd.DataFrame(
        {
            "date": [datetime.date(2024, 1, day) for day in (1, 2)],
            "station": pd.Categorical(["b", "a"]),
            "price": [Decimal("1.25"), None],
            "open": [True, False],
            "count": np.array([3, 4], dtype=np.int16),
            "tags": [[1, 2], [3]],
        }
    )
    table = read_table(store(frame), time_unit="d")
    assert table.channels == ["price", "open", "count"]
    assert [series.group for series in table.series] == ["a", "b"]
    assert [series.times.tolist() for series in table.series] == [[1], [0]]
    np.testing.assert_array_equal(table.series[1].values, [[1.25, 1, 3]])
    np.testing.assert_array_equal(table.series[0].values, [[np.nan, 0, 4]])
    assert any("columns of text: tags" in notice for notice in table.notices)


def test_nanoseconds_since_1970_stay_exact(store):
    start = 1_700_000_000_123_456_789
    frame = pd.DataFrame({"time": np.array([start, start + 1000], dtype=np.int64), "x": [0.0, 1.0]})
    table = read_table(store(frame), time_unit="ms")
    assert float(np.diff(table.series[0].times)[0]) == pytest.approx(1e-3, abs=1e-15)


def test_classes_and_the_data_modules(store, tmp_path: Path):
    rows = [(f"s{n}", t, n + t, n % 2) for n in range(8) for t in range(4)]
    frame = pd.DataFrame(rows, columns=pd.Index(["id", "time", "x", "label"]))
    path = store(frame)
    csv = tmp_path / "same.csv"
    frame.to_csv(csv, index=False)
    one, other = read_labelled_table(path, label_column="label"), read_labelled_table(csv, label_column="label")
    assert (one.classes, one.ids, one.labels.tolist()) == (other.classes, other.ids, other.labels.tolist())
    assert one.classes == ["0", "1"]
    data = ClassificationData(str(path), protocol="random", fractions=(0.5, 0.25, 0.25))
    data.setup()
    assert data.series.channels == ["x"]
    hours = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=100, freq="h"), "x": np.arange(100.0)})
    forecasting = ForecastingData(str(store(hours)), context=5, horizon=2)
    forecasting.setup()
    assert (forecasting.task.channels, forecasting.task.resolution) == (["x"], 1.0)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"time": ["2024-01-01", "soon"], "x": [1, 2]}), ["row 3", "'soon'", "'time'"]),
        (pd.DataFrame({"time": [0, 1], "x": [1.0, np.inf]}), ["row 3", "'x'", "infinite"]),
        (pd.DataFrame({"time": [0, None], "x": [1.0, 2.0]}), ["row 3", "no time stamp"]),
        (pd.DataFrame({"time": pd.to_datetime(["2024-01-01", None]), "x": [1.0, 2.0]}), ["row 3", "no time stamp"]),
        (pd.DataFrame({"time": [0, 1], "x": ["a", "b"]}), ["no numeric column", "'x'"]),
        (pd.DataFrame({"time": [0, 1], "x": [None, None]}), ["'x'", "no observed value"]),
        (pd.DataFrame({"time": [], "x": []}), ["no rows"]),
        (pd.DataFrame({"x": [1.0, 2.0]}), ["no time column", "--time-column"]),
    ],
)
def test_mistakes_are_told_as_for_csv(store, frame: pd.DataFrame, words: list[str]):
    with pytest.raises(InputError) as caught:
        read_table(store(frame))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_missing_or_broken(store, tmp_path: Path):
    whole = store(pd.DataFrame({"time": [0, 1], "x": [1.0, 2.0]})).read_bytes()
    broken = tmp_path / "broken.parquet"
    for content in (b"", b"time,x\n0,1\n", whole[: len(whole) // 2]):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot read .*broken\.parquet: .* check that it is whole") as caught:
            read_table(broken)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no file at"):
        read_table(tmp_path / "absent.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path / "folder.parquet")


def test_without_pyarrow_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"pip install 'integrand\[parquet\]', or save the table as CSV"):
        read_table(path)
