"""Reading tables: known arrays, wide against long form, stamps back as they were, and every mistake on one line.

Letters: L stamps of a series, C channels.
"""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrand.core.errors import InputError
from integrand.datasets.tables import Series, Table, read_table, require_span

NAN = float("nan")


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def message_of(path, **options):
    """The complaint on reading ``path``, which must be one line."""
    with pytest.raises(InputError) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def assert_series(series: Series, group, times_L, values_LC):
    assert series.group == group
    assert series.times.dtype == np.float64
    assert series.values.dtype == np.float32
    np.testing.assert_array_equal(series.times, times_L)
    np.testing.assert_array_equal(series.values, np.array(values_LC, dtype=np.float32))


def assert_same(one: Table, other: Table):
    assert one.channels == other.channels
    assert (one.time_unit, one.epoch, one.timezone) == (other.time_unit, other.epoch, other.timezone)
    assert [s.group for s in one.series] == [s.group for s in other.series]
    for mine, theirs in zip(one.series, other.series, strict=True):
        assert_series(mine, theirs.group, theirs.times, theirs.values)


WIDE = """station,time,temp,wind,remark
b,2024-01-01 00:00,1.5,NA,calm
b,2024-01-01 01:30,,2,calm
a,2024-01-01 00:30,null,-,gusty
a,2024-01-02 00:30,-3,4e1,gusty
"""
LONG = """station,time,variable,value
a,2024-01-02 00:30,wind,40
a,2024-01-02 00:30,temp,-3
b,2024-01-01 01:30,wind,2
a,2024-01-01 00:30,temp,
b,2024-01-01 00:00,temp,1.5
"""


@pytest.mark.parametrize("text", [WIDE, LONG])
def test_wide_and_long_form_give_the_known_arrays(write, text):
    table = read_table(write(text))
    assert table.channels == ["temp", "wind"]
    assert (table.time_unit, table.time_column, table.group_column) == ("h", "time", "station")
    assert table.epoch == pd.Timestamp("2024-01-01", tz="UTC")
    assert table.timezone is None
    assert len(table.series) == 2
    assert_series(table.series[0], "a", [0.5, 24.5], [[NAN, NAN], [-3, 40]])
    assert_series(table.series[1], "b", [0, 1.5], [[1.5, NAN], [NAN, 2]])


def test_layout_and_notices_tell_what_was_chosen(write):
    wide, long = read_table(write(WIDE, "wide.csv")), read_table(write(LONG, "long.csv"))
    assert (wide.layout, long.layout) == ("wide", "long")
    assert all(len(notice.splitlines()) == 1 for notice in [*wide.notices, *long.notices])
    for notices, words in [
        (wide.notices, ["'time' is the time (--time-column", "'station' tells", "text: remark"]),
        (long.notices, ["--variable-column", "'station' tells"]),
    ]:
        for word in words:
            assert any(word in notice for notice in notices), word
    assert not any("sorted" in notice for notice in wide.notices)
    spelled = read_table(write(LONG), time_column="time", group_column="station", channels=["temp", "wind"])
    assert [notice for notice in spelled.notices if "is the time" in notice or "tells" in notice] == []


def test_form_of_the_file_does_not_matter(write):
    plain = read_table(write(WIDE))
    variants = {
        "semicolons": WIDE.replace(",", ";").encode(),
        "tabs": WIDE.replace(",", "\t").encode(),
        "windows": WIDE.replace("\n", "\r\n").encode(),
        "byte order mark": b"\xef\xbb\xbf" + WIDE.encode(),
        "gzip": gzip.compress(WIDE.encode()),
        "xz": lzma.compress(WIDE.encode()),
        "blank rows": ("\n\n" + WIDE.replace("a,", "\na,", 1) + ",,,,\n\n").encode(),
        "trailing commas": WIDE.replace("\n", ",\n").encode(),
        "no last newline": WIDE.rstrip().encode(),
        "blanks": WIDE.replace(",", ", ").encode(),
        "quoted": WIDE.replace("calm", '"calm, ""flat"""').replace("temp", '"temp"').encode(),
    }
    for name, data in variants.items():
        assert_same(read_table(write(data, f"{name}.csv")), plain)


