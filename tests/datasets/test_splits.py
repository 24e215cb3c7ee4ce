"""Chronological splits: the parts tile the time, the hash tells two splits apart."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS, ChronologicalSplit, chronological

numbers = st.floats(-1e6, 1e6, allow_nan=False)
shares = st.floats(0.05, 0.45)


@given(start=numbers, length=st.floats(1e-3, 1e6), first=shares, second=shares)
def test_the_parts_tile_the_time(start: float, length: float, first: float, second: float):
    end = start + length
    assume(end > start)
    split = chronological(start, end, (first, second, 1 - first - second), {})
    spans = [split.span(part) for part in PARTS]
    assert spans[0][0] == start
    assert all(low < high for low, high in spans)
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert spans[2][0] <= end < spans[2][1]  # the last stamp is in the test part
    assert spans[2][1] == math.nextafter(end, math.inf)  # and nothing after it
    rounding = 4 * math.ulp(max(abs(start), abs(end)))
    for (low, high), share in zip(spans, (first, second, 1 - first - second), strict=True):
        assert abs((high - low) - share * (end - start)) <= rounding


@pytest.mark.parametrize(
    "fractions",
    [(0.5, 0.5, 0.0), (0.5, 0.6, -0.1), (0.5, 0.3, 0.3), (0.5, 0.5), (math.nan, 0.5, 0.5), (0.9, 0.1, math.nan)],
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(InputError):
        chronological(0, 100, fractions, {})


@pytest.mark.parametrize("bounds", [(0, 0, 1, 2), (0, 2, 1, 3), (0, 1, 2, 2), (0, math.nan, 1, 2)])
def test_parts_must_follow_one_another(bounds: tuple[float, float, float, float]):
    with pytest.raises(InputError, match="must follow one another, got start 0"):
        ChronologicalSplit(*bounds, {})


def test_no_time_cannot_be_split():
    with pytest.raises(InputError, match="must follow one another"):
        chronological(5, 5, (0.5, 0.25, 0.25), {})


def test_an_unknown_part_hints():
    with pytest.raises(InputError, match="unknown part 'valid': did you mean 'validation'"):
        ChronologicalSplit(0, 1, 2, 3, {}).span("valid")


def test_the_hash_depends_on_every_field_and_on_nothing_else():
    split = ChronologicalSplit(0.0, 1.0, 2.0, 3.0, {"data": "x", "horizon": 24})
    assert len(split.hash) == 16
    assert set(split.hash) <= set("0123456789abcdef")
    same = ChronologicalSplit(0.0, 1.0, 2.0, 3.0, {"horizon": 24, "data": "x"})
    assert same.hash == split.hash
    others = [
        replace(split, start=-1.0),
        replace(split, validation=1.5),
        replace(split, test=2.5),
        replace(split, end=math.nextafter(3.0, 4.0)),
        replace(split, of={"data": "y", "horizon": 24}),
        replace(split, of={"data": "x"}),
    ]
    assert len({split.hash, *(other.hash for other in others)}) == 7


def test_the_hash_stays_what_checkpoints_stored():
    """By sha256sum, of the text {"end": 3.0, "of": {"data": "x"}, "start": 0.0, "test": 2.0, "validation": 1.0}."""
    split = ChronologicalSplit(0.0, 1.0, 2.0, 3.0, {"data": "x"})
    assert split.hash == "092184667624f5c8"
