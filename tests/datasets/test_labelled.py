"""Labelled series: what does not fit together is refused, batches keep the contract, statistics are of these rows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from integrand.core.errors import InputError
from integrand.datasets.labelled import LabelledSeries, static_statistics, statistics, to_batch

NAN = math.nan
EPOCH = 1.7e18  # nanoseconds since 1970, in 2023


def made(**changes: Any) -> LabelledSeries:
    """Three series of two channels, the last without a stamp; channel ``b`` is constant where it is observed."""
    given: dict[str, Any] = {
        "name": "made",
        "channels": ["a", "b"],
        "classes": ["up", "down", "level"],
        "times": [np.array([5.0, 6.0, 8.0]), np.array([-1.0]), np.array([])],
        "values": [
            np.array([[1, 7], [3, NAN], [5, 7]], dtype=np.float32),
            np.array([[NAN, 7]], dtype=np.float32),
            np.empty((0, 2), dtype=np.float32),
        ],
        "labels": np.array([2, 0, 1]),
        "ids": ["one", "two", "three"],
        "groups": ["p", "p", "q"],
        "static": np.array([[1, 10], [3, NAN], [8, 30]], dtype=np.float32),
        "static_names": ["age", "mass"],
        "time_unit": "h",
    }
    return LabelledSeries(**given | changes)


def batch_of(series: LabelledSeries, rows: list[int], **changes: Any):
    given = {"location": np.array([3.0, 7.0]), "scale": np.array([2.0, 1.0])}
    given |= {"static_location": np.array([2.0, 20.0]), "static_scale": np.array([1.0, 10.0])}
    return to_batch(series, rows, **given | changes).check()


def test_a_batch_by_hand():
    batch = batch_of(made(), [1, 0])
    assert batch.values.tolist() == [[[0, 0], [0, 0], [0, 0]], [[-1, 0], [0, 0], [1, 0]]]
    expected = [[[False, True], [False] * 2, [False] * 2], [[True, True], [True, False], [True, True]]]
    assert batch.mask.tolist() == expected
    assert batch.times.tolist() == [[0, 0, 0], [0, 1, 3]]
    assert batch.lengths.tolist() == [1, 3]
    assert batch.static is not None
    assert batch.static.tolist() == [[1, 0], [-1, -1]]
    assert batch.target is not None
    assert batch.target.tolist() == [0, 2]
    assert (batch.sample_id, batch.group, batch.meta) == (["two", "one"], ["p", "p"], {"time_unit": "h"})
    dtypes = (batch.values.dtype, batch.times.dtype, batch.static.dtype, batch.target.dtype, batch.lengths.dtype)
    assert dtypes == (torch.float32, torch.float32, torch.float32, torch.int64, torch.int64)


@pytest.mark.parametrize("rows", [[2], [2, 0], [], [0, 0]])
def test_a_series_without_stamps_or_no_series_at_all(rows: list[int]):
    batch = batch_of(made(), rows)
    assert len(batch) == len(rows)
    assert batch.lengths.tolist() == [[3, 1, 0][row] for row in rows]


def test_padding_repeats_the_last_time():
    longer = np.arange(4.0)
    values = [np.zeros((3, 2), np.float32), np.zeros((1, 2), np.float32), np.zeros((4, 2), np.float32)]
    series = made(times=[np.array([5.0, 6.0, 8.0]), np.array([-1.0]), longer], values=values)
    assert batch_of(series, [0, 2]).times.tolist() == [[0, 1, 3, 3], [0, 1, 2, 3]]


def test_stamps_too_large_for_single_precision_keep_their_steps():
    """Nanoseconds since 1970, 1024 apart: in single precision 1.7e18 has a spacing of 1.4e11."""
    stamps = EPOCH + 1024.0 * np.arange(3)
    assert batch_of(made(times=[stamps, np.array([0.0]), np.array([])]), [0]).times.tolist() == [[0, 1024, 2048]]


def test_without_groups_and_static_features():
    batch = to_batch(made(groups=None, static=None, static_names=[]), [0], location=np.zeros(2), scale=np.ones(2))
    assert batch.static is None
    assert batch.group == []


def test_static_features_need_their_statistics():
    with pytest.raises(InputError, match="have static features: give their static_location and static_scale"):
        batch_of(made(), [0], static_scale=None)
    with pytest.raises(InputError, match="have no static features"):
        static_statistics(made(static=None, static_names=[]), [0])


def test_statistics_by_hand():
    location, scale = statistics(made(), [0, 1, 2])
    assert location.tolist() == [3, 7]
    assert scale.tolist() == [pytest.approx(math.sqrt(8 / 3), rel=1e-15), 1]  # b is constant
    location, scale = static_statistics(made(), [0, 2])
    assert location.tolist() == [4.5, 20]
    assert scale.tolist() == [3.5, 10]


def test_statistics_are_of_the_rows_alone():
    series = made()
    spoilt = replace(series, values=[series.values[0], np.full((1, 2), 1e6, np.float32), series.values[2]])
    assert statistics(spoilt, [0, 2]).location.tolist() == statistics(series, [0, 2]).location.tolist()


def test_too_few_values_for_statistics():
    with pytest.raises(InputError, match="channel 'a' has 0 observed values in training, too few"):
        statistics(made(), [1])
    with pytest.raises(InputError, match="static feature 'mass' has 1 observed values in training"):
        static_statistics(made(), [0, 1])


def test_at_takes_all_that_belongs_to_a_series():
    some = made(parts=["train", "test", "test"]).at([2, 0])
    assert (len(some), some.ids, some.groups, some.parts) == (2, ["three", "one"], ["q", "p"], ["test", "train"])
    assert some.labels.tolist() == [1, 2]
    assert [len(times) for times in some.times] == [len(values) for values in some.values] == [0, 3]
    assert some.static is not None
    assert some.static.tolist() == [[8, 30], [1, 10]]
    assert some.classes == ["up", "down", "level"]
    assert len(made().at(np.array([], dtype=np.int64))) == 0


def test_the_checksum_depends_on_all_content():
    series = made(parts=["train"] * 3)
    values, static = series.values, series.static
    assert static is not None
    other = values[0].copy()
    other[1, 1] = 0
    flipped = values[0].copy()
    flipped[0, 0] = np.nextafter(np.float32(1), np.float32(2))
    changes: list[dict[str, Any]] = [
        {"name": "other"},
        {"channels": ["a", "c"]},
        {"classes": ["up", "level", "down"]},
        {"times": [np.array([5.0, 6.0, 8.5]), *series.times[1:]]},
        {"values": [other, *values[1:]]},
        {"values": [flipped, *values[1:]]},
        {"labels": np.array([2, 0, 0])},
        {"ids": ["one", "two", "four"]},
        {"parts": ["train", "train", "test"]},
        {"parts": None},
        {"groups": ["p", "q", "q"]},
        {"groups": None},
        {"static": np.nan_to_num(static)},
        {"static": None, "static_names": []},
        {"static_names": ["age", "height"]},
        {"time_unit": "d"},
        # The same stamps and values in one row, divided otherwise among the series.
        {
            "times": [np.array([5.0, 6.0]), np.array([8.0]), np.array([-1.0])],
            "values": np.split(np.concatenate(values), [2, 3]),
        },
    ]
    sums = {series.checksum, *(replace(series, **change).checksum for change in changes)}
    assert len(sums) == len(changes) + 1
    assert all(len(sum_) == 16 and set(sum_) <= set("0123456789abcdef") for sum_ in sums)
    assert replace(series, notices=["read"]).checksum == series.checksum


def test_every_nan_is_the_same():
    series = made()
    other = series.values[0].copy()
    other.view(np.uint32)[1, 1] = 0x7FC00123
    assert math.isnan(other[1, 1])
    assert replace(series, values=[other, *series.values[1:]]).checksum == series.checksum


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": []}, "have no channel"),
        ({"classes": ["up"]}, "give at least two"),
        ({"channels": ["a", "a"]}, "channel 'a' .* is there twice"),
        ({"classes": ["up", "down", "up"]}, "class 'up' .* is there twice"),
        ({"ids": ["one", "two", "one"]}, "id 'one' .* is there twice"),
        ({"labels": np.array([0, 1])}, "3 ids but 2 labels"),
        ({"times": [np.array([0.0])]}, "3 ids but 1 times"),
        ({"parts": ["train"]}, "3 ids but 1 parts"),
        ({"groups": ["p"] * 4}, "3 ids but 4 groups"),
        ({"parts": ["train", "test", "tests"]}, "unknown part 'tests': did you mean 'test'"),
        ({"static_names": ["age"]}, r"static must have shape \(3, 1\)"),
        ({"static": np.full((3, 2), np.inf, np.float32)}, "static holds an infinite value"),
        ({"labels": np.array([0, 1, 3])}, "'three' has label 3, where 3 classes are numbered 0 to 2"),
        ({"labels": np.array([0, -1, 1])}, "'two' has label -1"),
        ({"labels": np.array([0.0, 1.0, 1.0])}, r"labels must be \(N,\) int64"),
        ({"times": [np.array([5.0, 6.0]), np.array([0.0]), np.array([])]}, "'one' has values of shape"),
        ({"times": [np.array([5.0, 5.0, 6.0]), np.array([0.0]), np.array([])]}, "'one' has times .* increasing"),
        ({"times": [np.array([5.0, 6.0, NAN]), np.array([0.0]), np.array([])]}, "'one' has times that are not finite"),
        ({"times": [np.arange(3), np.array([0.0]), np.array([])]}, "'one' must have times in float64"),
        (
            {"values": [np.full((3, 2), np.inf, np.float32), np.zeros((1, 2), "f4"), np.zeros((0, 2), "f4")]},
            "'one' holds an infinite value",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        made(**changes)
