"""What is said of beats: class, probabilities, the conformal set, and an answer that may be none.

Dimension letters: N beats, K classes.
"""

from typing import NamedTuple

import numpy as np

UNCERTAIN, UNUSABLE = "uncertain", "unusable"
"""Answers in the place of a class: the set does not hold exactly one; the signal shows nothing of the heart."""


class Answer(NamedTuple):
    """What is said of one beat.

    Attributes:
        name: the likeliest class.
        probabilities: (K,).
        set: the classes of the conformal set with blanks between, the likeliest first; "" where it is empty, or
            where nothing was calibrated.
        answer: the class, ``UNCERTAIN`` or ``UNUSABLE``.
        usable: whether the signal could be used.
    """

    name: str
    probabilities: np.ndarray
    set: str
    answer: str
    usable: bool

    def cells(self) -> list[str]:
        """Return the cells of a row: class, probabilities, set, answer, usable."""
        shares = [f"{value:.6f}" for value in self.probabilities]
        return [self.name, *shares, self.set, self.answer, "yes" if self.usable else "no"]


def columns(classes: list[str]) -> list[str]:
    """Return the names of the cells."""
    return ["class", *(f"probability_{name}" for name in classes), "set", "answer", "usable"]


def answers(p: np.ndarray, sets: np.ndarray | None, usable: np.ndarray, classes: list[str]) -> list[Answer]:
    """Say what probabilities (N, K), sets (N, K) or None, and the signal (N,) tell of beats.

    Example:
        >>> p, sets = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[True, False], [True, True]])
        >>> [one.answer for one in answers(p, sets, np.array([True, True]), ["N", "V"])]
        ['N', 'uncertain']
    """
    found = []
    for row in range(len(p)):
        name = classes[int(p[row].argmax())]
        held = [] if sets is None else [place for place in np.argsort(-p[row], kind="stable") if sets[row, place]]
        answer = name if sets is None or len(held) == 1 else UNCERTAIN
        told = " ".join(classes[place] for place in held)
        found.append(Answer(name, p[row], told, answer if usable[row] else UNUSABLE, bool(usable[row])))
    return found
