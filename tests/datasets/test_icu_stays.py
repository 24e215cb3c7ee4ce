"""Stays in hours since admission: cut, binned, with impossible values handled, each patient once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.icu_stays import as_stays, binned, known_by, require_one_patient_each
from integrand.datasets.labelled import LabelledSeries
from integrand.datasets.labelled_tables import read_labelled_table
from integrand.datasets.physiological_ranges import POLICIES, RANGES, within_ranges


def stays(times: list[list[float]], values: list[list[float]], *, unit: str = "1", groups=None) -> LabelledSeries:
    """Return stays of one channel, pH."""
    return LabelledSeries(
        "stays",
        ["pH"],
        ["lived", "died"],
        [np.array(one, dtype=np.float64) for one in times],
        [np.array(one, dtype=np.float32)[:, None] for one in values],
        np.arange(len(times)) % 2,
        [str(7 + number) for number in range(len(times))],
        groups=groups,
        time_unit=unit,
    )


@pytest.mark.parametrize(("policy", "found"), [("missing", np.nan), ("clip", 8.0), ("keep", 735.0)])
def test_each_policy_does_what_it_says_and_counts(policy: str, found: float):
    made = as_stays(stays([[0, 1]], [[7.25, 735]]), outside=policy)
    np.testing.assert_array_equal(made.values[0].ravel(), np.array([7.25, found], dtype=np.float32))
    assert [told for told in made.notices if told.startswith("1 impossible values")]


def test_ranges_hold_what_is_possible_whatever_the_case_and_leave_their_input_alone():
    values = np.array([[300.0, 20.0, 1e9]])
    found, beyond = within_ranges(values, ["hr", "TEMP", "unheard of"])
    np.testing.assert_array_equal(found, [[300.0, np.nan, 1e9]])
    assert beyond == {"TEMP": 1}
    assert values[0, 1] == 20
    assert all(bounds.low < bounds.high and bounds.unit for bounds in RANGES.values())
    with pytest.raises(InputError, match="did you mean 'missing'"):
        within_ranges(values, ["hr", "t", "u"], outside="mising")
    assert POLICIES == ("missing", "clip", "keep")


def test_plain_numbers_are_hours_and_dates_begin_with_the_stay(tmp_path: Path):
    path = tmp_path / "stays.csv"
    rows = (
        "7,2024-01-01 06:00,7.3,no\n7,2024-01-01 07:30,7.2,no\n8,2024-03-01 00:00,7.1,yes\n8,2024-03-02 00:00,7,yes\n"
    )
    path.write_text("id,time,pH,died\n" + rows)
    dated = as_stays(read_labelled_table(path, label_column="died"))
    assert [times.tolist() for times in dated.times] == [[0, 1.5], [0, 24]]
    assert any("taken for its admission" in told for told in dated.notices)
    numbered = as_stays(stays([[3, 5]], [[7, 7]]))
    assert numbered.times[0].tolist() == [3, 5]


def test_a_time_before_admission_is_refused_by_the_name_of_the_stay():
    with pytest.raises(InputError, match=r"stay 7 has a row 2 h before its admission.*leave earlier rows out"):
        as_stays(stays([[-2, 1]], [[7, 7]]))


def test_what_comes_after_the_cutoff_is_dropped_and_counted():
    series = stays([[0, 4, 4.01], [30, 31, 32]], [[7.1, 7.2, 7.3], [7, 7, 7]])
    known = known_by(series, 4.0)
    assert known.times[0].tolist() == [0, 4]
    assert known.times[1].tolist() == [0]
    assert np.isnan(known.values[1]).all()
    assert known.notices == [
        "4 rows after hour 4 of their stay are left out",
        "1 stays have no value by hour 4: what is known at admission is all",
    ]
    with pytest.raises(InputError, match="must be positive"):
        known_by(series, 0)


def test_bins_are_open_on_the_left_so_that_those_up_to_an_hour_are_known_by_it():
    rng = np.random.default_rng(0)
    times = np.sort(rng.choice(np.arange(0, 481), 60, replace=False)) / 10
    values = rng.uniform(6.9, 7.6, 60)
    whole = binned(stays([times.tolist()], [values.tolist()]), 1.0, 48.0)
    assert len(whole.times[0]) == 48
    for hour in (1, 13, 48):
        early = binned(known_by(stays([times.tolist()], [values.tolist()]), hour), 1.0, 48.0)
        np.testing.assert_array_equal(early.values[0][:hour], whole.values[0][:hour])
        assert np.isnan(early.values[0][hour:]).all()
    own = (times > 12) & (times <= 13)
    expected = values[own].astype(np.float32).mean() if own.any() else np.nan
    np.testing.assert_allclose(whole.values[0][12, 0], expected, rtol=1e-6)


def test_one_record_under_two_patients_is_refused_and_two_of_one_patient_are_not():
    twice = stays([[0, 1], [0, 2], [0, 1]], [[7.1, 7.2], [7.1, 7.2], [7.1, 7.2]])
    with pytest.raises(InputError, match="stays 7 and 9 are one record under the names of two patients"):
        require_one_patient_each(twice)
    require_one_patient_each(replace(twice, groups=["a", "b", "a"]))
    require_one_patient_each(stays([[0], [0]], [[np.nan], [np.nan]]))  # nothing observed is no record


def test_a_table_tells_what_is_known_at_admission_and_whose_a_stay_is(tmp_path: Path):
    path = tmp_path / "stays.csv"
    rows = "1,0,7.1,no,61,f,p1\n1,1,7.2,no,61,f,p1\n2,0,7.3,yes,70,m,p1\n2,1,7.4,yes,,m,p1\n"
    path.write_text("id,time,pH,died,age,sex,person\n" + rows)
    series = read_labelled_table(path, label_column="died", split_column="person", static_columns=("age", "sex"))
    assert series.groups == ["p1", "p1"]
    assert series.channels == ["pH"]
    assert series.static is not None
    assert dict(zip(series.static_names, series.static.T.tolist(), strict=True)) == {
        "age": [61, 70],
        "sex=f": [1, 0],
        "sex=m": [0, 1],
    }
    assert not any("person" in told or "died" in told for told in series.notices)
    path.write_text("id,time,pH,died,person\n1,0,7,no,p1\n1,1,7,no,p2\n2,0,7,yes,p3\n")
    with pytest.raises(InputError, match="row 3 says person 'p2' of series '1'"):
        read_labelled_table(path, label_column="died", split_column="person")
    with pytest.raises(InputError, match="unknown split column 'persn': did you mean 'person'"):
        read_labelled_table(path, label_column="died", split_column="persn")
