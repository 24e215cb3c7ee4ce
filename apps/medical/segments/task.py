"""What a network must know of the segments it is to label, as plain values that a checkpoint can hold."""

from dataclasses import asdict, dataclass
from typing import Any

from integrand.core.errors import InputError


@dataclass(frozen=True)
class SegmentTask:
    """Names, units and scales of the training part.

    Attributes:
        classes: names of the K classes or labels, in the order of the scores.
        several: whether any number of them may hold at once; else exactly one does.
        leads: names of the C leads, in the order of the channels.
        rate: Hz of the segments.
        samples: L of a segment.
        size: (C,) deviation of each lead, mV.
        shares: (K,) of the segments in which each holds.
        beats: whether beats are marked in every training segment.
        interval_location, interval_scale: mean and deviation of the logarithm of the intervals between beats in
            seconds; 0 and 1 where none are marked.
        simulated: whether the training segments were made and not measured.
    """

    classes: list[str]
    several: bool
    leads: list[str]
    rate: float
    samples: int
    size: list[float]
    shares: list[float]
    beats: bool
    interval_location: float
    interval_scale: float
    simulated: bool

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(f"labelling segments needs two classes or more, the training part has {self.classes}.")

    @property
    def seconds(self) -> float:
        """How long a segment is."""
        return self.samples / self.rate

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``SegmentTask(**values)`` makes the task again."""
        return asdict(self)