def test_separator_inside_quotes_does_not_win(write):
    table = read_table(write('time,"a;b;c;d"\n0,1\n1,2\n'))
    assert table.channels == ["a;b;c;d"]


@pytest.mark.parametrize(
    ("unit", "times"),
    [("d", [0, 1.5]), ("h", [0, 36]), ("min", [0, 2160]), ("s", [0, 129600]), ("ms", [0, 129600000])],
)
def test_time_unit_scales_dates(write, unit, times):
    table = read_table(write("ds,x\n2024-02-28T12:00,1\n2024-03-01,2\n"), time_unit=unit)
    assert table.time_unit == unit
    np.testing.assert_array_equal(table.series[0].times, times)


def test_plain_numbers_are_kept(write):
    table = read_table(write("t,x\n-1.5,1\n0.1,2\n7,3\n"), time_unit="s")
    assert (table.time_unit, table.epoch, table.timezone, table.time_column) == ("1", None, None, "t")
    assert_series(table.series[0], "all", [-1.5, 0.1, 7], [[1], [2], [3]])
    np.testing.assert_array_equal(table.stamps(np.array([8.0, 9.5])), [8.0, 9.5])


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("year,time_hour,x", "2013,2013-01-01 05:00,1", "time_hour"),
        ("Date,x", "2013-01-01,1", "Date"),
        (",x", "2013-01-01,1", "column 1"),
        ("city,when,x", "Rome,2013-01-01,1", "when"),
        ("x,Time [s]", "1,0.5", "Time [s]"),
        ("time,stamp,timestamp,x", "noon,1,2013-01-01,1", "timestamp"),
    ],
)
def test_time_column_is_found(write, header, row, found):
    assert read_table(write(f"{header}\n{row}\n")).time_column == found


def test_rising_numbers_are_a_time_only_where_they_rise_within_each_group(write):
    assert read_table(write("id,t,x\np,0,1\np,2,1\nq,1,1\n")).time_column == "t"
    assert "--time-column" in message_of(write("id,t,x\np,3,1\np,2,1\n"))


def test_group_names_stay_as_written_and_whole_numbers_are_ordered_as_numbers(write):
    text = "unique_id,time,x\n10,0,1\n9,0,2\n"
    assert [series.group for series in read_table(write(text)).series] == ["9", "10"]
    assert [s.group for s in read_table(write(text.replace("9", "007"))).series] == ["007", "10"]
    assert [s.group for s in read_table(write(text.replace("9", "NA"))).series] == ["10", "NA"]


def test_fractions_are_no_group(write):
    table = read_table(write("time,station\n0,1013.2\n1,1014.1\n"))
    assert (table.channels, table.group_column) == (["station"], None)


def test_columns_that_number_the_rows_are_neither_group_nor_channel(write):
    for name in ("", "id"):
        table = read_table(write(f"{name},time,x\n0,2024-01-01,5\n1,2024-01-02,6\n2,2024-01-03,7\n"))
        assert (table.channels, table.group_column, len(table.series)) == (["x"], None, 1)
    named = read_table(write("id,time,x\n1,0,5\n2,0,6\n"), group_column="id")
    assert [series.group for series in named.series] == ["1", "2"]


def test_channels_select_and_order(write):
    for text in (WIDE, LONG):
        table = read_table(write(text), channels=["wind"])
        assert table.channels == ["wind"]
        assert_series(table.series[0], "a", [0.5, 24.5], [[NAN], [40]])
        assert any("not asked for" in notice and "temp" in notice for notice in table.notices)
        swapped = read_table(write(text), channels=["wind", "temp"])
        np.testing.assert_array_equal(swapped.series[1].values, np.array([[NAN, 1.5], [2, NAN]], dtype=np.float32))


