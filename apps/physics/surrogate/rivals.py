"""Rivals of a surrogate: other networks that learn beside it from the same batches."""

import inspect
from collections.abc import Mapping
from typing import Any

from integrand.apps.application import load
from integrand.apps.physics.surrogate import TASK
from integrand.apps.physics.surrogate.models.surrogate import Surrogate
from integrand.core.errors import InputError, unknown

RATE = "learning_rate"


def rival(name: str, options: Mapping[str, Any]) -> Surrogate:
    """Return a network by its name and options; its ``learning_rate`` is not one of them.

    Raises:
        InputError: an unknown network or option, or a learning rate that is not positive.
    """
    if name not in TASK.models:
        raise unknown("model.rivals", name, TASK.models)
    kind: type[Surrogate] = load(TASK.models[name])
    known = [*inspect.signature(kind).parameters, RATE]
    for option in options:
        if option not in known:
            raise unknown(f"option of model.rivals.{name}", option, known)
    rate = options.get(RATE, 1.0)
    if not (isinstance(rate, int | float) and rate > 0):
        raise InputError(f"model.rivals.{name}.{RATE}={rate!r} must be positive.")
    return kind(**{option: value for option, value in options.items() if option != RATE})
