"""What a network must know of the waveforms that it is to read, as plain values that a checkpoint can hold."""

from dataclasses import asdict, dataclass
from typing import Any

from integrand.core.errors import unknown

GOALS = ("denoising", "detection")
"""The clean signal; the beats."""


@dataclass(frozen=True)
class WaveformTask:
    """How the training part was recorded, and what is asked of it.

    Attributes:
        goal: one of ``GOALS``.
        rate: Hz.
        seconds: of a piece.
        leads: names of those learned from.
        simulated: whether they were made and not measured.
    """

    goal: str
    rate: float
    seconds: float
    leads: list[str]
    simulated: bool

    def __post_init__(self) -> None:
        if self.goal not in GOALS:
            raise unknown("goal", self.goal, GOALS)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``WaveformTask(**values)`` makes the task again."""
        return asdict(self)
