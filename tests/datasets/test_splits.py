"""Splits: in time the parts tile it, series are in one part each, and the hash tells two splits apart."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from integrand.core.errors import InputError
from integrand.datasets.splits import PARTS, ChronologicalSplit, IndexSplit, chronological, official, spread, stratified

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


def split_of(**changes) -> IndexSplit:
    given = {"train": (0, 3), "validation": (1,), "test": (2,), "of": {"data": "x", "seed": 0}}
    return IndexSplit(**given | changes)


def counted(labels: np.ndarray, split: IndexSplit) -> np.ndarray:
    """Count the series of each class and part, (K, P)."""
    return np.array([[np.sum(labels[list(split.rows(p))] == k) for p in PARTS] for k in range(labels.max() + 1)])


label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(
    lambda drawn: np.unique(drawn, return_inverse=True)[1]
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ()}, "the training part of a split is empty"),
        ({"test": ()}, "the test part of a split is empty"),
        ({"test": (2, 3)}, "row 3 is in the train part and in the test part"),
        ({"validation": (1, 1)}, "row 1 is in the validation part and in the validation part"),
        ({"test": (-1,)}, "row -1 of the test part is below 0"),
    ],
)
def test_rows_are_in_one_part_once(changes, message: str):
    with pytest.raises(InputError, match=message):
        split_of(**changes)


def test_rows_of_a_part():
    assert [split_of().rows(part) for part in PARTS] == [(0, 3), (1,), (2,)]
    assert split_of(validation=()).rows("validation") == ()
    with pytest.raises(InputError, match="unknown part 'tests': did you mean 'test'"):
        split_of().rows("tests")


def test_the_hash_of_rows_depends_on_every_field_and_on_nothing_else():
    """The hash by sha256sum, of the text {"of": {"data": "x"}, "test": [2], "train": [0, 3], "validation": [1]}."""
    assert split_of(of={"data": "x"}).hash == "74156ab8e75f5403"
    assert split_of(of={"seed": 0, "data": "x"}).hash == split_of().hash
    others = [
        split_of(train=(0, 4)),
        split_of(train=(0,)),
        split_of(validation=()),
        split_of(validation=(4,)),
        split_of(test=(4,)),
        split_of(train=(0,), validation=(1, 3)),
        split_of(of={"data": "x", "seed": 1}),
        split_of(of={"data": "x"}),
    ]
    assert len({split_of().hash, *(other.hash for other in others)}) == 9


@given(labels=label_lists, first=st.floats(0.3, 0.8), share=st.floats(0, 0.5), seed=st.integers(0, 5))
def test_classes_are_shared_out_alike(labels: np.ndarray, first: float, share: float, seed: int):
    labels = np.concatenate([labels, np.zeros(12, dtype=int)])  # of which the test part gets at least 0.1 * 12
    fractions = (first, (1 - first) * share, (1 - first) * (1 - share))
    split = stratified(labels, fractions=fractions, seed=seed, of={})
    assert sorted(split.train + split.validation + split.test) == list(range(len(labels)))
    assert all(list(split.rows(part)) == sorted(split.rows(part)) for part in PARTS)
    counts = counted(labels, split)
    quota = np.bincount(labels)[:, None] * np.array(fractions)
    assert (np.abs(counts - quota) < 1).all()
    assert (counts[:, 0] >= 1).all()


def test_many_small_classes_do_not_all_round_the_same_way():
    """Of 40 classes with 3 series each, 84, 18 and 18: each class rounds 2.1, 0.45 and 0.45, the sum is exact."""
    labels = np.repeat(np.arange(40), 3)
    split = stratified(labels, seed=0, of={})
    assert [len(split.rows(part)) for part in PARTS] == [84, 18, 18]


def test_exact_fractions_are_exact():
    labels = np.repeat([0, 1], [30, 70])
    assert counted(labels, stratified(labels, fractions=(0.6, 0.3, 0.1), seed=1, of={})).tolist() == [
        [18, 9, 3],
        [42, 21, 7],
    ]
    assert stratified(labels, fractions=(0.8, 0, 0.2), seed=1, of={}).validation == ()


def test_the_seed_alone_chooses():
    labels = np.repeat([0, 1], 50)
    groups = [f"g{row // 2}" for row in range(100)]
    parts = ["train"] * 60 + ["test"] * 40
    for build in (
        lambda seed: stratified(labels, seed=seed, of={}),
        lambda seed: stratified(labels, seed=seed, of={}, groups=groups),
        lambda seed: official(parts, labels, validation=0.2, seed=seed, of={}),
    ):
        assert build(3) == build(3)
        assert len({build(seed).hash for seed in range(10)}) == 10


@pytest.mark.parametrize(
    "fractions", [(0.5, 0.5, 0.0), (0.0, 0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.3, 0.3), (0.5, 0.5), (math.nan, 0.5, 0.5)]
)
def test_impossible_fractions_of_series_are_refused(fractions):
    with pytest.raises(InputError, match="split fractions must"):
        stratified([0] * 9, fractions=fractions, seed=0, of={})


@given(number=st.integers(8, 40), seed=st.integers(0, 10**6))
def test_groups_stay_whole(number: int, seed: int):
    random = np.random.default_rng(seed)
    labels, patients = random.integers(0, 3, 200), random.integers(0, number, 200)
    groups = np.array([f"patient {patient}" for patient in patients])
    split = stratified(labels, seed=seed, of={}, groups=groups.tolist())
    assert sorted(split.train + split.validation + split.test) == list(range(200))
    held = [set(groups[list(split.rows(part))]) for part in PARTS]
    assert sum(map(len, held)) == len(set().union(*held))
    assert (counted(labels, split)[:, 0] >= 1).all()


def test_equal_groups_are_shared_out_by_class():
    """Twenty patients of one class and twenty of the other, five series each: 14, 3 and 3 patients of each."""
    labels = np.repeat([0, 1], 100)
    groups = [f"patient {row // 5}" for row in range(200)]
    for seed in range(5):
        split = stratified(labels, seed=seed, of={}, groups=groups)
        assert counted(labels, split).tolist() == [[70, 15, 15], [70, 15, 15]]


def test_a_class_whose_groups_all_leave_training_is_refused():
    """The one group of class 7 goes first, to where 0.6 of it are lacking."""
    labels, groups = [7] * 5 + [0] * 20, ["large"] * 5 + [f"g{row}" for row in range(20)]
    with pytest.raises(InputError, match=r"class 7 has no training series, .* try another seed"):
        stratified(labels, seed=0, fractions=(0.4, 0.0, 0.6), of={}, groups=groups)
    with pytest.raises(InputError, match="the test part of a split is empty"):
        stratified([0, 1], seed=0, of={}, groups=["a", "a"])


@given(labels=label_lists, validation=st.floats(0, 0.95), seed=st.integers(0, 5))
def test_an_official_split_is_kept(labels: np.ndarray, validation: float, seed: int):
    parts = np.array(["train"] * len(labels) + ["test"] * 3)
    split = official(parts.tolist(), [*labels, 0, 0, 0], validation=validation, seed=seed, of={})
    assert split.test == tuple(range(len(labels), len(labels) + 3))
    assert sorted(split.train + split.validation) == list(range(len(labels)))
    kept = np.bincount(labels[list(split.train)], minlength=labels.max() + 1)
    total = np.bincount(labels)
    assert (kept >= 1).all()
    assert (np.abs(kept - (1 - validation) * total) < 1).all()
    if validation == 0:
        assert split.validation == ()


def test_the_labels_of_test_series_choose_nothing():
    parts = ["train", "test"] * 30
    labels = np.arange(60) // 2 % 3
    spoilt = np.where(np.arange(60) % 2, 0, labels)
    assert official(parts, labels, validation=0.3, seed=2, of={}) == official(
        parts, spoilt, validation=0.3, seed=2, of={}
    )


@pytest.mark.parametrize(
    ("parts", "labels", "validation", "message"),
    [
        (["train", "test"], [0, 0], 1.0, "validation share must be at least 0 and below 1, got 1.0"),
        (["train", "test"], [0, 0], -0.1, "validation share"),
        (["train", "test"], [0, 0], math.nan, "validation share"),
        (["train", "test"], [0, 1], 0.0, "class 1 is in the test part and has no training series"),
        (["train", "train"], [0, 1], 0.0, "the test part of a split is empty"),
        (["train", "tset"], [0, 0], 0.0, "unknown part 'tset': did you mean 'test'"),
        (["train", "test"], [0], 0.0, "labels must be one a series"),
    ],
)
def test_impossible_official_splits_are_refused(parts, labels, validation: float, message: str):
    with pytest.raises(InputError, match=message):
        official(parts, labels, validation=validation, seed=0, of={})


def test_groups_are_spread_with_their_classes():
    rng = np.random.default_rng(0)
    counts = {f"p{i}": rng.poisson([500, 20 * (i % 4 == 0), 30]) for i in range(20)}
    of = spread(counts, [1, 1, 1, 1])
    held = np.array([sum(counts[name] for name in counts if of[name] == part) for part in range(4)])
    assert sorted(of) == sorted(counts)
    assert (held[:, 1] > 0).all()  # five groups hold the second class
    assert (held.std(0) / held.mean(0)).max() < 0.5


@given(
    groups=st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=12),
    seed=st.one_of(st.none(), st.integers(0, 5)),
)
def test_spread_groups_fill_every_part_and_the_first_has_every_class(groups: list[list[int]], seed: int | None):
    counts = {str(i): np.array(group) for i, group in enumerate(groups)}
    assume(all(sum(group) for group in groups))
    of = spread(counts, (0.6, 0.2, 0.2), seed=seed)
    assert set(of.values()) == {0, 1, 2}
    # Where groups are many enough, the first part has something of each class.
    if len(groups) >= 6:
        first = sum(counts[name] for name in counts if of[name] == 0)
        assert ((first > 0) | (np.sum(groups, axis=0) == 0)).all()


def test_too_few_groups_cannot_be_spread():
    with pytest.raises(InputError, match="2 groups cannot fill 3 parts"):
        spread({"a": np.ones(2), "b": np.ones(2)}, (0.6, 0.2, 0.2))
