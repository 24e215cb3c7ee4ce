"""Bounds of what a patient can show, and what becomes of values beyond them.

A pH of 735, or an arterial pressure of 0 from a line that came off, is an error of entry. The bounds are ours: wide
enough for the sickest patient, chosen from what the variables mean and without looking at outcomes, and not those of
any published score.

Dimension letters: L elements, C channels.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from integrand.core.errors import unknown

Array = np.ndarray
Outside = Literal["missing", "clip", "keep"]
POLICIES: tuple[str, ...] = get_args(Outside)
"""What becomes of a value beyond the bounds: it counts as missing, is moved to the nearer bound, or stays."""


class Range(NamedTuple):
    """Least and greatest possible value, and their unit."""

    low: float
    high: float
    unit: str


RANGES: dict[str, Range] = {
    "DiasABP": Range(10, 200, "mmHg"),
    "HR": Range(10, 300, "1/min"),
    "MAP": Range(10, 250, "mmHg"),
    "NIDiasABP": Range(10, 200, "mmHg"),
    "NIMAP": Range(10, 250, "mmHg"),
    "NISysABP": Range(20, 300, "mmHg"),
    "PaCO2": Range(5, 200, "mmHg"),
    "PaO2": Range(10, 700, "mmHg"),
    "RespRate": Range(1, 100, "1/min"),
    "SysABP": Range(20, 300, "mmHg"),
    "Temp": Range(25, 45, "degrees Celsius"),
    "Weight": Range(20, 400, "kg"),
    "pH": Range(6.5, 8.0, "1"),
    "Height": Range(100, 230, "cm"),
}
"""Bounds by the names of PhysioNet/CinC Challenge 2012; a variable that is not here has none but those of its kind."""


def require_policy(outside: str) -> None:
    """Demand a known policy; raise ``InputError`` otherwise."""
    if outside not in POLICIES:
        raise unknown("policy for values outside their range", outside, POLICIES)


def within_ranges(
    values: Array, channels: Sequence[str], *, outside: str = "missing", ranges: Mapping[str, Range] = RANGES
) -> tuple[Array, dict[str, int]]:
    """Apply a policy to values beyond their bounds; return the values, and how many were beyond by channel.

    Args:
        values: (L, C), NaN where missing; left as they are.
        channels: (C,) names; those that ``ranges`` lacks are not looked at. Case does not matter.
        outside: one of ``POLICIES``.
        ranges: the bounds.

    Raises:
        InputError: an unknown policy.

    Example:
        >>> found, beyond = within_ranges(np.array([[7.4, 80.0], [735.0, 90.0]]), ["pH", "HR"])
        >>> found.tolist(), beyond
        ([[7.4, 80.0], [nan, 90.0]], {'pH': 1})
    """
    require_policy(outside)
    known = {name.lower(): bounds for name, bounds in ranges.items()}
    values, beyond = values.copy(), {}
    for place, name in enumerate(channels):
        bounds = known.get(name.lower())
        if bounds is None:
            continue
        column = values[:, place]
        wrong = (column < bounds.low) | (column > bounds.high)  # NaN is neither
        if wrong.any():
            beyond[name] = int(wrong.sum())
            if outside == "missing":
                column[wrong] = np.nan
            elif outside == "clip":
                column[wrong] = column[wrong].clip(bounds.low, bounds.high)
    return values, beyond


def told(beyond: Mapping[str, int], outside: str) -> list[str]:
    """Return a line on how many values were beyond their bounds and what became of them; none where there were none.

    Example:
        >>> told({"pH": 3, "HR": 1}, "clip")
        ['4 impossible values are moved to the nearer end of their range, most of pH']
    """
    if not beyond:
        return []
    became = {
        "missing": "count as missing",
        "clip": "are moved to the nearer end of their range",
        "keep": "are kept as they stand",
    }
    most = max(beyond, key=beyond.__getitem__)
    return [f"{sum(beyond.values()):,} impossible values {became[outside]}, most of {most}"]
