"""Splits in time, with a hash that tells two of them apart."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from integrand.core.errors import InputError, unknown

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class ChronologicalSplit:
    """Three spans of time, one after the other; a sample belongs to a part when it lies wholly within it.

    Attributes:
        start: first time of the training part.
        validation: first time of the validation part.
        test: first time of the test part.
        end: end of the test part, itself excluded.
        of: what was split: the data's name and checksum, the sample's shape.
    """

    start: float
    validation: float
    test: float
    end: float
    of: dict[str, str | float | int]

    def __post_init__(self) -> None:
        if not self.start < self.validation < self.test < self.end:
            raise InputError(
                f"the parts of a split must follow one another, got start {self.start:g}, validation "
                f"{self.validation:g}, test {self.test:g}, end {self.end:g}."
            )

    def span(self, part: str) -> tuple[float, float]:
        """Return the first time of a part and the end of it, itself excluded."""
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        bounds = (self.start, self.validation, self.test, self.end)
        index = PARTS.index(part)
        return bounds[index], bounds[index + 1]

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the bounds and what was split."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def chronological(
    start: float, end: float, fractions: tuple[float, float, float], of: dict[str, str | float | int]
) -> ChronologicalSplit:
    """Divide the time from start to end, both included, by ``fractions`` (training, validation, test).

    Example:
        >>> chronological(0, 100, (0.5, 0.25, 0.25), {}).span("validation")
        (50.0, 75.0)
    """
    if len(fractions) != 3 or not (min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-6):
        raise InputError(f"split fractions must be three positive numbers that add up to 1, got {fractions}.")
    first, second = fractions[0], fractions[0] + fractions[1]
    length = end - start
    # The last stamp belongs to the test part, so that part ends just past it.
    return ChronologicalSplit(
        float(start), start + length * first, start + length * second, math.nextafter(float(end), math.inf), of
    )
