"""How made series are observed: each by its own random numbers, at random times, with noise, some channels at a time.

Dimension letters: N series, L times of a series, C channels.
"""

from collections.abc import Sequence

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.tables import Series, Table

Array = np.ndarray
Generator = np.random.Generator


def streams(series: int, seed: int) -> list[Generator]:
    """Return the random numbers of each series; those of series i depend on (seed, i) alone, not on how many there are.

    Raises:
        InputError: less than one series, or a negative seed.
    """
    if series < 1:
        raise InputError(f"series={series!r} is out of range: ask for at least 1.")
    if seed < 0:
        raise InputError(f"seed={seed!r} is out of range: it must not be negative.")
    return [Generator(np.random.Philox(key=[seed, i])) for i in range(series)]


def between(generator: Generator, bounds: tuple[float, float], name: str) -> float:
    """Draw a parameter uniformly between its bounds, which may be equal.

    Raises:
        InputError: the first bound is above the second; ``name`` is the option to blame.
    """
    low, high = bounds
    if not low <= high:
        raise InputError(f"{name}={bounds!r} is out of range: give the lower bound first.")
    return float(generator.uniform(low, high))


def uniform_times(generator: Generator, points: tuple[int, int] | int, span: float) -> Array:
    """Draw times (L,), independent and uniform over [0, span), in order: a Poisson process of a given number of events.

    Args:
        generator: where the numbers come from.
        points: how many, or the least and the greatest number, between which it is drawn.
        span: length of time.

    Raises:
        InputError: less than two points, bounds in the wrong order, or no span.
    """
    low, high = (points, points) if isinstance(points, int) else points
    if not 2 <= low <= high:
        raise InputError(f"points={points!r} is out of range: at least 2 a series, the lower bound first.")
    if not span > 0:
        raise InputError(f"span={span!r} is out of range: it must be positive.")
    return np.sort(generator.uniform(0.0, span, int(generator.integers(low, high, endpoint=True))))


def observe(generator: Generator, truth_LC: Array, *, noise: float, together: float = 1.0) -> Array:
    """Return what is seen (L, C) of a series: with Gaussian noise, NaN where a channel is not observed.

    Args:
        generator: where the numbers come from.
        truth_LC: the series.
        noise: standard deviation of the noise.
        together: share of the times at which all channels are seen; at the others it is one, each as often.

    Raises:
        InputError: negative noise, or a share out of range.
    """
    if not noise >= 0:
        raise InputError(f"noise={noise!r} is out of range: it must not be negative.")
    if not 0 <= together <= 1:
        raise InputError(f"together={together!r} is out of range: a share lies in [0, 1].")
    length, channels = truth_LC.shape
    seen_LC = truth_LC + noise * generator.standard_normal((length, channels))
    alone_L = generator.random(length) >= together
    only_L = generator.integers(channels, size=length)
    return np.where(alone_L[:, None] & (np.arange(channels) != only_L[:, None]), np.nan, seen_LC)


def to_table(channels: Sequence[str], times: Sequence[Array], values: Sequence[Array]) -> Table:
    """Return the table of made series, ``times (L,)`` and ``values (L, C)`` of each; the groups are 0, 1, 2 and on."""
    series = [
        Series(str(i), times_L, values=values_LC.astype(np.float32))
        for i, (times_L, values_LC) in enumerate(zip(times, values, strict=True))
    ]
    return Table(
        series,
        list(channels),
        time_unit="1",
        epoch=None,
        timezone=None,
        time_column="time",
        layout="wide",
        group_column="series",
        notices=[],
    )
