"""What a network must know of the stays it is to judge, as plain values that a checkpoint can hold."""

from dataclasses import dataclass, field

from integrand.apps.series.classification.task import ClassificationTask


@dataclass(frozen=True)
class IcuTask(ClassificationTask):
    """Names and scales of the training part, and how records become series.

    ``static`` begins with what is known at admission and ends with ``HOURS_KNOWN``.

    Attributes:
        cutoff: hours since admission after which nothing is known.
        bin: hours of a bin, within which values are averaged.
        outside: what becomes of values beyond their possible range.
        logged: channels whose logarithm log(1 + x) is read.
        of_summary: (F,) means of the summaries of the training part, see ``summaries``.
        size_of_summary: (F,) their standard deviations.
        dated: whether the training data's times were dates, so that a stay begins with its first row.
        folds: into which the training patients are divided, networks of its own for each; 1 for networks of all.
    """

    cutoff: float = 48.0
    bin: float = 1.0
    outside: str = "missing"
    logged: list[str] = field(default_factory=list)
    of_summary: list[float] = field(default_factory=list)
    size_of_summary: list[float] = field(default_factory=list)
    dated: bool = False
    folds: int = 1


HOURS_KNOWN = "share of the hours known"
"""Static feature: the hour up to which a stay is known, over the cutoff."""
