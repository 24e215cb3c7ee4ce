"""A correspondence between an architecture and an equation, as a test that measures how far the two are apart.

A file of ``tests/theory`` states each one above the function that measures it:

    @correspondence(
        architecture="residual network",
        explains=("ResidualStack",),
        level="model",
        equation="dy/dt = f(t, y)",
        discretisation="forward Euler, unit steps",
        follows="depth is time: more layers with smaller steps approach one function",
        source="E (2017), A proposal on machine learning via dynamical systems, Section 2",
        tolerance=1e-12,
    )
    def test_a_residual_network_is_forward_euler() -> float:
        ...
        return largest_difference

Both sides are found independently: never the code's own formula again. The decorated function is an ordinary test that
fails above the tolerance; the map of architectures is written from the same statements and what they measure.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["model", "layer", "sampler", "field", "training"]


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """One row of the map.

    Attributes:
        name: the test's, without ``test_``.
        architecture: what a practitioner calls it.
        explains: public names of this package that the row tells of.
        level: at which it is an equation.
        equation: it.
        discretisation: how the architecture solves it; "exact" where nothing is approximated.
        follows: what the view gives that the architecture alone does not tell.
        source: author, year, equation.
        tolerance: that the measured error must not exceed.
        error_of: what is measured.
        measure: finds the error.
    """

    name: str
    architecture: str
    explains: tuple[str, ...]
    level: Level
    equation: str
    discretisation: str
    follows: str
    source: str
    tolerance: float
    error_of: str
    measure: Callable[[], float]


CORRESPONDENCES: dict[str, Correspondence] = {}
"""Those of the modules imported so far, by name."""


def correspondence(
    *,
    architecture: str,
    explains: tuple[str, ...] = (),
    level: Level,
    equation: str,
    discretisation: str,
    follows: str,
    source: str,
    tolerance: float,
    error_of: str = "largest difference, relative to the largest value",
) -> Callable[[Callable[[], float]], Callable[[], None]]:
    """State what the decorated test measures, and make it fail above the tolerance."""

    def stated(measure: Callable[[], float]) -> Callable[[], None]:
        name = measure.__name__.removeprefix("test_")
        CORRESPONDENCES[name] = Correspondence(
            name=name,
            architecture=architecture,
            explains=explains,
            level=level,
            equation=equation,
            discretisation=discretisation,
            follows=follows,
            source=source,
            tolerance=tolerance,
            error_of=error_of,
            measure=measure,
        )

        @functools.wraps(measure)
        def test() -> None:
            error = measure()
            assert error <= tolerance, f"{name}: error {error:.3g} above {tolerance:.3g}"

        return test

    return stated
