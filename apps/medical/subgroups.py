"""Patients by age and sex, so that a score can be told for each."""

from collections.abc import Sequence

import numpy as np

Array = np.ndarray
AGES = (40, 65)
"""Years at which the bands of age begin after the first."""
UNKNOWN = "not stated"


def by_age_and_sex(ages: Sequence[float | None], sexes: Sequence[str | None]) -> dict[str, Array]:
    """Return which samples belong to each subgroup, (N,) bool by name; only those that there are.

    Args:
        ages: (N) years, None where not stated.
        sexes: (N) ``"F"``, ``"M"`` or None.

    Example:
        >>> {name: rows.tolist() for name, rows in by_age_and_sex([30, 70, None], ["F", "M", "F"]).items()}
        {'women': [True, False, True], 'men': [False, True, False], 'under 40': [True, False, False], '65 and over': \
[False, True, False], 'age not stated': [False, False, True]}
    """
    age = np.array([np.nan if one is None else one for one in ages], dtype=np.float64)
    sex = np.array(["" if one is None else one for one in sexes])
    low, high = AGES
    groups = {
        "women": sex == "F",
        "men": sex == "M",
        f"sex {UNKNOWN}": sex == "",
        f"under {low}": age < low,
        f"{low} to {high - 1}": (age >= low) & (age < high),
        f"{high} and over": age >= high,
        f"age {UNKNOWN}": np.isnan(age),
    }
    return {name: rows for name, rows in groups.items() if rows.any()}
