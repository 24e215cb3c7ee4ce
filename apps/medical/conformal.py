"""Sets of classes that hold the true one as often as they promise, whatever the network.

Dimension letters: N samples, K classes, R resamples.
"""

from dataclasses import dataclass

import numpy as np

from integrand.apps.training.class_scores import group_weights
from integrand.core.errors import InputError

Array = np.ndarray


def threshold(probabilities: Array, labels: Array, *, coverage: float, groups: Array | None = None) -> float:
    """Return the least probability with which a class belongs into a set.

        set(x) = {k : p_k(x) >= q},    q such that a share ``coverage`` of patients' samples have p_label >= q.

    Where every sample is a patient of its own, q is the split conformal one: for n + 1 exchangeable patients the set of
    the last holds the true class with probability between ``coverage`` and ``coverage`` + 1 / (n + 1). Where patients
    have many samples each patient counts alike, whatever their number, and the promise, for a sample of a new patient,
    holds as patients become many. A set may be empty: nothing is likely enough; a model that says so abstains.

    Args:
        probabilities: (N, K) of samples that the network did not learn from.
        labels: (N,).
        coverage: the share promised, in (0, 1).
        groups: (N,) of which patient each is; each its own where None.

    Raises:
        InputError: ``coverage`` out of range, or no sample.

    Example:
        >>> p = np.linspace(0.01, 1, 100)
        >>> round(threshold(np.stack([p, 1 - p], 1), np.zeros(100, int), coverage=0.9), 2)
        0.1

    Source: Sadinle, Lei and Wasserman (2019), Least ambiguous set-valued classifiers with bounded error levels; for
    patients with many samples Dunn, Wasserman and Ramdas (2023), Distribution-free prediction sets for two-layer
    hierarchical models, Section 3.1 (pooled distribution functions).
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage={coverage:g} is out of range: it must lie in (0, 1).")
    if not len(labels):
        raise InputError("a conformal threshold needs samples that the network did not learn from, there is none.")
    own = probabilities[np.arange(len(labels)), labels]
    number = np.arange(len(own)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = np.bincount(number)
    weight = 1 / (len(count) * count[number])
    order = np.argsort(-own, kind="stable")
    reached = np.cumsum(weight[order])
    # Of n samples the ceil((n + 1) coverage)-th, in the order of falling probability.
    level = coverage * (1 + 1 / len(own))
    place = int(np.searchsorted(reached, level - 1e-12))
    return float(own[order[place]]) if place < len(own) else 0.0


def class_thresholds(probabilities: Array, labels: Array, *, coverage: float, groups: Array | None = None) -> Array:
    """Return the least probability with which each class belongs into a set, (K,): the promise kept class by class.

    As ``threshold``, of the samples of each class alone, so that the rare ones are covered as often as the common. Of a
    class with fewer than 1 / (1 - coverage) samples nothing can be promised, and its entry is infinite: no set holds
    it.

    Args:
        probabilities: (N, K) of samples that the network did not learn from.
        labels: (N,).
        coverage: the share promised, in (0, 1).
        groups: (N,) of which patient each is; each its own where None.

    Example:
        >>> p = np.tile(np.linspace(0.01, 1, 100)[:, None], (1, 2))
        >>> class_thresholds(p, np.r_[np.zeros(95, int), np.ones(5, int)], coverage=0.9).round(2).tolist()
        [0.09, inf]

    Source: Vovk, Gammerman and Shafer (2005), Algorithmic learning in a random world, Section 4.5 (Mondrian conformal
    predictors).
    """
    least = np.full(probabilities.shape[1], np.inf)
    for k in range(len(least)):
        own = labels == k
        if own.sum() * (1 - coverage) >= 1 - 1e-9:  # 10 * (1 - 0.9) is a little less than 1
            part = None if groups is None else groups[own]
            least[k] = threshold(probabilities[own], labels[own], coverage=coverage, groups=part)
    return least


@dataclass(frozen=True)
class SetQuality:
    """How good sets are.

    Attributes:
        coverage: mean over patients of the share of their samples whose set holds the true class.
        coverage_low, coverage_high: its 95 % interval by resampling patients.
        size: mean number of classes in a set.
        empty: share of sets that are empty.
        single: share of sets of one class.
        single_right: share of those that are right.
    """

    coverage: float
    coverage_low: float
    coverage_high: float
    size: float
    empty: float
    single: float
    single_right: float


def set_quality(
    sets: Array, labels: Array, groups: Array | None = None, *, resamples: int = 2000, seed: int = 0
) -> SetQuality:
    """Judge sets of classes by their true ones.

    Args:
        sets: (N, K) bool.
        labels: (N,).
        groups: (N,) of which patient each is; each its own where None.
        resamples: of the patients.
        seed: of the resampling.

    Example:
        >>> sets = np.array([[True, False], [True, True], [False, False], [True, False]])
        >>> found = set_quality(sets, np.array([0, 1, 0, 1]))
        >>> found.coverage, found.size, found.single_right
        (0.5, 1.0, 0.5)
    """
    held = sets[np.arange(len(labels)), labels]
    number = np.arange(len(held)) if groups is None else np.unique(groups, return_inverse=True)[1]
    of_patient = np.bincount(number, weights=held) / np.bincount(number)
    weight = group_weights(np.arange(len(of_patient)), resamples, np.random.default_rng(seed))
    low, high = np.quantile(weight @ of_patient / len(of_patient), [0.025, 0.975]).tolist()
    size = sets.sum(1)
    single = size == 1
    return SetQuality(
        coverage=float(of_patient.mean()),
        coverage_low=low,
        coverage_high=high,
        size=float(size.mean()),
        empty=float((size == 0).mean()),
        single=float(single.mean()),
        single_right=float(held[single].mean()) if single.any() else float("nan"),
    )
