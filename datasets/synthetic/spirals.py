"""Arcs of two spirals in the plane, one run through clockwise and one counter-clockwise, seen at random times.

Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Section 5.1, and the
example published with torchdiffeq (https://github.com/rtqichen/torchdiffeq, ``latent_ode.py``), whose values these are.
"""

import math

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.synthetic.sampling import observe, streams, to_table, uniform_times
from integrand.datasets.tables import Table

UNITS = {"x": "", "y": ""}
TARGETS = tuple(UNITS)
WHOLE = 6 * math.pi  # three turns
PITCH, REACH, CENTRE = 0.3, 15.0, 5.0


def spirals(
    series: int = 1000,
    *,
    points: int | tuple[int, int] = 100,
    span: float = 1.2 * math.pi,
    noise: float = 0.3,
    seed: int = 0,
) -> Table:
    """Return series of (x, y), each an arc of one of two spirals, chosen at random.

    With an angle u from 0 to 6 pi the spirals are

        counter-clockwise   (5, 0) + r (cos u, sin u),     r = 0.3 u,
        clockwise           (-5, 0) + r (cos v, sin v),    r = 15 / v,    v = 6 pi + 1 - u,

    and time is the angle run through since the arc began, which it does at a random u between ``span`` and
    6 pi - ``span``.

    Args:
        series: how many, N.
        points: times a series, or the least and the greatest number.
        span: length of an arc, in radians; the times lie in [0, span), uniformly at random.
        noise: standard deviation of what is added to each value.
        seed: of all that is drawn; a series of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> table = spirals(2, points=30)
        >>> table.channels, table.series[0].values.shape
        (['x', 'y'], (30, 2))
    """
    if not 0 < span <= WHOLE / 2:
        raise InputError(f"span={span!r} is out of range: an arc is positive and at most 3 pi, half of its spiral.")
    times, values = [], []
    for generator in streams(series, seed):
        clockwise = generator.random() < 0.5
        start = generator.uniform(span, WHOLE - span)
        t = uniform_times(generator, points, span)
        u = start + t
        angle = WHOLE + 1 - u if clockwise else u
        radius = REACH / angle if clockwise else PITCH * angle
        centre = -CENTRE if clockwise else CENTRE
        xy = np.stack([centre + radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        times.append(t)
        values.append(observe(generator, xy, noise=noise))
    return to_table(list(UNITS), times, values)
