"""Classes of series in a user's own table."""

from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.labelled_tables import read_labelled_table

WIDE = "id,time,x,y,label\n2,0,1.5,,N\n2,1,2.5,7,N\n10,0,0.5,1,V\n10,3,,2,V\n"
LONG = "id;time;variable;value;label\n2;0;x;1.5;N\n2;1;x;2.5;N\n2;1;y;7;N\n10;0;x;0.5;V\n10;0;y;1;V\n10;3;y;2;V\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "series.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [WIDE, LONG], ids=["wide", "long"])
def test_both_forms(text: str, tmp_path: Path):
    series = read_labelled_table(write(tmp_path, text), label_column="label")
    assert (series.ids, series.channels, series.classes) == (["2", "10"], ["x", "y"], ["N", "V"])
    assert series.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(series.values[0], np.array([[1.5, np.nan], [2.5, 7]], dtype=np.float32))
    np.testing.assert_array_equal(series.times[1], [0, 3])
    assert series.parts is None
    assert not any("label" in told for told in series.notices)


def test_classes_that_are_numbers_are_no_channel_and_sort_as_numbers(tmp_path: Path):
    rows = "".join(f"s{n},{t},{n + t},{n}\n" for n in (10, 9, 2) for t in (0, 1))
    series = read_labelled_table(write(tmp_path, f"id,time,x,stage\n{rows}"), label_column="stage")
    assert series.classes == ["2", "9", "10"]
    assert series.channels == ["x"]
    assert {name: series.classes[label] for name, label in zip(series.ids, series.labels, strict=True)} == {
        "s2": "2",
        "s9": "9",
        "s10": "10",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WIDE.replace("10,3,,2,V", "10,3,,2,N"), "row 5 says class 'N' of series '10', rows before it 'V'"),
        (WIDE.replace("10,3,,2,V", "10,3,,2,"), "row 5 has no class in column 'label'"),
        (WIDE.replace("label", "lable"), "unknown label column 'label': did you mean 'lable'"),
        (WIDE.replace("id,", "who,").replace("N", "V"), "name the column of the series: --group-column"),
        ("id,time,label\na,0,1\nb,0,2\n", "no channel beside the classes in 'label'"),
    ],
)
def test_bad_input_is_one_line(text: str, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        read_labelled_table(write(tmp_path, text), label_column="label")
    assert "\n" not in str(caught.value)
