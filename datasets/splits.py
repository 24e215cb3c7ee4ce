"""Splits in time and splits of series, with a hash that tells two of them apart.

Dimension letters: N series, K classes, G groups, P parts.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from integrand.core.errors import InputError, unknown

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ChronologicalSplit:
    """Three spans of time, one after the other; a sample belongs to a part when it lies wholly within it.

    Attributes:
        start: first time of the training part.
        validation: first time of the validation part.
        test: first time of the test part.
        end: end of the test part, itself excluded.
        of: what was split: the data's name and checksum, the sample's shape.
    """

    start: float
    validation: float
    test: float
    end: float
    of: dict[str, str | float | int]

    def __post_init__(self) -> None:
        if not self.start < self.validation < self.test < self.end:
            raise InputError(
                f"the parts of a split must follow one another, got start {self.start:g}, validation "
                f"{self.validation:g}, test {self.test:g}, end {self.end:g}."
            )

    def span(self, part: str) -> tuple[float, float]:
        """Return the first time of a part and the end of it, itself excluded."""
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        bounds = (self.start, self.validation, self.test, self.end)
        index = PARTS.index(part)
        return bounds[index], bounds[index + 1]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the bounds and what was split."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def chronological(
    start: float, end: float, fractions: tuple[float, float, float], of: dict[str, str | float | int]
) -> ChronologicalSplit:
    """Divide the time from start to end, both included, by ``fractions`` (training, validation, test).

    Example:
        >>> chronological(0, 100, (0.5, 0.25, 0.25), {}).span("validation")
        (50.0, 75.0)
    """
    if len(fractions) != 3 or not (min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise InputError(f"split fractions must be three positive numbers that add up to 1, got {fractions}.")
    first, second = fractions[0], fractions[0] + fractions[1]
    length = end - start
    # The last stamp belongs to the test part, so that part ends just past it.
    return ChronologicalSplit(
        float(start), start + length * first, start + length * second, math.nextafter(float(end), math.inf), of
    )


@dataclass(frozen=True)
class IndexSplit:
    """Three sets of series, by their row numbers; none is in two of them.

    Attributes:
        train: rows of the training part.
        validation: rows of the validation part; there may be none.
        test: rows of the test part.
        of: what was split: the data's name and checksum, the protocol, the seed.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    of: dict[str, str | float | int]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            empty = "test" if self.train else "training"
            raise InputError(f"the {empty} part of a split is empty: give more series or groups, or other fractions.")
        seen: dict[int, str] = {}
        for part in PARTS:
            for row in self.rows(part):
                if row < 0:
                    raise InputError(f"row {row} of the {part} part is below 0: rows are numbered from 0.")
                if row in seen:
                    raise InputError(f"row {row} is in the {seen[row]} part and in the {part} part: keep one of them.")
                seen[row] = part

    def rows(self, part: str) -> tuple[int, ...]:
        """Return the rows of a part."""
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        return (self.train, self.validation, self.test)[PARTS.index(part)]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the rows and what was split."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def by_series(
    count: int, *, fractions: tuple[float, float, float], seed: int, of: dict[str, str | float | int]
) -> IndexSplit:
    """Divide ``count`` series at random by ``fractions`` (training, validation, test).

    Raises:
        InputError: fractions that don't add up to 1, or too few series to give each part one.

    Example:
        >>> len(by_series(10, fractions=(0.6, 0.2, 0.2), seed=0, of={}).train)
        6
    """
    if len(fractions) != 3 or not (min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise InputError(f"split fractions must be three positive numbers that add up to 1, got {fractions}.")
    first, second = round(fractions[0] * count), round((fractions[0] + fractions[1]) * count)
    if not 0 < first < second < count:
        raise InputError(
            f"{count} series do not give each of three parts one by the shares {fractions}: give more series, or split "
            "in time."
        )
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    return IndexSplit(_sorted(order[:first]), _sorted(order[first:second]), _sorted(order[second:]), of)


def official(
    parts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    *,
    validation: float,
    seed: int,
    of: dict[str, str | float | int],
) -> IndexSplit:
    """Keep a published split and take the validation part from its training part, at random by class.

    The labels of test series choose nothing.

    Args:
        parts: ``"train"`` or ``"test"`` of each series.
        labels: (N,) number of the class of each series.
        validation: share of the training series for validation, in [0, 1); each class keeps one for training.
        seed: of the choice.
        of: what is split.

    Raises:
        InputError: a share out of range, or a class of the test part that no training series has.

    Example:
        >>> official(["train", "train", "test"], [0, 0, 0], validation=0.0, seed=0, of={}).train
        (0, 1)
    """
    if not 0 <= validation < 1:
        raise InputError(f"the validation share must be at least 0 and below 1, got {validation}.")
    labels_N = _per_series("labels", labels, len(parts))
    for part in parts:
        if part not in ("train", "test"):
            raise unknown("part", part, ("train", "test"))
    in_train = np.array([part == "train" for part in parts], dtype=bool)
    absent = np.setdiff1d(labels_N[~in_train], labels_N[in_train])
    if len(absent):
        raise InputError(f"class {absent[0]} is in the test part and has no training series: add some, or remove it.")
    rows = np.flatnonzero(in_train)
    part_N = _by_class(labels_N[rows], (1 - validation, validation), seed)
    return IndexSplit(_sorted(rows[part_N == 0]), _sorted(rows[part_N == 1]), _sorted(np.flatnonzero(~in_train)), of)


def stratified(
    labels: Sequence[int] | np.ndarray,
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int,
    of: dict[str, str | float | int],
    groups: Sequence[str] | None = None,
) -> IndexSplit:
    """Divide series at random by ``fractions`` (training, validation, test), each class alike.

    Of each class each part gets its fraction, rounded down or up, and the training part at least one. With groups,
    whole groups go to one part, chosen one by one, large ones first, so that the parts come near their fractions.

    Args:
        labels: (N,) number of the class of each series.
        fractions: of training, validation, which may be 0, and test.
        seed: of the choice.
        of: what is split.
        groups: the group of each series, such as its patient.

    Raises:
        InputError: fractions that don't add up to 1, a part without series, or groups that leave a class without a
            training series.

    Example:
        >>> split = stratified([0] * 20 + [1] * 20, seed=0, of={})
        >>> len(split.train), len(split.validation), len(split.test)
        (28, 6, 6)
    """
    if len(fractions) != 3 or not (min(fractions) >= 0 and fractions[0] > 0 and fractions[2] > 0):
        raise InputError(f"split fractions must be positive, that of validation may be 0, got {fractions}.")
    if not abs(sum(fractions) - 1) <= 1e-6:
        raise InputError(f"split fractions must add up to 1, got {fractions}.")
    labels_N = _per_series("labels", labels, len(labels))
    if groups is None:
        part_N = _by_class(labels_N, fractions, seed)
    else:
        part_N = _by_group(labels_N, _per_series("groups", groups, len(labels_N)), fractions, seed)
    train, validation, test = (_sorted(np.flatnonzero(part_N == part)) for part in range(3))
    return IndexSplit(train, validation, test, of)


def spread(counts: Mapping[str, np.ndarray], fractions: Sequence[float], *, seed: int | None = None) -> dict[str, int]:
    """Place groups, such as patients with many samples each, whole into parts, so that every class is spread over them.

    Groups choose one by one, the one with the largest share of any class first. Each goes where

        sum over parts p and classes k of  filled_pk^2 / fraction_p

    grows least, with ``filled`` the share of the samples of class k in part p; but the first group of each class goes
    to the first part, so that there is something to learn it from. No part stays empty.

    Args:
        counts: (K,) samples of each class, by group.
        fractions: of the parts, positive; folds have equal ones.
        seed: of the order among groups of shares within a factor 2; None for the order of the shares alone.

    Raises:
        InputError: fewer groups than parts, or a fraction that is not positive.

    Returns:
        The number of each group's part.

    Example:
        >>> counts = {"a": np.array([10, 0]), "b": np.array([9, 0]), "c": np.array([1, 4]), "d": np.array([0, 4])}
        >>> spread(counts, (1, 1))
        {'a': 0, 'b': 1, 'c': 0, 'd': 1}
    """
    if min(fractions) <= 0:
        raise InputError(f"fractions must be positive, got {tuple(fractions)}.")
    if len(counts) < len(fractions):
        raise InputError(f"{len(counts)} groups cannot fill {len(fractions)} parts: give more, or ask for fewer parts.")
    of_part = np.asarray(fractions, dtype=np.float64) / sum(fractions)
    total = np.maximum(np.sum(list(counts.values()), axis=0), 1)
    shares = {name: count / total for name, count in counts.items()}
    jitter = np.ones(len(shares)) if seed is None else np.random.default_rng(seed).uniform(0.5, 1, len(shares))
    size = {name: float(share.max()) * factor for (name, share), factor in zip(shares.items(), jitter, strict=True)}
    filled, of = np.zeros((len(of_part), len(total))), dict.fromkeys(counts, 0)
    order = sorted(shares, key=lambda name: -size[name])
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        share = shares[name]
        growth = (((filled + share) ** 2 - filled**2) / of_part[:, None]).sum(1)
        empty = ~(filled > 0).any(1)
        if left <= empty.sum():
            growth[~empty] = np.inf
        elif ((share > 0) & ~(filled > 0).any(0)).any():
            growth[1:] = np.inf
        of[name] = int(growth.argmin())
        filled[of[name]] += share
    return of


def _per_series(what: str, items: Sequence | np.ndarray, count: int) -> np.ndarray:
    array = np.asarray(items)
    if array.shape != (count,):
        raise InputError(f"{what} must be one a series, ({count},), got shape {array.shape}.")
    return array


def _sorted(rows: np.ndarray) -> tuple[int, ...]:
    return tuple(np.sort(rows).tolist())


def _by_class(labels_N: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Return the number of the part of each series, drawn at random within each class."""
    generator = np.random.Generator(np.random.PCG64(seed))
    classes, counts_K = np.unique(labels_N, return_counts=True)
    part_N = np.empty(len(labels_N), dtype=np.int64)
    for label, sizes_P in zip(classes, _apportioned(counts_K, fractions), strict=True):
        rows = generator.permutation(np.flatnonzero(labels_N == label))
        part_N[rows] = np.repeat(np.arange(len(fractions)), sizes_P)
    return part_N


def _apportioned(counts_K: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Divide each class's count into parts (K, P): each its fraction rounded down or up, the first part not 0.

    What rounding down leaves of a class goes to the parts that lack most over all classes, so that many small classes
    do not all round the same way.
    """
    quota_KP = np.round(counts_K[:, None] * np.asarray(fractions) / sum(fractions), 9)  # 0.1 * 30 is 3, not more
    sizes_KP = np.floor(quota_KP).astype(np.int64)
    rest_KP = quota_KP - sizes_KP
    lack_P = rest_KP.sum(0)
    for sizes_P, rest_P, count in zip(sizes_KP, rest_KP, counts_K, strict=True):
        order = sorted(np.flatnonzero(rest_P > 0), key=lambda part: -lack_P[part])
        if sizes_P[0] == 0:
            order.sort(key=lambda part: part != 0)
        chosen = order[: count - sizes_P.sum()]
        sizes_P[chosen] += 1
        lack_P[chosen] -= 1
    return sizes_KP


def _by_group(labels_N: np.ndarray, groups_N: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Return the number of the part of each series, whole groups together.

    Large groups choose first, in random order among equals: each goes where the squared distance of the parts' class
    counts from their fractions falls most, each class weighted by one over its count.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    classes, label_N = np.unique(labels_N, return_inverse=True)
    names, group_N = np.unique(groups_N, return_inverse=True)
    counts_GK = np.zeros((len(names), len(classes)))
    np.add.at(counts_GK, (group_N, label_N), 1)
    total_K = counts_GK.sum(0)
    lack_PK = np.asarray(fractions)[:, None] * total_K
    shuffled = generator.permutation(len(names))
    part_G = np.empty(len(names), dtype=np.int64)
    for group in shuffled[np.argsort(-counts_GK[shuffled].sum(1), kind="stable")]:
        # The squared distance falls by 2 lack . count - count . count, and the last term is the same for each part.
        part = int(np.argmax(lack_PK @ (counts_GK[group] / total_K)))
        lack_PK[part] -= counts_GK[group]
        part_G[group] = part
    lost = np.flatnonzero(counts_GK[part_G == 0].sum(0) == 0)
    if len(lost):
        raise InputError(
            f"class {classes[lost[0]]} has no training series, for all its groups fell into other parts: try another "
            "seed, or give more groups of it."
        )
    return part_G[group_N]
