"""The problems there are, by name. A new one is a file and a line here."""

import importlib

from integrand.apps.physics.informed.problems.problem import Problem
from integrand.core.errors import unknown

_IN = "integrand.apps.physics.informed.problems"
PROBLEMS: dict[str, str] = {
    "burgers_shock": f"{_IN}.burgers:Burgers",
    "heat_rod": f"{_IN}.heat:Heat",
    "vibrating_string": f"{_IN}.wave:Wave",
    "helmholtz": f"{_IN}.helmholtz:Helmholtz",
    "oscillator": f"{_IN}.oscillator:Oscillator",
}
"""Problems by name, ``"module:class"``; each is built without arguments."""


def problem(name: str) -> Problem:
    """Return the problem called ``name``.

    Raises:
        InputError: there is none of that name; the message names the nearest.

    Example:
        >>> problem("heat_rod").inputs
        ('x', 't')
    """
    path = PROBLEMS.get(name.strip().lower().replace("-", "_"))
    if path is None:
        raise unknown("problem", name, PROBLEMS)
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)()
