"""Predictions that need no equation: a state that stays, and a linear map.

Dimension letters: N trajectories, T times, D state.
"""

import numpy as np

from integrand.core.errors import InputError

Array = np.ndarray
LARGEST = 1e6
"""Size, in deviations, at which a growing prediction is held."""


class Persistence:
    """The state stays what it was."""

    name = "persistence"

    def fit(self, states: Array, interval: float) -> None:
        """There is nothing to learn."""

    def predict(self, start: Array, times: Array) -> Array:
        """Return the start at all times, (N, T, D)."""
        return np.repeat(start[:, None], len(times), axis=1)


class LinearMap:
    """The affine map y(t + dt) = A y(t) + b of least squares over all neighbours in time, applied again and again.

    Between its steps it is the flow of the linear equation that has this map: the power t / dt of its eigenvalues.

    Source: Schmid (2010), Dynamic mode decomposition of numerical and experimental data, without truncation.

    Example:
        >>> t = np.arange(5.0)
        >>> spiral = np.stack([np.cos(t), np.sin(t)], -1)[None]
        >>> linear = LinearMap()
        >>> linear.fit(spiral, 1.0)
        >>> bool(np.allclose(linear.predict(spiral[:, 0], np.array([0, 0.5])), [[[1, 0], [np.cos(0.5), np.sin(0.5)]]]))
        True
    """

    name = "linear map"

    def fit(self, states: Array, interval: float) -> None:
        """Fit the map to standardised states (N, T, D) an interval apart.

        Raises:
            InputError: there is one time alone.
        """
        if states.shape[1] < 2:
            raise InputError("a linear map needs two states of a trajectory at least: take a longer data.span.")
        dim = states.shape[2]
        before = states[:, :-1].reshape(-1, dim)
        before = np.concatenate([before, np.ones((len(before), 1))], axis=1)
        found, *_ = np.linalg.lstsq(before, states[:, 1:].reshape(-1, dim), rcond=None)
        whole = np.zeros((dim + 1, dim + 1))
        whole[:dim], whole[dim, dim] = found.T, 1.0
        values, self.modes = np.linalg.eig(whole)
        self.exponents = np.log(values.astype(complex)) / interval

    def predict(self, start: Array, times: Array) -> Array:
        """Return states (N, T, D) from standardised starts (N, D)."""
        ones = np.ones((len(start), 1))
        amplitudes = np.linalg.solve(self.modes, np.concatenate([start, ones], axis=1).T).T
        grown = np.exp(np.minimum((self.exponents * (times - times[0])[:, None]).real, 50.0)) * np.exp(
            1j * (self.exponents * (times - times[0])[:, None]).imag
        )
        states = np.einsum("nk,tk,dk->ntd", amplitudes, grown, self.modes[:-1]).real
        return np.clip(states, -LARGEST, LARGEST)
