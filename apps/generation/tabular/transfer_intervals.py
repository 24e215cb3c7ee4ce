"""How far the test rows' chance moves what synthetic tables are worth: a bootstrap of learners' answers.

Dimension letters: N test rows, K classes, S seeds, R resamples, G distinct scores.
"""

from __future__ import annotations

import numpy as np

from integrand.apps.generation.tabular.learners import Answers
from integrand.core.errors import InputError


def resampled_ratios(real: Answers, synthetic: Answers, weights_RN: np.ndarray) -> np.ndarray:
    """Return ``transfer_ratio`` on resamples of the test rows, (R,).

    The learners are not trained anew, so that what is told is the chance of the test rows alone.

    Args:
        real: of learners that saw real rows.
        synthetic: of the same learners, that saw synthetic rows.
        weights_RN: how often each test row is in each resample, see ``resamples``.

    Raises:
        InputError: answers to other test rows, or of other learners.
    """
    if len(real.truth) != len(synthetic.truth) or real.by_learner.keys() != synthetic.by_learner.keys():
        raise InputError("answers must be of the same learners to the same test rows.")
    score = weighted_auroc if real.classes else weighted_r2
    ratios = []
    for learner, answers in real.by_learner.items():
        first, second = (
            np.mean([score(one, real.truth, weights_RN) for one in every], axis=0)
            for every in (answers, synthetic.by_learner[learner])
        )
        # As ``Transfer.ratio``: nothing is worth a share of what is worth nothing.
        ratios.append(np.where(first > 0, second / np.where(first > 0, first, 1), np.nan))
    return np.mean(ratios, axis=0)


def resamples(answers: Answers, count: int, *, seed: int) -> np.ndarray:
    """Return how often each test row is in each of ``count`` resamples, (R, N); classes keep their numbers of rows."""
    generator, rows = np.random.default_rng(seed), len(answers.truth)
    strata = answers.truth if answers.classes else np.zeros(rows)
    weights = np.zeros((count, rows))
    for one in np.unique(strata):
        own = np.flatnonzero(strata == one)
        weights[:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), count)
    return weights


def weighted_r2(predicted: np.ndarray, truth: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Return R2 of predictions (N,) under weights of the rows, (R,).

    Example:
        >>> weighted_r2(np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0, 0.0]]))
        array([1.])
    """
    centred = truth - truth.mean()  # against cancellation
    total = weights_RN.sum(1)
    spread = weights_RN @ centred**2 - (weights_RN @ centred) ** 2 / total
    return 1 - weights_RN @ (truth - predicted) ** 2 / spread


def weighted_auroc(probabilities: np.ndarray, labels: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Return ``auroc`` of class probabilities (N, K) under weights of the rows, (R,); equal scores count half."""
    classes = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    areas = []
    for one in classes:
        order = np.argsort(probabilities[:, one], kind="stable")
        starts = np.flatnonzero(np.diff(probabilities[order, one], prepend=-1.0))
        inside = labels[order] == one
        above, below = (
            np.add.reduceat(weights_RN[:, order] * part, starts, axis=1) for part in (inside, ~inside)
        )  # (R, G)
        lower = below.cumsum(1) - 0.5 * below
        areas.append((above * lower).sum(1) / (above.sum(1) * below.sum(1)))
    return np.mean(areas, axis=0)
