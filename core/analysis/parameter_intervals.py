"""Constants of an equation with their intervals of confidence."""

import math
from typing import NamedTuple

from scipy.stats import t as student

from integrand.core.analysis.trajectory_fit import TrajectoryFit
from integrand.core.errors import InputError
from integrand.core.fields.universal import UniversalField


class Interval(NamedTuple):
    """An estimate and the bounds of its interval."""

    estimate: float
    low: float
    high: float


def parameter_intervals(fit: TrajectoryFit, *, level: float = 0.95) -> dict[str, Interval]:
    """Return the constants of a fitted ``UniversalField`` with their intervals, by name.

        theta_k +- q sqrt(C_kk),      q the (1 + level) / 2 quantile of Student's t with the fit's degrees of freedom

    C is the covariance of all that was learned, so that C_kk is the inverse of the Schur complement that eliminates
    everything else: what the remainder could make up for widens the interval. A positive constant has the interval of
    its logarithm, so that both bounds are positive.

    It holds where the field can be the true one, where the noise is independent from one observation to the next,
    and where the solution is about linear in the parameters over the interval. It does not tell of a wrong
    structure: constants that the known part lacks are taken over by the others.

    Args:
        fit: of a ``UniversalField``, or of a field that is made of one.
        level: probability with which an interval covers the truth.

    Raises:
        InputError: another field, a level that is not between 0 and 1, fewer observations than parameters.

    Source: Seber and Wild (1989), Nonlinear regression, Sections 5.1 and 5.2.
    """
    inside = {prefix: each for prefix, each in fit.field.named_modules() if isinstance(each, UniversalField)}
    if len(inside) != 1:
        raise InputError(f"a {type(fit.field).__name__} has no constants to identify: fit a UniversalField.")
    ((prefix, field),) = inside.items()
    if not 0 < level < 1:
        raise InputError(f"level={level!r} is out of range: between 0 and 1, such as 0.95.")
    if not fit.freedom > 0:
        raise InputError(
            "the observations are no more than what was learned from them: give more, or a smaller network."
        )
    quantile = float(student.ppf((1 + level) / 2, fit.freedom))
    found = {}
    for name, value in field.constants().items():
        place = fit.slices[f"{prefix}.raw.{name}".lstrip(".")]
        reach = quantile * float(fit.covariance[place, place].sqrt())
        estimate = float(value.detach())
        if name in field.positive:
            found[name] = Interval(estimate, estimate * math.exp(-reach), estimate * math.exp(reach))
        else:
            found[name] = Interval(estimate, estimate - reach, estimate + reach)
    return found
