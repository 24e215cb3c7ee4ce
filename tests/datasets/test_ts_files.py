"""``.ts`` files made by hand, one for each feature of the format and each mistake."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.ts_files import read_ts, read_ts_pair

NAN = math.nan
HEADER = "@problemName Made\n@classLabel true a b\n"
STAMPED = HEADER + "@timeStamps true\n@data\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes, name: str = "Made.ts") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_one_channel(write):
    series = read_ts(write(HEADER + "@univariate true\n@data\n1,2.5,-3e-1:b\n4,5,6:a\n"))
    assert (series.name, series.channels, series.classes) == ("Made", ["channel_1"], ["a", "b"])
    assert [values.tolist() for values in series.values] == [[[1], [2.5], [np.float32(-0.3)]], [[4], [5], [6]]]
    assert [times.tolist() for times in series.times] == [[0, 1, 2], [0, 1, 2]]
    assert series.labels.tolist() == [1, 0]
    assert (series.ids, series.time_unit) == (["Made/1", "Made/2"], "step")
    assert (series.parts, series.groups, series.static, series.notices) == (None, None, None, [])


def test_channels_cases_of_unequal_length_and_missing_values(write):
    text = "@dimensions 2\n@data\n1,?,3:4,5,NaN:a\n7:8:b\n1,2,3:4:a\n:1,nan:b\n"
    series = read_ts(write(HEADER + text))
    expected = [[[1, 4], [NAN, 5], [3, NAN]], [[7, 8]], [[1, 4], [2, NAN], [3, NAN]], [[NAN, 1], [NAN, NAN]]]
    for found, values in zip(series.values, expected, strict=True):
        np.testing.assert_array_equal(found, np.array(values, dtype=np.float32))
    assert series.channels == ["channel_1", "channel_2"]


def test_stamps(write):
    series = read_ts(write(STAMPED + "(0,1),(0.5,2),(4,?):a\n(-1e18,3):b\n"))
    assert [times.tolist() for times in series.times] == [[0, 0.5, 4], [-1e18]]
    np.testing.assert_array_equal(series.values[0], np.array([[1], [2], [NAN]], np.float32))
    assert series.time_unit == ""


def test_channels_with_stamps_of_their_own_meet_on_the_union(write):
    series = read_ts(write(STAMPED + "(0,1), (2,2) : (1,3),(2,4):a\n:(7,1):b\n"))
    assert series.times[0].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(series.values[0], np.array([[1, NAN], [NAN, 3], [2, 4]], np.float32))
    np.testing.assert_array_equal(series.values[1], np.array([[NAN, 1]], np.float32))


def test_comments_blank_lines_case_and_windows_line_ends(write):
    header = "# about\n% about\n\n@PROBLEMNAME Two words\r\n@ClassLabel True a B\r\n@DATA\r\n"
    series = read_ts(write(header + "# between\r\n1:a\r\n\r\n2:B \r\n"))
    assert (series.name, series.classes, series.labels.tolist()) == ("Two words", ["a", "B"], [0, 1])


def test_latin_1_and_a_byte_order_mark(write):
    text = "# é\x85 still the comment\n@classLabel true é b\n@data\n1:é\n"  # 0x85 ends a line in Unicode alone
    assert read_ts(write(text.encode("latin-1"))).classes == ["é", "b"]
    assert read_ts(write("\ufeff@classLabel true é b\n@data\n1:é\n")).classes == ["é", "b"]


def test_packed_and_without_a_name(write):
    series = read_ts(write(gzip.compress(b"@classLabel true a b\n@data\n1:a\n"), "Wave.ts.gz"))
    assert (series.name, series.ids) == ("Wave", ["Wave/1"])
    with pytest.raises(InputError, match=r"bad.ts.gz cannot be unpacked .*: it is damaged"):
        read_ts(write(b"@data", "bad.ts.gz"))


def test_the_data_are_believed_where_the_header_contradicts_them(write):
    series = read_ts(write(HEADER + "@equalLength true\n@seriesLength 2\n@colour red\n@data\n1,2:a\n1,2,3:b\n"))
    assert [len(times) for times in series.times] == [2, 3]
    assert series.notices == [
        "Made.ts: line 5, @colour, has no meaning here",
        "Made.ts: @equalLength is true and lengths go from 2 to 3",
    ]
    (notice,) = read_ts(write(HEADER + "@seriesLength 3\n@data\n1,2:a\n")).notices
    assert notice == "Made.ts: @seriesLength is 3 and lengths go from 2 to 2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Made.ts is empty"),
        (" \n\n", "Made.ts is empty"),
        (HEADER, "has no line @data"),
        (HEADER + "@data\n# none\n", "holds no case after @data"),
        (HEADER + "1,2:a\n@data\n", "line 3 stands before @data"),
        (HEADER + "@data 1,2:a\n", "line 3 has more than @data"),
        ("@data\n1:a\n", "has no class labels"),
        ("@classLabel false\n@data\n1\n", "has no class labels"),
        ("@classLabel true\n@data\n1:a\n", "line 1 names the classes none: name at least two"),
        ("@classLabel true a\n@data\n1:a\n", "line 1 names the classes a: name at least two"),
        ("@classLabel true a b a\n@data\n1:a\n", "line 1 names the classes a b a: name at least two, each once"),
        ("@classLabel maybe a b\n@data\n1:a\n", "line 1 is '@classLabel maybe a b': write true or false"),
        ("@targetLabel true\n@data\n1:0.5\n", "has targets for regression"),
        (HEADER + "@missing no\n@data\n1:a\n", "line 3 is '@missing no': write true or false"),
        (HEADER + "@dimensions two\n@data\n1:a\n", "line 3 is '@dimensions two': write a whole number"),
        (HEADER + "@seriesLength 0\n@data\n1:a\n", "line 3 is '@seriesLength 0': write a whole number"),
        (HEADER + "@data\n1:a\n1:A\n", "line 5: unknown class 'A': did you mean 'a'.*Correct it, or add it"),
        (HEADER + "@data\n1,2:\n", "line 4: unknown class ''"),
        (HEADER + "@data\n1,2,3\n", "line 4 has 0 channels and a class, where 1 channels"),
        (HEADER + "@data\n1:1:a\n1:a\n", "line 5 has 1 channels and a class, where 2 channels"),
        (HEADER + "@univariate true\n@data\n1:1:a\n", "line 5 has 2 channels and a class, where 1 channels"),
        (HEADER + "@dimensions 3\n@univariate true\n@data\n1:1:a\n", "line 6 has 2 .* where 3 channels"),
        (HEADER + "@data\n1,zwei:a\n", "line 4 has 'zwei', which is no number: write '\\?' for a missing value"),
        (HEADER + "@data\n1,,2:a\n", "line 4 has '', which is no number"),
        (HEADER + "@data\n1,?5:a\n", "line 4 has '\\?5', which is no number"),
        (HEADER + "@data\n1,-inf:a\n", "line 4 has -inf, infinite or beyond single precision"),
        (HEADER + "@data\n1,1e39:a\n", r"line 4 has 1e\+39, infinite or beyond single precision"),
        (HEADER + "@data\n:a\n", "line 4 holds no value"),
        (STAMPED + ":a\n", "line 5 holds no value"),
        (STAMPED + "1,2:a\n", r"line 5 has '1,2': write each value as \(stamp,value\)"),
        (STAMPED + "(1,2,3),(4):a\n", r"line 5 has '\(1,2,3\),\(4\)': write each value as"),
        (STAMPED + "(1,2)(3,4):a\n", "line 5 has .*: write each value as"),
        (STAMPED + "(2007-01-01 00:00:00,2):a\n", "line 5 has '2007-01-01 00:00:00', .*: stamps must be numbers, not"),
        (STAMPED + "(?,2):a\n", "line 5 has '\\?', which is no number: stamps"),
        (STAMPED + "(1,x):a\n", "line 5 has 'x', which is no number: write '\\?'"),
        (STAMPED + "(1,2),(1,3):a\n", "line 5 has stamps in a channel that do not increase"),
        (STAMPED + "(inf,2):a\n", "line 5 has stamps in a channel that do not increase"),
    ],
)
def test_mistakes_are_told_in_one_line(write, text: str, message: str):
    path = write(text)
    with pytest.raises(InputError, match=message) as told:
        read_ts(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_that_is_none(tmp_path: Path):
    with pytest.raises(InputError, match=r"no file .*gone.ts"):
        read_ts(tmp_path / "gone.ts")
    with pytest.raises(InputError, match=r"is a folder: name a \.ts file in it"):
        read_ts(tmp_path)


TRAIN = HEADER + "@data\n1,2:a\n3:b\n"
TEST = "@classLabel true b a\n@data\n5:b\n6:a\n7:b\n"


@pytest.fixture
def pair(write) -> Path:
    """A folder with one pair of files, which list their classes in different order."""
    write(TRAIN, "Made/Made_TRAIN.ts")
    return write(TEST, "Made/Made_TEST.ts").parent


@pytest.mark.parametrize("name", ["", "Made", "Made_TRAIN.ts", "Made_TEST.ts"])
def test_a_pair_by_either_file_by_prefix_or_by_folder(pair: Path, name: str):
    series = read_ts_pair(pair / name)
    assert series.parts == ["train"] * 2 + ["test"] * 3
    assert series.classes == ["a", "b"]
    assert series.labels.tolist() == [0, 1, 1, 0, 1]
    assert [values[0, 0] for values in series.values] == [1, 3, 5, 6, 7]
    assert series.ids == ["Made_TRAIN/1", "Made_TRAIN/2", "Made_TEST/1", "Made_TEST/2", "Made_TEST/3"]


def test_of_several_pairs_the_folder_names_one(pair: Path, write):
    write(TRAIN, "Made/Other_TRAIN.ts")
    write(gzip.compress(TEST.encode()), "Made/Other_TEST.ts.gz")
    assert read_ts_pair(pair).ids[0] == "Made_TRAIN/1"
    assert read_ts_pair(pair / "Other").ids[-1] == "Other_TEST/3"
    moved = pair.rename(pair.with_name("Elsewhere"))
    with pytest.raises(InputError, match="holds the pairs Made, Other: name the file"):
        read_ts_pair(moved)


def test_a_class_without_series_is_a_notice(write):
    header = "@classLabel true a b c\n@data\n"
    write(header + "1:a\n2:b\n", "X_TRAIN.ts")
    series = read_ts_pair(write(header + "1:a\n", "X_TEST.ts"))
    assert series.notices == ["X_TRAIN.ts: class 'c' is in the header and has no series"]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("@classLabel true a b\n@data\n1:1:a\n", "X_TRAIN.ts and X_TEST.ts have 1 and 2 channels"),
        ("@classLabel true a c\n@data\n1:a\n", "differ in the classes b, c"),
        ("@classLabel true a b\n@timeStamps true\n@data\n(1,1):a\n", "differ in @timeStamps"),
        ("@classLabel true a b\n@data\n1:a\n1:b\n", "X_TEST.ts has series of class 'b', of which X_TRAIN.ts has none"),
    ],
)
def test_a_pair_that_does_not_fit(write, test: str, message: str):
    write(HEADER + "@data\n1:a\n", "X_TRAIN.ts")
    with pytest.raises(InputError, match=message):
        read_ts_pair(write(test, "X_TEST.ts"))


def test_half_a_pair(write, tmp_path: Path):
    path = write(TRAIN, "X_TRAIN.ts")
    for given in (path, tmp_path, tmp_path / "X"):
        with pytest.raises(InputError, match=r"no file .*X_TEST.ts: an official split needs"):
            read_ts_pair(given)
    with pytest.raises(InputError, match="is not one file of a pair"):
        read_ts_pair(write(TRAIN, "Whole.ts"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no file \*_TRAIN.ts"):
        read_ts_pair(tmp_path / "empty")