def test_optional_channels_may_be_absent_or_empty(write):
    for text in (WIDE, LONG):
        table = read_table(write(text), channels=["rain", "wind", "snow"], optional=["rain", "snow", "wind"])
        assert table.channels == ["rain", "wind", "snow"]
        assert_series(table.series[0], "a", [0.5, 24.5], [[NAN] * 3, [NAN, 40, NAN]])
        (notice,) = [notice for notice in table.notices if "without an observed value" in notice]
        assert "rain, snow" in notice
        assert "wind" not in notice
    empty = "time,x,y\n0,1,\n1,2,NA\n"
    np.testing.assert_array_equal(
        read_table(write(empty), channels=["x", "y"], optional=["y"]).series[0].values, [[1, NAN], [2, NAN]]
    )
    assert "channel 'y' has no observed value: give at least one." in message_of(write(empty), channels=["x", "y"])
    message = message_of(write(WIDE), channels=["tmp", "rain"], optional=["rain"])
    assert "lacks channel 'tmp': did you mean 'temp'?" in message


def test_truth_values_count_as_one_and_zero(write):
    table = read_table(write("time,open,shut\n0,True,False\n1,False,\n"))
    np.testing.assert_array_equal(table.series[0].values, np.array([[1, 0], [0, NAN]], dtype=np.float32))


REPEATED_WIDE = "time,x,y\n1,9,\n0,1,\n0,2,5\n0,6,\n"
REPEATED_LONG = "time,name,value\n1,x,9\n0,x,1\n0,x,2\n0,y,5\n0,x,6\n0,y,\n"


@pytest.mark.parametrize("text", [REPEATED_WIDE, REPEATED_LONG])
@pytest.mark.parametrize(("policy", "x"), [("mean", 3), ("first", 1), ("last", 6)])
def test_repeated_stamps_follow_the_policy_over_observed_cells(write, text, policy, x):
    table = read_table(write(text), duplicates=policy)
    assert_series(table.series[0], "all", [0, 1], [[x, 5], [9, NAN]])
    repeats = [notice for notice in table.notices if "repeat" in notice]
    assert len(repeats) == 1
    # two more cells of x and one empty cell of y in long form, two more rows in wide form
    assert repeats[0].startswith("3 rows" if "name" in text else "2 rows")
    assert f"--duplicates {policy}" in repeats[0]


def test_repeated_stamps_are_refused_on_demand(write):
    message = message_of(write(REPEATED_WIDE), duplicates="error")
    assert "rows 3 and 4" in message
    assert "--duplicates" in message
    message = message_of(write("id,time,x\np,0,1\nq,0,1\np,0,2\n"), duplicates="error")
    assert "rows 2 and 4" in message
    assert "'p'" in message
    read_table(write("id,time,x\np,0,1\nq,0,1\n"), duplicates="error")


def test_same_stamp_for_other_variables_is_no_repeat_and_no_disorder(write):
    table = read_table(write("time,variable,value\n0,x,1\n1,x,2\n0,y,3\n1,y,4\n"), duplicates="error")
    assert_series(table.series[0], "all", [0, 1], [[1, 3], [2, 4]])
    assert not any("sorted" in notice for notice in table.notices)


def test_unsorted_rows_are_sorted_with_a_notice(write):
    table = read_table(write("time,x\n2,3\n0,1\n1,2\n"))
    assert_series(table.series[0], "all", [0, 1, 2], [[1], [2], [3]])
    assert any("sorted the rows by time: 1 " in notice for notice in table.notices)


@st.composite
def irregular_tables(draw):
    """Groups, each with distinct stamps in seconds and values with missing cells, every channel observed once."""
    n_channels = draw(st.integers(1, 3))
    cell = st.none() | st.floats(-1e6, 1e6, width=32)
    groups = draw(st.lists(st.sampled_from(["JFK", "EWR", "7", "NA"]), min_size=1, max_size=3, unique=True))
    rows = {}
    for group in groups:
        for second in draw(st.lists(st.integers(0, 10**8), min_size=1, max_size=5, unique=True)):
            rows[group, second] = draw(st.lists(cell, min_size=n_channels, max_size=n_channels))
    rows[groups[0], 10**8 + 1] = [1.0] * n_channels
    return rows, [f"c{k}" for k in range(n_channels)]


