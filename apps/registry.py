"""The applications there are. A new one is a folder and a line here."""

import importlib

from integrand.apps.application import Application
from integrand.core.errors import unknown

APPLICATIONS: dict[str, str] = {
    "timeseries": "integrand.apps.timeseries",
    "physics": "integrand.apps.physics",
    "generation": "integrand.apps.generation",
    "medical": "integrand.apps.medical",
}
"""Applications by name, each the package whose ``APPLICATION`` declares it; importing one imports nothing heavy."""


def application(name: str) -> Application:
    """Return the application called ``name``.

    Raises:
        InputError: there is none of that name; the message names the nearest.

    Example:
        >>> application("timeseries").default_recipe
        'weather'
    """
    if name not in APPLICATIONS:
        raise unknown("application", name, APPLICATIONS)
    return importlib.import_module(APPLICATIONS[name]).APPLICATION


def applications() -> tuple[Application, ...]:
    """Return every application, in the order of ``APPLICATIONS``."""
    return tuple(application(name) for name in APPLICATIONS)
