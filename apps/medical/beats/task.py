"""What a network must know of the beats it is to name, as plain values that a checkpoint can hold."""

from dataclasses import asdict, dataclass
from typing import Any

from integrand.core.errors import InputError


@dataclass(frozen=True)
class BeatTask:
    """Names, units and scales of the training part.

    Attributes:
        classes: names of the K classes, in the order of the scores.
        leads: names of the C leads, in the order of the channels.
        rate: Hz of the windows.
        window: samples of a window.
        context: beats that are seen together.
        causal: whether nothing after a beat's window is used.
        features: names of the F features.
        location, scale: (F,) means and deviations of the features.
        shares: (K,) of the classes.
        learned_shares: (K,) the same with variations, which do not tell how often a class comes.
        folds: into which the training patients are divided, a network for each; 1 for one network of all.
    """

    classes: list[str]
    leads: list[str]
    rate: float
    window: int
    context: int
    causal: bool
    features: list[str]
    location: list[float]
    scale: list[float]
    shares: list[float]
    learned_shares: list[float]
    folds: int = 1

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(f"naming beats needs two classes or more, the training part has {self.classes}.")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which ``BeatTask(**values)`` makes the task again."""
        return asdict(self)
