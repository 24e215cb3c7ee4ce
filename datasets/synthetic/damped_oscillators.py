"""Damped harmonic oscillators, of which the position alone is seen: an equation of second order.

Source: Norcliffe, Bodnar, Day, Simidjievski and Lio (2020), On second order behaviour in augmented neural ODEs,
Section 5 (one equation, many initial values; here frequency and damping may vary, too).
"""

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.synthetic.sampling import between, observe, streams, to_table, uniform_times
from integrand.datasets.tables import Table

UNITS = {"x": ""}
TARGETS = tuple(UNITS)


def damped_oscillators(
    series: int = 1000,
    *,
    points: int | tuple[int, int] = 100,
    span: float = 20.0,
    frequency: tuple[float, float] = (0.5, 1.5),
    damping: tuple[float, float] = (0.02, 0.2),
    noise: float = 0.02,
    seed: int = 0,
) -> Table:
    """Return series of the position x of x'' + 2 g x' + (w^2 + g^2) x = 0, whose solution is

        x(t) = exp(-g t) (x_0 cos w t + (v_0 + g x_0) / w sin w t),

    with x_0 and v_0 standard normal, and w and g drawn for each.

    Args:
        series: how many, N.
        points: times a series, or the least and the greatest number.
        span: length of time; these times lie in [0, span), uniformly at random.
        frequency: bounds of the angular frequency w, positive, drawn uniformly.
        damping: bounds of the rate g, likewise; 0 is a harmonic oscillator.
        noise: standard deviation of what is added to each value.
        seed: of all that is drawn; a series of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> (one,) = damped_oscillators(1, points=50, noise=0.0).series
        >>> one.values.shape, bool((np.diff(one.times) > 0).all())
        ((50, 1), True)
    """
    if not frequency[0] > 0 or not damping[0] >= 0:
        raise InputError(
            f"frequency={frequency!r}, damping={damping!r} is out of range: frequencies must be positive, rates of "
            "damping not negative."
        )
    times, values = [], []
    for generator in streams(series, seed):
        w = between(generator, frequency, "frequency")
        g = between(generator, damping, "damping")
        x_0, v_0 = generator.standard_normal(2)
        t = uniform_times(generator, points, span)
        x = np.exp(-g * t) * (x_0 * np.cos(w * t) + (v_0 + g * x_0) / w * np.sin(w * t))
        times.append(t)
        values.append(observe(generator, x[:, None], noise=noise))
    return to_table(list(UNITS), times, values)
