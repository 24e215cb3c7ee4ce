"""Samples hold together, are taken by row, and two that differ have two checksums."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from integrand.core.errors import InputError
from integrand.datasets.samples import Samples


def images() -> Samples:
    grey = np.random.default_rng(0).integers(0, 17, (6, 1, 4, 5)).astype(np.uint8)
    labels = np.array([0, 1, 1, 0, 2, 1])
    return Samples("six", "image", grey, labels, ("a", "b", "c"), levels=17, test=np.array([1, 4]))


def test_rows_are_taken_in_their_order():
    """What is held out stays held out, under its new number."""
    six = images()
    some = six.at([4, 0, 1])
    np.testing.assert_array_equal(some.values, six.values[[4, 0, 1]])
    assert some.labels is not None
    assert some.test is not None
    assert (len(some), some.labels.tolist(), some.test.tolist()) == (3, [2, 0, 1], [0, 2])
    none = six.at(np.array([0, 2]))
    assert none.test is not None
    assert (len(none.test), none.test.dtype) == (0, np.int64)
    assert six.at([3, 3]).classes == six.classes


@pytest.mark.parametrize(
    ("kind", "shape", "channels"),
    [
        ("points", (3, 2), ("x", "y")),
        ("points", (3, 5), tuple(f"channel_{i}" for i in range(5))),
        ("series", (3, 1, 9), ("channel_0",)),
        ("image", (3, 4, 2, 2), tuple(f"channel_{i}" for i in range(4))),
        ("image", (3, 3, 2, 2), ("red", "green", "blue")),
    ],
)
def test_channels_are_named(kind: Any, shape: tuple[int, ...], channels: tuple[str, ...]):
    assert Samples("real", kind, np.zeros(shape, np.float32)).channels == channels


def test_the_checksum_tells_all_that_counts_apart():
    six = images()
    assert six.labels is not None
    brighter = six.values.copy()
    brighter[0, 0, 0, 0] = (int(brighter[0, 0, 0, 0]) + 1) % 17
    others = [
        six,
        replace(six, name="seven"),
        replace(six, values=brighter),
        replace(six, labels=six.labels[::-1].copy()),
        replace(six, classes=("a", "b", "d")),
        replace(six, levels=256),
        replace(six, channels=("ink",)),
        replace(six, test=None),
        replace(six, labels=None, classes=()),
        replace(six, values=six.values.reshape(6, 1, 5, 4)),
    ]
    sums = [other.checksum for other in others]
    assert len(set(sums)) == len(others)
    assert all(len(each) == 16 for each in sums)
    assert replace(six, notices=["told"]).checksum == six.checksum
    assert images().checksum == copy.deepcopy(six).checksum == pickle.loads(pickle.dumps(six)).checksum
    strided = replace(six, values=np.asfortranarray(six.values))
    assert strided.checksum == six.checksum


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "picture"}, "unknown kind of samples 'picture'"),
        ({"kind": "series"}, r"shape \(6, 1, 4, 5\): samples of kind series are \(N, C, L\)"),
        ({"values": np.zeros((0, 1, 4, 5), np.uint8)}, r"shape \(0, 1, 4, 5\).*none of them 0"),
        ({"values": np.zeros((6, 1, 4, 5))}, "are float64: images with levels are uint8"),
        ({"levels": None}, "are uint8: images with levels are uint8, all else is float32"),
        ({"levels": 300}, "levels=300: images alone have 2 to 256"),
        ({"levels": 9}, "hold the grey value 16, where levels=9 has 0 to 8"),
        ({"channels": ("a", "b")}, r"are \('a', 'b'\), where the values have 1"),
        ({"labels": np.zeros(6)}, r"must be \(6,\) int64, got \(6,\) float64"),
        ({"labels": np.zeros(5, np.int64)}, r"must be \(6,\) int64, got \(5,\)"),
        (
            {"labels": np.array([0, 0, 3, 0, 0, 0])},
            "sample 2 of 'six' has label 3, where 3 classes .* 0 to 2",
        ),
        ({"labels": None}, "classes .* and no labels: give both"),
        ({"classes": ()}, "name each class of the labels once"),
        ({"classes": ("a", "b", "a")}, "name each class of the labels once"),
        ({"test": np.array([0, 6])}, "must be rows from 0 to 5, each once"),
        ({"test": np.array([2, 2])}, "must be rows from 0 to 5, each once"),
        ({"test": np.zeros(6, bool)}, r"must be \(n,\) int64, got \(6,\) bool"),
        ({"log_density": len}, "of kind image have a log_density"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words) as raised:
        replace(images(), **changes)
    assert "\n" not in str(raised.value)


def test_points_are_finite_and_have_no_levels():
    values = np.zeros((3, 2), np.float32)
    values[1, 0] = np.inf
    with pytest.raises(InputError, match="sample 1 of 'p' holds a value that is not finite"):
        Samples("p", "points", values)
    with pytest.raises(InputError, match="of kind points have levels=256"):
        Samples("p", "points", np.zeros((3, 2), np.uint8), levels=256)
