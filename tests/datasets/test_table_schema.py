"""What columns of mixed tables hold, how it is told, kept and refused; and tables read from and written to files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.core.errors import InputError
from integrand.datasets.frames import read_frame, write_frame
from integrand.datasets.table_kinds import Column, lattice
from integrand.datasets.table_schema import TableSchema

ROWS = 60


def mixed(rows: int = ROWS) -> pd.DataFrame:
    """A table with a column of each kind, whose values are plain arithmetic of the row number."""
    i = np.arange(rows)
    return pd.DataFrame(
        {
            "price": np.round(3.05 + 0.37 * i, 2),
            "weight": np.sqrt(i + 2.0),
            "count": i % 23,
            "grade": np.array(["low", "mid", "high"])[i % 3],
            "colour": [None if k % 7 == 0 else ("red", "blue")[k % 2] for k in i],
            "sold": i % 2 == 0,
            "day": [f"2024-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in i],
            "pressure": np.where(i % 5 == 0, np.nan, 1000.0 + 5 * (i % 17)),
            "rooms": i % 4,
            "country": "NO",
        }
    )


def schema_of(frame: pd.DataFrame, **options) -> TableSchema:
    return TableSchema.infer(frame, **options)


def column_of(values, **options) -> Column:
    """The column of values beside another that changes."""
    values = list(values)
    return schema_of(pd.DataFrame({"x": values, "y": np.arange(len(values)) * 0.5}), **options).column("x")


def test_kinds_are_told_from_the_values():
    schema = schema_of(mixed(), ordinal={"grade": ["low", "mid", "high"]})
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "price": "continuous",
        "weight": "continuous",
        "count": "integer",
        "grade": "ordinal",
        "colour": "categorical",
        "sold": "categorical",
        "day": "datetime",
        "pressure": "integer",
        "rooms": "categorical",
        "country": "constant",
    }
    assert schema.column("grade").categories == ("low", "mid", "high")
    assert schema.column("colour").categories == ("blue", "red")
    assert schema.column("sold").categories == (False, True)
    assert schema.column("rooms").categories == (0, 1, 2, 3)
    assert [column.name for column in schema.columns if column.missing] == ["colour", "pressure"]


def test_rounding_and_range_are_those_of_the_training_rows():
    schema = schema_of(mixed())
    assert schema.column("price").unit == 0.01
    assert schema.column("weight").unit is None
    assert schema.column("pressure").unit == 5.0
    assert schema.column("day").unit == 86_400.0
    assert (schema.column("pressure").low, schema.column("pressure").high) == (1000.0, 1080.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(40) * 0.25, (25, 2)),
        (np.arange(40) * 200.0, (200, 0)),
        (np.arange(-20, 20) * 1e-7, (1, 7)),  # some a rounding error away from the decimal
        (np.arange(40) / 3, (None, 0)),
        (np.array([2.0, 4.0]), (1, 0)),  # too few to tell 2 from 1
        (np.arange(1, 41) * 1e-11, (None, 0)),
    ],
)
def test_lattice_is_the_widest_that_holds_all(values: np.ndarray, expected: tuple[int | None, int]):
    assert lattice(values) == expected


def test_rounding_gives_the_number_nearest_to_its_decimal_form():
    column = Column("x", "continuous", dtype="float64", step=1, decimals=3)
    written = [0.001 * k for k in range(1000)]  # many of them a rounding error away from the decimal
    assert column.rounded(np.array(written)).tolist() == [float(f"{k}e-3") for k in range(1000)]


def test_few_distinct_numbers_are_categories_unless_asked_otherwise():
    values = [1.5, 2.5] * 10
    assert column_of(values).kind == "categorical"
    assert column_of(values, continuous=["x"]).kind == "continuous"
    assert column_of([1.5, 2.5] * 4).kind == "continuous"  # four times each is not often
    assert column_of(np.arange(40).astype(object)).kind == "integer"
    assert column_of([1.0, 2.0, 3.0] * 2, categorical=["x"]).categories == (1.0, 2.0, 3.0)


def test_a_constant_column_is_kept_out_told_and_written_back():
    schema = schema_of(mixed())
    (notice,) = schema.notices
    assert "'country'" in notice
    assert "country" not in [column.name for column in schema.modelled]
    rows = schema.restore(schema.check(mixed()), ROWS)
    assert rows["country"].tolist() == ["NO"] * ROWS


def test_check_and_restore_are_inverse_for_every_kind():
    frame = mixed()
    for options in ({}, {"ordinal": {"grade": ["low", "mid", "high"]}}, {"categorical": ["count", "day"]}):
        schema = schema_of(frame, **options)
        pd.testing.assert_frame_equal(schema.restore(schema.check(frame), ROWS), frame, check_exact=True)


@pytest.mark.parametrize(
    "cells",
    [
        pd.Series(pd.date_range("2024-01-31 07:30", periods=30, freq="90min", tz="Europe/Oslo")),
        pd.Series(pd.date_range("1950-01-01", periods=30, freq="D")).astype("datetime64[us]"),
        pd.Series(["2024-03-01T10:00:00Z", "2024-03-01T11:30:15Z"] * 9),
        pd.Series(["2024-03-01 10:00+02:00", "2024-03-02 11:30+02:00", None] * 9),
        pd.Series(["2024-03-01 10:00:00.250000", "1969-07-20 20:17:40.000000"] * 9),
        pd.Series(pd.Categorical(["b", "a", "c"] * 9, categories=["c", "b", "a", "unused"], ordered=True)),
        pd.Series([1, 20, 300, None, 5000, 60, 7, 8, 9, 11, 12, 13] * 3, dtype="Int64"),
        pd.Series([True, None, False] * 9, dtype="boolean"),
        pd.Series([True, None, False] * 9, dtype=object),
        pd.Series([3, 200, 77, 41, 15, 16, 17, 18, 19, 20, 21, 22] * 2, dtype="uint8"),
        pd.Series(np.linspace(0.1, 2, 40).astype("float32")),
        pd.Series(["007", "12", "007"] * 9),
    ],
    ids=lambda cells: str(cells.dtype),
)
def test_types_come_back(cells: pd.Series):
    frame = pd.DataFrame({"x": cells, "y": np.arange(len(cells)) * 0.5})
    schema = TableSchema.from_dict(json.loads(json.dumps(schema_of(frame).to_dict())))
    pd.testing.assert_frame_equal(schema.restore(schema.check(frame), len(frame)), frame, check_exact=True)


def test_instants_are_seconds_since_1970_in_utc():
    """2024-02-29 12:00 UTC is 1,709,208,000 s: 19,782 days and 12 hours."""
    frame = pd.DataFrame({"at": ["2024-02-29 14:00+02:00", "2024-02-29 15:00+02:00"] * 6, "y": np.arange(12) * 0.5})
    schema = schema_of(frame)
    assert schema.check(frame)["at"][:2].tolist() == [1_709_208_000.0, 1_709_211_600.0]
    assert (schema.column("at").stamp, schema.column("at").offset) == ("%Y-%m-%d %H:%M", "+02:00")


def test_dates_in_several_forms_are_told_and_written_in_one():
    frame = pd.DataFrame({"at": ["2024-02-29", "2024-03-01 06:30"] * 6, "y": np.arange(12) * 0.5})
    schema = schema_of(frame)
    (notice,) = schema.notices
    assert "'at' are written in several ways" in notice
    again = schema.restore(schema.check(frame), 12)
    assert again["at"].tolist() == ["2024-02-29 00:00:00", "2024-03-01 06:30:00"] * 6


def test_dictionary_is_plain_and_complete():
    schema = schema_of(mixed(), drop=["weight"])
    assert TableSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    ("frame", "options", "told"),
    [
        (pd.DataFrame(), {}, "no columns"),
        (pd.DataFrame({"x": []}), {}, "has 0 rows"),
        (pd.DataFrame({"x": [1.0]}), {}, "has 1 rows"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"]), {}, "more than one column called 'x'"),
        (pd.DataFrame([[1], [3]]), {}, "column 0 has no word"),
        (pd.DataFrame({"x": [1, 1], "y": ["a", "a"]}), {}, "nothing to learn"),
        (pd.DataFrame({"x": [None, None], "y": [1, 2]}), {}, r"column 'x' has no value.*--data\.drop x"),
        (pd.DataFrame({"x": ["a", "b", "c"]}), {}, r"'x' has another text in each row.*--data\.drop x.*categorical x"),
        (pd.DataFrame({"id": range(30)}), {}, r"'id' numbers the rows.*--data\.drop id"),
        (pd.DataFrame({"x": [1.0, np.inf, 2.0]}), {}, "row 1 has inf in column 'x'"),
        (pd.DataFrame({"x": ["1", "2", "2,5", "4"]}), {}, "row 2 has '2,5' in column 'x', where most cells are"),
        (pd.DataFrame({"x": ["2024-01-01", "2024-01-02", "soon"]}), {}, "row 2 has 'soon' in column 'x', which holds"),
        (pd.DataFrame({"x": ["2024-01-01 10:00Z", "2024-01-02 10:00+01:00"] * 3}), {}, "mixes dates of the offsets"),
        (pd.DataFrame({"x": [[1], [2]]}), {"categorical": ["x"]}, "values of type list"),
        (pd.DataFrame({"x": [1j, 2j]}), {}, "values of type complex"),
        (pd.DataFrame({"x": pd.to_timedelta([1, 2], unit="s")}), {}, "values of type Timedelta"),
        (mixed(), {"drop": ["colou"]}, "did you mean 'colour'"),
        (mixed(), {"categorical": ["sold"], "drop": ["sold"]}, "named by --data.categorical and --data.drop"),
        (mixed(), {"continuous": ["colour"]}, "holds no numbers"),
        (mixed(), {"ordinal": {"grade": ["low", "mid"]}}, "row 2 has 'high' in column 'grade'"),
        (mixed(), {"ordinal": {"grade": ["low", "low"]}}, "at least two values, each once"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(frame: pd.DataFrame, options: dict, told: str):
    with pytest.raises(InputError, match=told) as raised:
        schema_of(frame, **options)
    assert "\n" not in str(raised.value)


def changed(name: str, row: int, value) -> pd.DataFrame:
    frame = mixed().astype({name: object})
    frame.loc[row, name] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (changed("colour", 4, "green"), "row 4 has 'green' in column 'colour', which no training row has; known: blue"),
        (changed("price", 9, None), "row 9 has no value in column 'price', where every training row has one"),
        (changed("price", 9, "cheap"), "row 9 has 'cheap' in column 'price', which holds numbers"),
        (changed("price", 9, -np.inf), "row 9 has -inf in column 'price', infinite"),
        (changed("day", 3, "2024-01-01Z"), "row 3 has '2024-01-01Z'"),
        (changed("day", 3, "2024-01-01 10:00Z"), "row 3 has .* write dates without an offset"),
        (mixed().drop(columns="price"), "lacks the columns price"),
        (mixed().assign(extra=1), "has columns that the training table has not: extra"),
        (mixed().iloc[:0], "no rows"),
    ],
)
def test_rows_that_training_gives_no_meaning_are_refused_by_row(frame: pd.DataFrame, told: str):
    with pytest.raises(InputError, match=told) as raised:
        schema_of(mixed()).check(frame)
    assert "\n" not in str(raised.value)


def test_new_rows_may_be_in_another_order_and_type():
    schema = schema_of(mixed(), drop=["weight"])
    frame = mixed()
    again = frame.filter(list(reversed(frame.columns))).astype({"count": "float64", "rooms": "str", "sold": "str"})
    for name, cells in schema.check(again).items():
        np.testing.assert_array_equal(cells, schema.check(frame)[name])
    assert list(schema.check(frame.filter(["colour", "rooms"]), only=["rooms"])) == ["rooms"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_files_give_back_the_table(tmp_path: Path, ending: str):
    frame = mixed()
    path = tmp_path / f"table{ending}"
    write_frame(frame, path, schema_of(frame))
    again = read_frame(path).reset_index(drop=True)
    # Truths and whole numbers beside missing ones are told anew; what they are does not change.
    schema = schema_of(again)
    assert schema.names == list(frame.columns)
    assert [column.kind for column in schema.columns] == [column.kind for column in schema_of(frame).columns]
    for name, cells in schema.check(again).items():  # pandas reads text to the last digit but one
        np.testing.assert_allclose(cells, schema_of(frame).check(frame)[name], rtol=4e-16, atol=0)


def test_whole_numbers_are_written_without_a_point_beside_missing_ones(tmp_path: Path):
    frame = pd.DataFrame({"x": [None, *range(12)], "y": np.arange(13) / 4})
    lines = write_frame(frame, tmp_path / "out.csv", schema_of(frame)).read_text().splitlines()
    assert lines[:3] == ["x,y", ",0.0", "0,0.25"]


def test_rows_of_files_are_named_as_a_spreadsheet_has_them(tmp_path: Path):
    path = tmp_path / "new.csv"
    path.write_text("x,y\n1,a\n2,b\n\n3,c\n")
    schema = schema_of(pd.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "a"]}))
    with pytest.raises(InputError, match="row 5 has 'c' in column 'y'"):
        schema.check(read_frame(path))


def test_files_that_cannot_be_written_are_refused(tmp_path: Path):
    frame = mixed()
    with pytest.raises(InputError, match=r"end its name in \.csv"):
        write_frame(frame, tmp_path / "out.xlsx", schema_of(frame))
    with pytest.raises(InputError, match="no folder"):
        write_frame(frame, tmp_path / "nowhere" / "out.csv", schema_of(frame))
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="no rows"):
        read_frame(tmp_path / "empty.csv")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(InputError, match="more than one column called 'a'"):
        read_frame(tmp_path / "twice.csv")
