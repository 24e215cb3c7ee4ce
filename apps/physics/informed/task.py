"""What a network is trained for: which problem, which of its parameters are sought."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from integrand.apps.physics.informed.problems.problem import Problem
from integrand.apps.physics.informed.problems.registry import problem


@dataclass(frozen=True)
class InformedTask:
    """A problem to be solved, as plain values that a checkpoint can hold.

    Attributes:
        problem: its name.
        parameters: the values of all its parameters; of those that are sought the true ones, which only the test sees.
        guesses: where the search for each sought parameter begins.
    """

    problem: str
    parameters: dict[str, float]
    guesses: dict[str, float] = field(default_factory=dict)

    @property
    def of(self) -> Problem:
        """The problem itself."""
        return problem(self.problem)

    @property
    def unknown(self) -> Sequence[str]:
        """Names of the parameters that are sought."""
        return tuple(self.guesses)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, as the constructor takes them."""
        return asdict(self)
