"""How far a predicted trajectory is from the exact one, and how far it leaves what exact ones keep.

Dimension letters: N trajectories, T times, D state.
"""

import numpy as np

Array = np.ndarray
VALID = 0.4
"""Error at which a prediction ceases to be valid."""


def relative_l2(predicted: Array, exact: Array) -> Array:
    """Return the relative error of each trajectory, (N,), of standardised states (N, T, D).

        ( sum_t,d (y' - y)^2 / sum_t,d y^2 )^(1/2)

    Example:
        >>> relative_l2(np.full((1, 3, 2), 1.1), np.ones((1, 3, 2))).round(6).tolist()
        [0.1]
    """
    error = np.sqrt(np.square(predicted - exact).sum((1, 2)))
    return error / np.maximum(np.sqrt(np.square(exact).sum((1, 2))), 1e-300)


def step_errors(predicted: Array, exact: Array) -> Array:
    """Return the error of each step in units of the state's deviation, (N, T), of standardised states (N, T, D).

        E(t) = |y'(t) - y(t)| / < |y - <y>|^2 >^(1/2),      <.> the mean over times and trajectories

    Source: Pathak, Hunt, Girvan, Lu and Ott (2018), Model-free prediction of large spatiotemporally chaotic systems
    from data, with the mean taken away, so that it does not matter where zero is.

    Example:
        >>> step_errors(np.array([[[2.0], [0.0]]]), np.array([[[1.0], [-1.0]]])).tolist()
        [[1.0, 1.0]]
    """
    size = np.sqrt(np.square(exact - exact.mean((0, 1))).sum(-1).mean())
    return np.sqrt(np.square(predicted - exact).sum(-1)) / max(size, 1e-300)


def valid_time(errors: Array, times: Array, *, threshold: float = VALID) -> Array:
    """Return the time up to which each trajectory's error stays at or below a threshold, (N,).

    It is that of the last state before the first one above; the last of all where none is above.

    Args:
        errors: (N, T) of ``step_errors``.
        times: (T,).
        threshold: 0.4 of Pathak et al. (2018).

    Example:
        >>> valid_time(np.array([[0.0, 0.1, 0.5, 0.2]]), np.arange(4.0)).tolist()
        [1.0]
    """
    above = ~(errors <= threshold)
    first = np.where(above.any(1), above.argmax(1), errors.shape[1])
    return times[np.maximum(first - 1, 0)] - times[0]


def drift(values: Array, scale: float) -> tuple[Array, Array]:
    """Return how far an invariant leaves its first value: at most, and at the end; (N,) each.

        max_t |I(t) - I(0)| / scale,      |I(T) - I(0)| / scale

    Args:
        values: (N, T).
        scale: a size of the invariant.

    Example:
        >>> [one.tolist() for one in drift(np.array([[2.0, 3.0, 1.5]]), 2.0)]
        [[0.5], [0.25]]
    """
    away = np.abs(values - values[:, :1]) / scale
    return away.max(1), away[:, -1]


def invariant_scale(starts: Array) -> float:
    """Return the root mean square of an invariant over starts (N,); 1 where it is zero for all, but for rounding."""
    size = float(np.sqrt(np.square(starts).mean()))
    return size if size > 1e-8 else 1.0