def _stamp(second):
    return str(pd.Timestamp("2020-02-28", tz="+05:30") + pd.Timedelta(seconds=second))


@settings(max_examples=40, deadline=None)
@given(source=irregular_tables(), shuffler=st.randoms(use_true_random=False))
def test_wide_and_long_form_in_any_order_equal_their_source(tmp_path_factory, source, shuffler):
    rows, channels = source
    wide = [[g, _stamp(t), *("" if c is None else repr(c) for c in cells)] for (g, t), cells in rows.items()]
    long = [
        [g, _stamp(t), name, "NaN" if c is None else repr(c)]
        for (g, t), cells in rows.items()
        for k, (name, c) in enumerate(zip(channels, cells, strict=True))
        if c is not None or (k == 0 and all(other is None for other in cells)) or shuffler.random() < 0.3
    ]
    folder = tmp_path_factory.mktemp("forms")
    first = min(t for _, t in rows)
    for header, lines in [(["group", "time", *channels], wide), (["group", "time", "variable", "value"], long)]:
        shuffler.shuffle(lines)
        path = folder / "table.csv"
        path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")
        table = read_table(path, time_unit="s")
        assert table.channels == channels
        assert table.timezone == "+05:30"
        assert [series.group for series in table.series] == sorted({g for g, _ in rows})
        for series in table.series:
            times = sorted(t for g, t in rows if g == series.group)
            values = [[NAN if c is None else c for c in rows[series.group, t]] for t in times]
            assert_series(series, series.group, [t - first for t in times], values)
            assert [str(stamp) for stamp in table.stamps(series.times)] == [_stamp(t) for t in times]


@pytest.mark.parametrize(
    ("stamps", "timezone"),
    [
        (["2024-03-31 00:30", "2024-03-31 02:30"], None),
        (["2024-03-31T00:30:00Z", "2024-03-31T02:30:00Z"], "UTC"),
        (["2024-03-31 00:30:00-05", "2024-03-31 02:30:00-0500"], "-05:00"),
        (["1899-12-31T23:59:59.123457+05:45", "1999-12-31T23:59:59.999999+05:45"], "+05:45"),
        (["1000-01-01", "2999-01-01"], None),
    ],
)
def test_stamps_come_back_as_the_file_has_them(write, stamps, timezone):
    if stamps[0] < "1678" and int(pd.__version__.split(".")[0]) < 3:
        pytest.skip("pandas 2 reads dates from 1678 to 2261 alone")
    table = read_table(write("time,x\n" + "".join(f"{stamp},1\n" for stamp in stamps)))
    assert table.timezone == timezone
    back = table.stamps(table.series[0].times)
    assert [stamp.isoformat() for stamp in back] == [pd.Timestamp(stamp).isoformat() for stamp in stamps]


def test_summer_time_with_offsets_is_read_in_utc(write):
    """Berlin leaves summer time: 02:30 happens twice, an hour apart."""
    berlin = ["2024-10-27 01:30:00+02:00", "2024-10-27 02:30:00+02:00", "2024-10-27 02:30:00+01:00"]
    table = read_table(write("time,x\n" + "".join(f"{stamp},{k}\n" for k, stamp in enumerate(berlin))))
    assert_series(table.series[0], "all", [0, 1, 2], [[0], [1], [2]])
    assert table.timezone == "UTC"
    assert any("UTC" in notice for notice in table.notices)
    expected = ["2024-10-26 23:30:00+00:00", "2024-10-27 00:30:00+00:00", "2024-10-27 01:30:00+00:00"]
    assert [str(stamp) for stamp in table.stamps(table.series[0].times)] == expected


def test_summer_time_without_offsets_is_read_as_written(write):
    """The hour that happens twice is a repeated stamp; the one that never happens stays a gap."""
    table = read_table(write("time,x\n2024-10-27 02:30,1\n2024-10-27 02:30,3\n2024-10-27 03:30,5\n"))
    assert_series(table.series[0], "all", [0, 1], [[2], [5]])


