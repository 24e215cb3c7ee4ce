"""Ringdowns: how struck resonators die away, each sampled at the same regular times.

Source: of the equation, any text on the damped harmonic oscillator; the name as in Berti, Cardoso and Starinets (2009),
Quasinormal modes of black holes and black branes, Section 1.
"""

import numpy as np

from integrand.core.errors import InputError
from integrand.datasets.samples import Samples
from integrand.datasets.synthetic.sampling import between, streams

SAMPLES = 2500
CLASSES = ("light", "heavy")
DAMPING = ((0.02, 0.1), (0.3, 0.6))
"""Bounds of the rate g of each class."""
FREQUENCY = (1.0, 3.0)
"""Bounds of the angular frequency w."""
SPAN = 12.8


def ringdowns(*, samples: int = SAMPLES, points: int = 64, noise: float = 0.05, seed: int = 0) -> Samples:
    """Return series (N, 1, L) of the position of a damped oscillator, lightly or heavily damped, with noise,

        x(t) = exp(-g t) (a cos w t + b sin w t) + noise,     t = 0, h, 2 h, ...,     h = 12.8 / L,

    with a and b standard normal, w uniform on (1, 3), and g uniform on (0.02, 0.1) for the class ``light`` and on
    (0.3, 0.6) for ``heavy``; the classes take turns.

    Args:
        samples: how many, N.
        points: elements L of a series.
        noise: standard deviation of what is added to each value; without any they fill four dimensions of L.
        seed: of all that is drawn; sample i of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> few = ringdowns(samples=4)
        >>> few.values.shape, few.kind, few.labels.tolist()
        ((4, 1, 64), 'series', [0, 1, 0, 1])
    """
    for name, value, held, must in (
        ("points", points, points >= 4, "be at least 4"),
        ("noise", noise, 0 <= noise < np.inf, "not be negative"),
    ):
        if not held:
            raise InputError(f"ringdowns: {name}={value!r} is out of range: it must {must}.")
    t = SPAN / points * np.arange(points)
    values = np.empty((max(samples, 0), 1, points), np.float32)
    for i, generator in enumerate(streams(samples, seed)):
        w = between(generator, FREQUENCY, "frequency")
        g = between(generator, DAMPING[i % len(DAMPING)], "damping")
        a, b = generator.standard_normal(2)
        x = np.exp(-g * t) * (a * np.cos(w * t) + b * np.sin(w * t))
        values[i, 0] = x + noise * generator.standard_normal(points)
    return Samples(
        name="ringdowns",
        kind="series",
        values=values,
        labels=np.arange(samples, dtype=np.int64) % len(CLASSES),
        classes=CLASSES,
        channels=("x",),
    )
