"""What an instrument says of a model: a verdict, a sentence in plain words, and the numbers it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["sound", "doubtful", "flawed", "told"]
"""``"told"`` is for what is neither good nor bad, such as a spectrum; the others are in order of concern."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of an audit.

    Attributes:
        instrument: which instrument speaks, such as ``"solver audit"``.
        verdict: whether to rely on what was examined.
        statement: one or two sentences for a reader who does not know the instrument, numbers included.
        numbers: what the verdict rests on, by name.
        rows: a table behind it, a mapping from column to value for each row; all rows have the same columns.
    """

    instrument: str
    verdict: Verdict
    statement: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[Mapping[str, float | str], ...] = ()
