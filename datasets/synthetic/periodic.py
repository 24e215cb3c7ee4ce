"""Sine waves of random frequency and amplitude, seen at random times.

Source: Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time series,
Section 4.1, and the code published with it (https://github.com/YuliaRubanova/latent_ode), whose frequencies these are.
"""

import numpy as np

from integrand.datasets.synthetic.sampling import between, observe, streams, to_table, uniform_times
from integrand.datasets.tables import Table

UNITS = {"x": ""}
TARGETS = tuple(UNITS)


def periodic(
    series: int = 1000,
    *,
    points: int | tuple[int, int] = 100,
    span: float = 5.0,
    frequency: tuple[float, float] = (0.4, 0.8),
    amplitude: tuple[float, float] = (1.0, 1.0),
    level: float = 0.1,
    noise: float = 0.01,
    seed: int = 0,
) -> Table:
    """Return series of x(t) = c + A sin(2 pi f t), with f, A and c drawn for each.

    Args:
        series: how many, N.
        points: times a series, or the least and the greatest number.
        span: length of time; these times lie in [0, span), uniformly at random.
        frequency: bounds of f, drawn uniformly.
        amplitude: bounds of A, likewise; the paper's are all 1.
        level: standard deviation of c.
        noise: standard deviation of what is added to each value.
        seed: of all that is drawn; a series of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> table = periodic(3, points=20)
        >>> [one.values.shape for one in table.series]
        [(20, 1), (20, 1), (20, 1)]
    """
    times, values = [], []
    for generator in streams(series, seed):
        f = between(generator, frequency, "frequency")
        a = between(generator, amplitude, "amplitude")
        c = level * generator.standard_normal()
        t = uniform_times(generator, points, span)
        times.append(t)
        values.append(observe(generator, (c + a * np.sin(2 * np.pi * f * t))[:, None], noise=noise))
    return to_table(list(UNITS), times, values)
