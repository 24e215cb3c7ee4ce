"""What a classifier must know of its data, as plain values that a checkpoint can hold."""

from dataclasses import asdict, dataclass, field
from typing import Any

from integrand.core.errors import InputError


@dataclass(frozen=True)
class ClassificationTask:
    """Names, scales and times of the training part.

    Attributes:
        channels: names of the C channels.
        classes: names of the K classes, in the order of the scores.
        location: (C,) means of the observed training values.
        scale: (C,) their standard deviations, 1 where a channel is constant.
        resolution: median interval between elements, in time units; the unit in which networks count time.
        elements: elements of the longest training series.
        complete: whether every value of every training series was observed.
        static: names of the S static features.
        static_location, static_scale: (S,) of these.
        time_unit: name of the unit of the times; empty where the data name none.
    """

    channels: list[str]
    classes: list[str]
    location: list[float]
    scale: list[float]
    resolution: float
    elements: int
    complete: bool
    static: list[str] = field(default_factory=list)
    static_location: list[float] = field(default_factory=list)
    static_scale: list[float] = field(default_factory=list)
    time_unit: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(f"classification needs two classes or more, the training part has {self.classes}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``ClassificationTask(**values)`` makes the task again."""
        return asdict(self)
