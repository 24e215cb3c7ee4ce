"""A signal at another rate while it is being recorded, as ``Recording.resampled`` has it once it is whole.

Dimension letters: L samples of a piece, C leads, T taps of the filter.
"""

import math

import numpy as np

from integrand.datasets.recent_samples import RecentSamples
from integrand.datasets.recording import KAISER, quotient

CROSSINGS = 10
"""Samples of the slower rate that the filter reaches to each side."""


class BlockResampler:
    """Changes the rate of a signal that comes in pieces, by the filter of ``Recording.resampled``.

        y_k = sum_i h(k down - i up) x_i,

    with h the windowed sinc of ``scipy.signal.resample_poly``. An answer waits for the samples that the filter reaches
    beyond it, 10 of the slower rate. Before the first sample the signal counts as 0: give it over its first value.

    Args:
        rate: Hz of what comes.
        to: Hz of what is told.
        leads: C.

    Raises:
        InputError: see ``Recording.resampled``.

    Example:
        >>> resampler = BlockResampler(200, 100, leads=1)
        >>> pieces = [resampler.push(np.zeros((150, 1))), resampler.push(np.zeros((51, 1))), resampler.finish()]
        >>> [len(piece) for piece in pieces]
        [65, 26, 10]

    Source: Crochiere and Rabiner (1983), Multirate Digital Signal Processing, Section 3.3, polyphase structures.
    """

    def __init__(self, rate: float, to: float, *, leads: int) -> None:
        from scipy.signal import firwin

        self.rate, self.to = rate, to
        self.up, self.down = quotient(rate, to)
        self._reach = CROSSINGS * max(self.up, self.down) if self.up != self.down else 0
        self._taps = 2 * self._reach // self.up + 1
        h = np.ones(1)
        if self._reach:
            h = self.up * firwin(2 * self._reach + 1, 1 / max(self.up, self.down), window=("kaiser", KAISER))  # pyright: ignore[reportArgumentType]
        self._weights = np.zeros((self.up, self._taps))
        for phase in range(self.up):
            part = h[phase :: self.up][: self._taps]
            self._weights[phase, : len(part)] = part
        self._recent = RecentSamples(2 * self._taps, leads)
        self._recent.append(np.zeros((self._taps, leads)))
        self._seen = self._told = 0

    def push(self, x: np.ndarray) -> np.ndarray:
        """Take samples (L, C) and return those of the other rate that can be told by now."""
        step = self._taps  # long pieces in parts, which bounds the memory
        return np.concatenate([self._push(x[i : i + step]) for i in range(0, max(len(x), 1), step)])

    def finish(self) -> np.ndarray:
        """Return what is left, the last value held."""
        count = math.ceil(self._seen * self.up / self.down) - self._told
        if not self._seen:
            return np.zeros((0, self._recent.leads))
        last = self._recent.between(self._recent.end - 1, self._recent.end)
        return self.push(np.repeat(last, self._taps, axis=0))[:count]

    def _push(self, x: np.ndarray) -> np.ndarray:
        self._recent.append(x)
        self._seen += len(x)
        # Sample k is told once the last that it reaches, (k down + reach) // up, is there.
        end = max(self._told, ((self._seen * self.up - 1 - self._reach) // self.down) + 1)
        k = np.arange(self._told, end)
        self._told = end
        grid = k * self.down + self._reach
        places = (grid // self.up)[:, None] - np.arange(self._taps)  # newest first, (K, T)
        return np.einsum("kt,ktc->kc", self._weights[grid % self.up], self._recent.at(places + self._taps))
