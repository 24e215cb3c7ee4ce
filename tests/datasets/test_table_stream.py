"""Tables that come row by row: after every row, the table that ``read_table`` makes of the rows so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.table_stream import Arrival, TableStream
from integrand.datasets.tables import read_table

NAN = np.nan
WIDE = """site,time,x,y
b,2024-03-31T00:30:00Z,1.1,
a,2024-03-31T00:10:00Z,0.1,-
b,2024-03-31T00:50:00Z,,
b,2024-03-31T01:30:00Z,1.3,2.5
a,2024-03-31T00:10:00Z,0.2,7
a,2024-03-31T00:10:00Z,0.4,
,,,
a,2024-03-31T05:00:00Z,,3
b,2024-03-31T03:10:00.5Z,9,1e3
"""
LONG = """site,time,variable,value
b,1.5,x,1.1
a,-2,x,0.1
a,-2,z,99
a,-2,y,0.3
a,-2,x,0.7
b,1.5,y,5
b,1.75,z,4
b,2,x,
b,4,x,3
"""
OFFSETS = """time,x,y
2024-03-31T01:30:00+01:00,1,2
2024-03-31T03:00:00+02:00,3,4
2024-03-31T02:30:00+01:00,5,6
"""
COUNTS = """time,x,y
1709208000123456789,1,2
1709208000123456790,3,4
1709208000123456790,7,4
1709211600000000001,3,4
1719211600000000002,5,6
"""


def streamed(text: str, **given: Any) -> list[Arrival]:
    options: dict[str, Any] = {"channels": ["x", "y"]} | given
    return list(TableStream(text.encode().splitlines(keepends=True), **options))


def head(text: str, rows: int) -> str:
    return "".join(text.splitlines(keepends=True)[:rows])


@pytest.mark.parametrize("duplicates", ["mean", "first", "last"])
@pytest.mark.parametrize("text", [WIDE, LONG, OFFSETS, COUNTS], ids=["wide", "long", "offsets", "counts"])
def test_every_row_gives_the_table_of_the_rows_so_far(text: str, duplicates: str, tmp_path: Path):
    options: dict[str, Any] = {"channels": ["x", "y"], "duplicates": duplicates}
    if "site" in text:
        options["group_column"] = "site"
    came = streamed(text, **options)
    rows = [n for n, line in enumerate(text.splitlines(), 1) if n > 1 and line.strip(",")]
    assert [one.row for one in came] == rows
    for one in came:
        path = tmp_path / "head.csv"
        path.write_text(head(text, one.row))
        whole = read_table(path, optional=["x", "y"], **options)
        (mine,) = one.table.series
        (theirs,) = (series for series in whole.series if series.group == mine.group)
        np.testing.assert_array_equal(mine.times, theirs.times)
        np.testing.assert_array_equal(mine.values, theirs.values)
        assert mine.values.dtype == theirs.values.dtype
        for name in ("time_unit", "epoch", "timezone", "time_column", "layout", "group_column", "variable_column"):
            assert getattr(one.table, name) == getattr(whole, name)
        observed = theirs.times[np.isfinite(theirs.values).any(1)]
        assert one.span == pytest.approx(np.ptp(observed) if len(observed) else 0, abs=1e-9)
        cells = np.concatenate([series.values for series in whole.series])
        assert one.unseen == [name for k, name in enumerate(["x", "y"]) if np.isnan(cells[:, k]).all()]


def test_only_the_span_is_kept():
    lines = [f"{t},{t if t % 3 else ''},\n" for t in range(250)]
    came = streamed("time,x,y\n" + "".join(lines), span=10.0, optional=["y"])
    for one in came:
        times = one.table.series[0].times
        now = one.row - 2
        measured = [t for t in range(now + 1) if t % 3]
        kept = [t for t in measured if t >= measured[-1] - 10] if measured else []
        # The row just come is there, whatever it holds.
        assert times.tolist() == sorted({*kept, now})
    assert came[-1].span == 247  # from 1 to 248: 249 is divided by three


def test_blank_lines_byte_order_marks_and_carriage_returns():
    lines = [b"\n", b"\xef\xbb\xbftime,x,y\r\n", b"\r\n", b"0,1,2\r\n", b"  \n", b"1,3,4"]
    came = list(TableStream(lines[1:], channels=["x", "y"]))
    assert [one.row for one in came] == [3, 5]
    assert came[-1].table.series[0].values.tolist() == [[1, 2], [3, 4]]
    assert [one.row for one in TableStream([b"\n", b"time,x,y\n", b"0,1,2\n"], channels=["x", "y"])] == [3]


def test_rows_are_answered_before_the_next_is_read():
    read = []

    def lines():
        for line in WIDE.encode().splitlines(keepends=True):
            read.append(line)
            yield line

    rows = TableStream(lines(), channels=["x", "y"], group_column="site")
    for one in rows:
        assert len(read) == one.row


def test_static_features_are_what_the_rows_have_said():
    text = "id,time,x,age,male\np,0,1,,1\nq,0,1,50,\np,1,1,61,1\np,2,1,,\n"
    came = streamed(text, channels=["x"], static=["age", "male"])
    assert all(one.table.static_names == ("age", "male") for one in came)
    told = [[NAN, 1], [50, NAN], [61, 1], [61, 1]]
    np.testing.assert_array_equal([one.table.static[0] for one in came if one.table.static is not None], told)
    with pytest.raises(InputError, match=r"^series 'p' has both 61 and, in row 4, 62 in static column 'age'"):
        streamed("id,time,x,age\np,0,1,61\nq,0,1,62\np,1,1,62\n", channels=["x"], static=["age"])
    with pytest.raises(InputError, match=r"lacks columns of the static features age, male: did you mean .*'Age'\?"):
        streamed("id,time,x,Age\np,0,1,61\n", channels=["x"], static=["age", "male"])


def test_words_are_features_of_the_model_that_knows_them():
    """A word that looks like a number is one still, and a series' word is told once for all of its rows."""
    text = "id,time,x,kind\np,0,1,\np,1,1,07\nq,0,2,b\np,2,3,-\n"
    came = streamed(text, channels=["x"], static=["kind=07", "kind=b"])
    told = [[NAN, NAN], [1, 0], [0, 1], [1, 0]]
    np.testing.assert_array_equal([one.table.static[0] for one in came if one.table.static is not None], told)
    with pytest.raises(InputError, match=r"^row 3 has 'c' in static column 'kind', where the model knows '07', 'b':"):
        streamed("id,time,x,kind\np,0,1,b\nq,0,1,c\n", channels=["x"], static=["kind=07", "kind=b"])
    with pytest.raises(InputError, match=r"^series 'p' has both '07' and, in row 3, 'b' in static column 'kind'"):
        streamed("id,time,x,kind\np,0,1,07\np,1,1,b\n", channels=["x"], static=["kind=07", "kind=b"])


