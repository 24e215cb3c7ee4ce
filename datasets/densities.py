"""The densities in the plane that there are, by name. A new one is a file and a line here.

Importing this imports none of them.
"""

import importlib
import inspect

import numpy as np

from integrand.core.errors import InputError, unknown
from integrand.datasets.samples import Samples
from integrand.datasets.synthetic.planar.density import Density

_IN = "integrand.datasets.synthetic.planar"
DENSITIES: dict[str, str] = {
    "ring": f"{_IN}.ring:Ring",
    "eight_gaussians": f"{_IN}.eight_gaussians:EightGaussians",
    "moons": f"{_IN}.moons:Moons",
    "smeared_moons": f"{_IN}.smeared_moons:SmearedMoons",
    "checkerboard": f"{_IN}.checkerboard:Checkerboard",
    "pinwheel": f"{_IN}.pinwheel:Pinwheel",
    "swiss_roll": f"{_IN}.swiss_roll:SwissRoll",
    "rings": f"{_IN}.rings:Rings",
    "two_spirals": f"{_IN}.two_spirals:TwoSpirals",
}
"""Densities by name, ``"module:class"``; each can be built without arguments."""
SAMPLES = 10_000
"""How many samples are drawn unless told otherwise."""


def density(name: str, **numbers: float) -> Density:
    """Return the density called ``name``; upper and lower case, ``-`` and ``_`` are the same.

    Args:
        name: one of ``DENSITIES``.
        numbers: such as the ``noise`` of ``moons``, see the class.

    Raises:
        InputError: there is none of that name, or it has no such number; the message names the nearest.

    Example:
        >>> density("moons", noise=0.2).deviation
        0.2
    """
    key = name.strip().lower().replace("-", "_")
    path = DENSITIES.get(key)
    if path is None:
        raise unknown("density", name, DENSITIES)
    module, _, attribute = path.partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    known = list(inspect.signature(kind).parameters)
    for word, value in numbers.items():
        if word not in known:
            raise unknown(f"option of {key}", word, ["samples", "seed", *known])
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{key}: {word}={value!r} is out of range: give a number.")
    return kind(**numbers)


def sampled(name: str, *, samples: int = SAMPLES, seed: int = 0, **numbers: float) -> Samples:
    """Draw independent samples of a density, with its logarithm where that is known.

    Args:
        name: one of ``DENSITIES``.
        samples: how many, N.
        seed: of all that is drawn; sample i of a seed is the same however many are asked for.
        numbers: those of the density that are not to have their default.

    Raises:
        InputError: an unknown name or number, or one out of range.

    Example:
        >>> ring = sampled("ring", samples=5)
        >>> ring.values.shape, ring.log_density(np.zeros((1, 2))).shape
        ((5, 2), (1,))
    """
    made = density(name, **numbers)
    draws = made.draw(samples, seed)
    return Samples(
        name=made.name,
        kind="points",
        values=draws.values.astype(np.float32),
        labels=draws.labels if made.classes else None,
        classes=made.classes,
        log_density=made.log_density if made.exact else None,
    )
