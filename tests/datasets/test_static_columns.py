"""Static columns: features of a series that every row of it repeats."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from integrand.core.errors import InputError
from integrand.datasets.static_columns import columns_of, columns_of_words, read_static
from integrand.datasets.tables import Table, read_table

NAN = np.nan
WIDE = """patient,time,age,sex,hr
10,0,71.5,m,80
10,1,71.5,m,82
9,0,60,f,70
9,2,,f,71
11,0,,,65
"""
LONG = """patient,time,variable,value,age,sex
10,0,hr,80,71.5,m
10,1,hr,82,71.5,m
9,0,hr,70,60,f
9,2,hr,71,,f
11,0,hr,65,,
"""


def read(folder: Path, text: str, *static: str, **options) -> Table:
    path = folder / "table.csv"
    path.write_text(text)
    return read_table(path, static_columns=static, **options)


@pytest.mark.parametrize("text", [WIDE, LONG], ids=["wide", "long"])
def test_numbers_stay_and_words_become_a_column_each(tmp_path: Path, text: str):
    table = read(tmp_path, text, "age", "sex")
    assert [series.group for series in table.series] == ["9", "10", "11"]
    assert table.static_names == ("age", "sex=f", "sex=m")
    assert table.static is not None
    assert table.static.dtype == np.float32
    np.testing.assert_array_equal(table.static, [[60, 1, 0], [71.5, 0, 1], [NAN, NAN, NAN]])
    assert table.channels == ["hr"]
    assert table.series[1].values.ravel().tolist() == [80, 82]
    assert not any("sex" in notice or "age" in notice for notice in table.notices)


def test_order_is_that_asked_for_and_the_default_is_none(tmp_path: Path):
    assert read(tmp_path, WIDE, "sex", "age").static_names == ("sex=f", "sex=m", "age")
    plain = read(tmp_path, WIDE)
    assert (plain.static, plain.static_names, plain.channels) == (None, (), ["age", "hr"])


def test_truth_values_and_a_file_of_one_series(tmp_path: Path):
    table = read(tmp_path, "time,x,smokes,clinic\n0,1,True,B\n1,2,True,B\n", "smokes", "clinic")
    assert table.static_names == ("smokes", "clinic=B")
    assert table.static is not None
    np.testing.assert_array_equal(table.static, [[1, 1]])


def test_the_features_of_a_model_say_what_columns_hold():
    """In another file, which has not all the words and numbers that look like one."""
    cells = {
        "sex": pd.Series(["m", "m", None, "-"], index=[2, 3, 4, 5]),
        "age": pd.Series([71.5, NAN, 60, 60], index=[2, 3, 4, 5]),
        "ward": pd.Series(["1", "1", "2", "2"], index=[2, 3, 4, 5]),
    }
    features = ["age", "sex=f", "sex=m", "ward=2", "ward=1"]
    assert columns_of(features, cells) == ["age", "sex", "ward"]
    assert columns_of_words(features) == {"sex", "ward"}
    told = read_static(cells, ["a", "b"], np.array([0, 0, 1, 1]), features)
    assert told.names == features
    np.testing.assert_array_equal(told.values, [[71.5, 0, 1, 0, 1], [60, NAN, NAN, 1, 0]])
    with pytest.raises(InputError, match=r"^row 2 has 'm' in static column 'sex', where the model knows 'f', 'x':"):
        read_static(cells, ["a", "b"], np.array([0, 0, 1, 1]), ["sex=f", "sex=x"])
    with pytest.raises(InputError, match=r"lacks columns of the static features hight, sx=f: did you mean .*'height'"):
        columns_of(["hight", "sx=f", "sex=f"], ["height", "sex"])


def test_a_feature_whose_name_holds_the_sign_of_equality():
    cells = {"a=b": pd.Series([1.5]), "c=d": pd.Series(["e=f"])}
    assert columns_of(["a=b", "c=d=e=f"], cells) == ["a=b", "c=d"]
    told = read_static(cells, ["all"], np.zeros(1, dtype=int))
    assert told.names == ["a=b", "c=d=e=f"]
    np.testing.assert_array_equal(read_static(cells, ["all"], np.zeros(1, dtype=int), told.names).values, told.values)


def test_a_column_named_like_a_group_may_be_static(tmp_path: Path):
    table = read(tmp_path, "who,time,station,x\na,0,N,1\na,1,N,2\nb,0,S,3\n", "station", group_column="who")
    assert table.static_names == ("station=N", "station=S")
    assert [series.group for series in table.series] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "static", "options", "words"),
    [
        (WIDE.replace("10,1,71.5", "10,1,72"), ["age"], {}, ["series '10'", "71.5", "row 3", " 72 ", "column 'age'"]),
        (WIDE.replace("9,2,,f", "9,2,,m"), ["sex"], {}, ["series '9'", "'f'", "row 5", "'m'", "column 'sex'"]),
        (WIDE, ["hr"], {}, ["series '10' has both 80 and, in row 3, 82 in", "leave it a channel"]),
        (WIDE.replace("9,2,,f", "9,2,old,f"), ["age"], {}, ["row 5", "'old'", "'age'"]),
        (WIDE.replace("9,2,,f", "9,2,inf,f"), ["age"], {}, ["row 5", "'inf'", "'age'"]),
        (WIDE, ["aeg"], {}, ["unknown static column 'aeg': did you mean 'age'"]),
        (WIDE, ["patient"], {"group_column": "patient"}, ["'patient' is static and has another role"]),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, static: list[str], options, words: list[str]):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, *static, **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
