"""Pairs of correlated Ornstein-Uhlenbeck processes, drawn by their exact transition, one or both seen at a time.

Source: De Brouwer, Simm, Arany and Moreau (2019), GRU-ODE-Bayes: Continuous modeling of sporadically-observed time
series, Section 5.1, and the code published with it (https://github.com/edebrouwer/gru_ode_bayes), whose values these
are; that code takes Euler's steps, here no step has an error.
"""

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.synthetic.sampling import Generator, observe, streams, to_table, uniform_times
from integrand.datasets.tables import Table

UNITS = {"x": "", "y": ""}
TARGETS = tuple(UNITS)
START = (0.0, 0.0)


def ornstein_uhlenbeck(
    series: int = 1000,
    *,
    points: int | tuple[int, int] = (16, 24),
    span: float = 10.0,
    rate: float = 1.0,
    volatility: float = 0.1,
    correlation: float = 0.99,
    means: tuple[float, float] = (1.0, -1.0),
    spread: float = 0.5,
    together: float = 0.2,
    noise: float = 0.0,
    seed: int = 0,
) -> Table:
    """Return series of dX = r (m - X) dt + s dW in two dimensions, from X(0) = 0, where dW_1 dW_2 = c dt.

    Over any time h, however long, X(t + h) given X(t) is normal with

        mean m + (X(t) - m) exp(-r h),    covariance s^2 (1 - exp(-2 r h)) / (2 r) [[1, c], [c, 1]],

    from which each value is drawn.

    Args:
        series: how many, N.
        points: times a series, or the least and the greatest number.
        span: length of time; these times lie in [0, span), uniformly at random.
        rate: r, positive.
        volatility: s.
        correlation: c, in [-1, 1].
        means: centres from which m is drawn, of x and y.
        spread: how far from there m may lie, uniformly.
        together: share of the times at which both are seen; at the others it is one of them, each as often.
        noise: standard deviation of what is added to each value.
        seed: of all that is drawn; a series of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> (one,) = ornstein_uhlenbeck(1, points=4, together=0.0).series
        >>> np.isfinite(one.values).sum(1).tolist()
        [1, 1, 1, 1]
    """
    for name, value, held, must in (
        ("rate", rate, rate > 0, "be positive"),
        ("volatility", volatility, volatility >= 0, "not be negative"),
        ("correlation", correlation, -1 <= correlation <= 1, "lie in [-1, 1]"),
        ("spread", spread, spread >= 0, "not be negative"),
    ):
        if not held:
            raise InputError(f"{name}={value!r} is out of range: it must {must}.")
    times, values = [], []
    for generator in streams(series, seed):
        m = np.asarray(means) + generator.uniform(-spread, spread, 2)
        t = uniform_times(generator, points, span)
        x = _path(generator, t, m, rate=rate, volatility=volatility, correlation=correlation)
        times.append(t)
        values.append(observe(generator, x, noise=noise, together=together))
    return to_table(list(UNITS), times, values)


def _path(
    generator: Generator, t: np.ndarray, m: np.ndarray, *, rate: float, volatility: float, correlation: float
) -> np.ndarray:
    """Draw X (L, 2) at the times t (L,), one after the other, from where it starts at time 0."""
    first, second = generator.standard_normal((2, len(t)))
    unit = np.stack([first, correlation * first + np.sqrt(1 - correlation**2) * second], axis=1)
    h = np.diff(t, prepend=0.0)
    decay = np.exp(-rate * h)
    deviation = volatility * np.sqrt(-np.expm1(-2 * rate * h) / (2 * rate))
    x, now = np.empty((len(t), 2)), np.asarray(START)
    for k in range(len(t)):
        now = m + (now - m) * decay[k] + deviation[k] * unit[k]
        x[k] = now
    return x
