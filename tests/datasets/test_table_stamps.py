"""Stamps that go wrong in practice: counts since 1970, units that change, clocks put on and back, odd series.

Letters: L stamps of a series.
"""

from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.tables import Table, read_table

NOON = 1_709_208_000  # 2024-02-29 12:00:00 UTC, by the calendar: 19,782 days and 12 hours since 1970


def table_of(folder: Path, text: str, **options) -> Table:
    path = folder / "table.csv"
    path.write_text(text)
    return read_table(path, **options)


def column(*stamps: object) -> str:
    return "time,x\n" + "".join(f"{stamp},{k}\n" for k, stamp in enumerate(stamps))


def times_of(table: Table) -> list[float]:
    (one,) = table.series
    return one.times.tolist()


@pytest.mark.parametrize(("unit", "a_second"), [("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6)])
def test_counts_since_1970_are_dates(tmp_path: Path, unit: str, a_second: int):
    assert NOON == (19_782 * 24 + 12) * 3600
    table = table_of(tmp_path, column(*(a_second * (NOON + second) for second in (0, 1800, 90_000))))
    assert times_of(table) == [0, 0.5, 25]
    assert (table.time_unit, table.timezone, str(table.epoch)) == ("h", "UTC", "2024-02-29 12:00:00+00:00")
    assert str(table.stamps(np.array([25.0]))[0]) == "2024-03-01 13:00:00+00:00"
    (told,) = [notice for notice in table.notices if "since 1970" in notice]
    assert f"counts {unit} since 1970" in told
    assert "2024-02-29 12:00:00" in told


def test_nanoseconds_since_1970_are_exact_from_the_first_stamp(tmp_path: Path):
    """In float64 such a count is rounded to 256; from its first stamp on it is not."""
    start = NOON * 10**9 + 123_456_789
    table = table_of(tmp_path, column(start, start + 1, start + 3_600_000_000_001), time_unit="ms")
    first, second, third = times_of(table)
    assert first == pytest.approx(789e-6, abs=1e-15)  # the epoch is a whole microsecond
    assert second - first == pytest.approx(1e-6, abs=1e-15)
    assert third - second == 3_600_000.0
    stamps = table.stamps(table.series[0].times)
    assert [stamp.isoformat() for stamp in stamps] == [
        "2024-02-29T12:00:00.123457+00:00",
        "2024-02-29T12:00:00.123457+00:00",
        "2024-02-29T13:00:00.123457+00:00",
    ]


def test_counts_stay_numbers_where_numbers_are_asked_for_or_not_all_are_counts(tmp_path: Path):
    assert times_of(table_of(tmp_path, column(NOON, NOON + 60), time_unit="1")) == [NOON, NOON + 60]
    assert table_of(tmp_path, column(0, NOON)).epoch is None
    assert table_of(tmp_path, column(NOON + 0.5, NOON + 1)).epoch is None


@pytest.mark.parametrize(
    ("stamps", "words"),
    [
        ((NOON, NOON + 60, 1000 * (NOON + 120)), ["row 2", "seconds", "row 4", "milliseconds", "one unit"]),
        ((NOON * 10**9, 1000 * NOON), ["milliseconds", "row 3", "nanoseconds", "row 2"]),
        ((1, 2, 3, 4000, 5000, 6000), ["row 4 (3)", "row 5 (4000)", "factor of 1000", "one unit"]),
        ((1.5, 2.25, 3.0, 3750, 4500), ["row 4 (3)", "row 5 (3750)"]),
        ((7000, 8000, 9000, 10, 11, 12), ["row 4 (9000)", "row 5 (10)"]),
    ],
)
@pytest.mark.parametrize("time_unit", ["h", "1"])
def test_a_change_of_unit_is_refused(tmp_path: Path, stamps: tuple[float, ...], words: list[str], time_unit: str):
    with pytest.raises(InputError, match="time column 'time'") as caught:
        table_of(tmp_path, column(*stamps), time_unit=time_unit)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_change_of_unit_is_seen_within_its_series_and_nowhere_else(tmp_path: Path):
    rows = ["a,1", "b,5000", "a,2", "b,6000", "a,3", "b,7000", "a,4", "b,8000"]
    assert len(table_of(tmp_path, "id,time,x\n" + "".join(f"{row},1\n" for row in rows)).series) == 2
    rows = [*rows, "a,5000", "a,6000"]
    with pytest.raises(InputError, match=r"row 8 \(4\) and row 10 \(5000\)"):
        table_of(tmp_path, "id,time,x\n" + "".join(f"{row},1\n" for row in rows))


@pytest.mark.parametrize(
    "stamps",
    [
        (1, 2, 3, 1003, 2003, 3003),  # slower by a thousand, with no jump of the number
        (1, 2, 3, 4000),  # one late row
        (0.001, 1, 1000, 1e6, 1e9),  # logarithmic
        (0, 1000, 2000, 3000),
        (3, 2, 1, 4000, 5000),
    ],
)
def test_steps_of_other_kinds_are_no_change_of_unit(tmp_path: Path, stamps: tuple[float, ...]):
    assert times_of(table_of(tmp_path, column(*stamps))) == sorted(stamps)


def test_the_hour_that_is_missing_in_spring(tmp_path: Path):
    """Berlin, 2024-03-31: 02:00 to 03:00 does not happen. With offsets no time is lost, without them an hour is."""
    with_offsets = column("2024-03-31 01:30+01:00", "2024-03-31 03:30+02:00", "2024-03-31 04:30+02:00")
    assert times_of(table_of(tmp_path, with_offsets)) == [0, 1, 2]
    without = column("2024-03-31 01:30", "2024-03-31 03:30", "2024-03-31 04:30")
    table = table_of(tmp_path, without)
    assert times_of(table) == [0, 2, 3]
    assert [str(stamp) for stamp in table.stamps(table.series[0].times)][1] == "2024-03-31 03:30:00"


def test_the_hour_that_comes_twice_in_autumn(tmp_path: Path):
    """Berlin, 2024-10-27: with offsets both are read, without them one is a repeat, of which a notice tells."""
    twice = ["2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 02:00", "2024-10-27 02:30", "2024-10-27 03:00"]
    offsets = ["+02:00", "+02:00", "+01:00", "+01:00", "+01:00"]
    stamped = [stamp + offset for stamp, offset in zip(twice, offsets, strict=True)]
    table = table_of(tmp_path, column(*stamped), duplicates="error")
    assert times_of(table) == [0, 0.5, 1, 1.5, 2]
    assert table.series[0].values.ravel().tolist() == [0, 1, 2, 3, 4]
    naive = table_of(tmp_path, column(*twice))
    assert times_of(naive) == [0, 0.5, 1]
    assert naive.series[0].values.ravel().tolist() == [1, 2, 4]
    assert any(notice.startswith("2 rows repeat") for notice in naive.notices)
    with pytest.raises(InputError, match="rows 2 and 4 have the same time stamp"):
        table_of(tmp_path, column(*twice), duplicates="error")


def test_a_series_in_two_blocks_of_the_file_is_one_series(tmp_path: Path):
    blocks = "id,time,x\na,0,1\na,1,2\nb,0,5\nb,1,6\na,2,3\na,3,4\n"
    table = table_of(tmp_path, blocks, duplicates="error")
    assert [(one.group, one.times.tolist()) for one in table.series] == [("a", [0, 1, 2, 3]), ("b", [0, 1])]
    assert table.series[0].values.ravel().tolist() == [1, 2, 3, 4]
    assert not any("sorted" in notice or "repeat" in notice for notice in table.notices)
    # The later block goes before the earlier one: sorted, and told.
    turned = table_of(tmp_path, "id,time,x\na,2,3\na,3,4\nb,0,5\nb,1,6\na,0,1\na,1,2\n")
    np.testing.assert_array_equal(turned.series[0].values, table.series[0].values)
    assert any("sorted the rows by time: 1 " in notice for notice in turned.notices)
    # Both blocks start at 0, as two recordings under one name do.
    again = "id,time,x\na,0,1\na,1,2\nb,0,5\nb,1,6\na,0,3\na,1,4\n"
    assert any(notice.startswith("2 rows repeat") for notice in table_of(tmp_path, again).notices)
    with pytest.raises(InputError, match=r"rows 2 and 6 have the same time stamp in series 'a'"):
        table_of(tmp_path, again, duplicates="error")


def test_a_series_of_one_row_is_read(tmp_path: Path):
    table = table_of(tmp_path, "id,time,x\na,5,1\nb,0,2\nb,1,3\n")
    assert [one.times.tolist() for one in table.series] == [[5], [0, 1]]
    assert times_of(table_of(tmp_path, column("2024-01-01"))) == [0]