def test_table_written_with_its_stamps_reads_back(write):
    table = read_table(write(WIDE))
    frames = [
        pd.DataFrame(series.values, columns=pd.Index(table.channels)).assign(
            time=table.stamps(series.times), station=series.group
        )
        for series in table.series
    ]
    assert_same(read_table(write(pd.concat(frames).to_csv(index=False), "again.csv")), table)


BAD = {
    "bad stamp": (
        "time,x\n2024-01-01,1\nyesterday,2\n2024-01-03,2\n",
        ["row 3", "'yesterday'", "'time'", "2024-01-31"],
    ),
    "slashes": ("date,x\n31/01/2024,1\n", ["row 2", "'31/01/2024'", "--time-column"]),
    "impossible day": ("time,x\n2024-01-01,1\n2023-02-29,1\n", ["row 3", "'2023-02-29'"]),
    "bad stamp after blank rows": ("\ntime,x\n\n2024-01-01,1\n\nsoon,2\n", ["row 6", "'soon'"]),
    "bad number as stamp": ("time,x\n0,1\n1,1\nlate,1\n", ["row 4", "'late'", "'time'", "--time-column"]),
    "infinite stamp": ("time,x\n0,1\n1,1\ninf,1\n", ["row 4", "'inf'", "'time'"]),
    "missing stamp": ("time,x\n2024-01-01,1\n,2\n", ["row 3", "no time stamp", "'time'"]),
    "missing numeric stamp": ("time,x\n0,1\nNaN,2\n", ["row 3", "no time stamp", "'time'"]),
    "offsets on some": ("time,x\n2024-01-01T00:00Z,1\n2024-01-02 00:00,2\n", ["row 3", "row 2", "offset"]),
    "dates as numbers": ("date,x\n20240101,1\n20240102,2\n", ["20240101", "2024-01-01", "--time-column"]),
    "split stamp": ("date,time,x\n2024-01-01,05:00,1\n", ["'date'", "'time'", "join", "--time-column"]),
    "no header": ("2024-01-01,1\n2024-01-02,2\n", ["'2024-01-01'", "column names"]),
    "clock alone": ("time,x\n00:07,1\n00:14,2\n", ["row 2", "'00:07'", "plain numbers"]),
    "no time": ("x,y\n1,2\n", ["'x', 'y'", "--time-column"]),
    "infinite": ("time,x\n0,1\n1,inf\n", ["row 3", "'x'", "infinite"]),
    "minus infinity": ("time,x\n0,1\n1,-Infinity\n", ["row 3", "'x'", "infinite"]),
    "overflow": ("time,x\n0,1\n1,1e39\n", ["row 3", "'x'", "single precision"]),
    "bad cell": ("time,x\n0,1\n1,1.5?\n2,3\n", ["row 3", "'x'", "'1.5?'", "empty"]),
    "decimal comma": ("time;x\n0;1\n1;1,5\n", ["row 3", "'x'", "'1,5'", "decimal point"]),
    "decimal commas": ("time;x\n0;1,5\n1;1,5\n", ["no numeric column", "'x'", "decimal point"]),
    "bad cell in long form": ("time,variable,value\n0,x,1\n1,y,low\n", ["row 3", "'value'", "'low'"]),
    "infinite in long form": ("time,variable,value\n0,x,1\n1,y,inf\n", ["row 3", "'value'"]),
    "no variable": ("time,variable,value\n0,x,1\n1,,2\n", ["row 3", "'variable'", "--variable-column"]),
    "no group": ("time,group,x\n0,a,1\n1,,2\n", ["row 3", "'group'", "--group-column"]),
    "empty": ("", ["empty"]),
    "blank": (" \n\n", ["empty"]),
    "header only": ("time,x\n", ["no rows"]),
    "rows of nothing": ("time,x\n,\n,\n", ["no rows"]),
    "only text": ("time,x\n0,up\n1,down\n", ["no numeric column", "'x'"]),
    "only time": ("time\n0\n1\n", ["no numeric column"]),
    "unobserved": ("time,x,y\n0,1,\n1,2,NA\n", ["'y'", "no observed value", "remove"]),
    "unobserved in long form": ("time,variable,value\n0,x,1\n1,y,\n", ["'y'", "no observed value"]),
    "same name": ("time,x,x\n0,1,2\n", ["'x'", "own name"]),
    "long row first": ("time,x\n0,1,2\n1,2,3\n", ["row 2", "2 columns"]),
    "long row": ("time,x\n0,1\n1,2,3\n", ["row 3", "2 columns"]),
    "open quote": ('time,x\n0,1\n1,"2\n', ["quotes"]),
    "latin 1": (b"time,x\n0,1\n1,2\n2,\xb0\n", ["row 4", "UTF-8"]),
    "utf 16": ("time,x\n0,1\n".encode("utf-16"), ["UTF-8"]),
    "binary": (b"PK\x03\x04\x00\x00\x08", ["binary", "CSV"]),
    "torn gzip": (gzip.compress(WIDE.encode())[:40], ["cannot read"]),
    "torn xz": (lzma.compress(WIDE.encode())[:60], ["cannot read"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_on_one_line(write, case):
    text, words = BAD[case]
    message = message_of(write(text))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (WIDE, {"time_column": "tiem"}, ["--time-column", "'tiem'", "did you mean 'time'"]),
        (WIDE, {"group_column": "stations"}, ["--group-column", "did you mean 'station'"]),
        (LONG, {"variable_column": "varaible"}, ["--variable-column", "did you mean 'variable'"]),
        (LONG, {"value_column": "val"}, ["--value-column", "did you mean 'value'"]),
        (WIDE, {"variable_column": "remark"}, ["--value-column"]),
        (WIDE, {"value_column": "temp"}, ["--variable-column"]),
        (WIDE, {"time_column": "temp", "group_column": "temp"}, ["--time-column", "--group-column", "'temp'"]),
        (WIDE, {"channels": ["tmep"]}, ["channel", "'tmep'", "did you mean 'temp'"]),
        (LONG, {"channels": ["wnd"]}, ["channel", "'wnd'", "did you mean 'wind'"]),
        (WIDE, {"channels": ["remark"]}, ["row 2", "'remark'", "'calm'"]),
        (WIDE, {"channels": ["temp", "temp"]}, ["once"]),
        (WIDE, {"channels": []}, ["at least one"]),
        (WIDE, {"duplicates": "frist"}, ["--duplicates", "did you mean 'first'"]),
        (WIDE, {"time_unit": "hour"}, ["time unit", "'hour'"]),
        (WIDE, {"time_unit": "1"}, ["dates", "plain numbers"]),
    ],
)
def test_wrong_options_are_refused_on_one_line(write, text, options, words):
    message = message_of(write(text), **options)
    for word in words:
        assert word in message


def test_no_file_and_a_folder(tmp_path: Path):
    assert "no file at" in message_of(tmp_path / "absent.csv")
    assert "is a folder" in message_of(tmp_path)


def test_long_columns_by_option(write):
    text = LONG.replace("variable", "sensor").replace("value", "reading")
    table = read_table(write(text, "named.csv"), variable_column="sensor", value_column="reading")
    assert table.layout == "long"
    assert_same(table, read_table(write(LONG)))


def test_span_must_cover_what_is_asked(write):
    table = read_table(
        write("origin,time,x\nEWR,2024-01-01,1\nEWR,2024-01-02,1\nJFK,2024-01-01 00,1\nJFK,2024-01-01 05,1\n")
    )
    require_span(table, 5, what="horizon")
    with pytest.raises(InputError, match=r"series 'JFK' spans 5 h, shorter than the 24 h horizon: give at least 24 h"):
        require_span(table, 24, what="horizon")
    plain = read_table(write("time,x\n0,1\n2,1\n"))
    with pytest.raises(InputError, match=r"spans 2, shorter than the 3 context"):
        require_span(plain, 3, what="context")