def test_counts_since_1970_are_dates_from_the_first_row_on():
    rows = TableStream(b"time,x,y\n1709208000,1,2\n1709211600,3,4\n".splitlines(keepends=True), channels=["x", "y"])
    last = [one.table.texts(one.table.series[0].times)[-1] for one in rows]
    assert last == ["2024-02-29 12:00:00+00:00", "2024-02-29 13:00:00+00:00"]
    (told,) = [line for line in rows.take_notices() if "since 1970" in line]
    assert "counts seconds since 1970" in told
    # Where it was no count, later numbers are none either, as in a file of both.
    assert [one.table.epoch for one in streamed("time,x,y\n5,1,1\n1709208000,1,1\n")] == [None, None]


def test_numbers_that_look_like_dates_are_a_matter_of_the_first_row():
    times = [one.table.series[0].times[-1] for one in streamed("time,x,y\n20240130,1,1\n".replace("20240130", "5"))]
    assert times == [5]
    assert len(streamed("time,x,y\n5,1,1\n20240130,1,1\n")) == 2
    with pytest.raises(InputError, match="dates written as numbers"):
        streamed("time,x,y\n20240130,1,1\n")


BAD: dict[str, tuple[str, dict, Sequence[str]]] = {
    "nothing": ("", {}, ["standard input is empty"]),
    "too few cells": ("time,x,y\n0,1,2\n1,2\n", {}, ["row 3 has 2 cells", "header has 3"]),
    "too many cells": ("time,x,y\n0,1,2\n1,2,3,4\n", {}, ["row 3 has 4 cells", "header has 3"]),
    "an open quote": ('time,x,y\n0,1,2\n1,"2,3\n', {}, ["row 3 has 2 cells"]),
    "a word for a number": ("time,x,y\n0,1,2\n1,warm,3\n", {}, ["row 3", "'warm'", "column 'x'", "no number"]),
    "infinite": ("time,x,y\n0,1,2\n1,inf,3\n", {}, ["row 3", "'inf'", "column 'x'"]),
    "backwards": (
        "site,time,x,y\na,5,1,2\nb,1,1,2\na,4,1,2\n",
        {"group_column": "site"},
        ["row 4 has '4' in time column 'time'", "series 'a'", "order of time"],
    ),
    "no stamp": ("time,x,y\n0,1,2\n,1,3\n", {}, ["row 3 has no time stamp"]),
    "no group": ("site,time,x,y\na,0,1,2\n,1,1,3\n", {"group_column": "site"}, ["row 3 names no group"]),
    "no date": ("time,x,y\n2024-01-01,1,2\nnow,1,3\n", {}, ["row 3 has 'now'", "no date"]),
    "a number after dates": ("time,x,y\n2024-01-01,1,2\n7.5,1,3\n", {}, ["row 3 has '7.5'", "no date"]),
    "a date after numbers": ("time,x,y\n7,1,2\n2024-01-01,1,3\n", {}, ["row 3 has '2024-01-01'", "plain numbers"]),
    "an offset at last": (
        "time,x,y\n2024-01-01,1,2\n2024-01-02T00:00Z,1,3\n",
        {},
        ["row 3 has '2024-01-02T00:00Z'", "with an offset from UTC", "all with or all without"],
    ),
    "a number after counts": (
        "time,x,y\n1709208000,1,2\n7,1,3\n",
        {},
        ["row 3 has 7 in time column 'time'", "count seconds since 1970"],
    ),
    "counts of another unit": (
        "time,x,y\n1709208000,1,2\n1709208060000,1,3\n",
        {},
        ["row 3 has 1709208060000 in", "count seconds since 1970", "one unit"],
    ),
    "a unit that changes": (
        "time,x,y\n1,1,2\n2,1,2\n3,1,2\n4000,1,2\n5000,1,2\n",
        {"span": 10.0},
        ["row 4 (3)", "row 5 (4000)", "factor of 1000", "one unit"],
    ),
    "a repeated stamp": ("time,x,y\n0,1,2\n0,2,3\n", {"duplicates": "error"}, ["row 3 repeats", "--duplicates mean"]),
    "no such channel": ("time,x,z\n0,1,2\n", {}, ["lacks channel 'y'", "z"]),
    "no such column": ("time,x,y\n0,1,2\n", {"time_column": "tiem"}, ["'tiem'", "'time'?"]),
    "unknown policy": ("time,x,y\n0,1,2\n", {"duplicates": "meen"}, ["'meen'", "'mean'?"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_named(name: str):
    text, options, words = BAD[name]
    with pytest.raises(InputError) as caught:
        streamed(text, **options)
    for word in words:
        assert word in str(caught.value)


def test_text_that_is_not_utf8_is_named_by_row():
    with pytest.raises(InputError, match=r"not UTF-8 \(row 3\)"):
        list(TableStream([b"time,x,y\n", b"0,1,2\n", b"1,\xff,2\n"], channels=["x", "y"]))
