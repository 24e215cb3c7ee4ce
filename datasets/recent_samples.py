"""The last samples of a signal without an end.

Dimension letters: L samples of a piece, C leads.
"""

import numpy as np


class RecentSamples:
    """Keeps the last samples of what is appended, and finds them by their numbers from the very first one on.

    Args:
        kept: how many at least.
        leads: C.
        dtype: of the samples.

    Example:
        >>> recent = RecentSamples(3, 1)
        >>> for start in range(0, 10, 2):
        ...     recent.append(np.arange(start, start + 2.0)[:, None])
        >>> recent.end, recent.between(7, 10).ravel()
        (10, array([7., 8., 9.]))
    """

    def __init__(self, kept: int, leads: int, dtype: type = np.float64) -> None:
        self.kept, self.leads, self.end = kept, leads, 0
        self._store = np.zeros((2 * kept, leads), dtype=dtype)
        self._filled = 0

    def append(self, x: np.ndarray) -> None:
        """Take samples (L, C)."""
        while len(x) > self.kept:
            self.append(x[: self.kept])
            x = x[self.kept :]
        if self._filled + len(x) > len(self._store):
            self._store[: self.kept] = self._store[self._filled - self.kept : self._filled].copy()
            self._filled = self.kept
        self._store[self._filled : self._filled + len(x)] = x
        self._filled += len(x)
        self.end += len(x)

    def between(self, first: int, end: int) -> np.ndarray:
        """Return samples ``first`` to ``end`` - 1, (L, C), which must not be older than what is kept."""
        shift = self._filled - self.end
        return self._store[first + shift : end + shift]

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return the samples of given numbers, (..., C)."""
        return self._store[places + (self._filled - self.end)]
