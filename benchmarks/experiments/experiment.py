"""A paired experiment: the same problem and seed, solved without and with one tool of differential equations."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What one training and its test gave.

    Attributes:
        error: on test data, less is better; what it is of, the experiment says.
        evaluations: of the network, for one sample of the test data.
        seconds: CPU seconds of the training, or of sampling where nothing is trained.
        robustness: error where the data or the solver are disturbed as the experiment says; None where it says nothing.
    """

    error: float
    evaluations: float
    seconds: float
    robustness: float | None = None


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One tool on one problem.

    Attributes:
        tool: what is judged.
        problem: on which data, with which network, one line.
        without, with_: the two ways that are compared.
        error_of: what ``Outcome.error`` is.
        robustness_of: what ``Outcome.robustness`` is, "" where it is not measured.
        source: author, year, title.
        run: trains and tests with a seed, without or with the tool.
        seeds: how many pairs.
        note: what a reader must know beside.
        quick: the same in a few seconds, to prove that it runs; ``run`` itself where None.
    """

    tool: str
    problem: str
    without: str
    with_: str
    error_of: str
    source: str
    run: Callable[[int, bool], Outcome]
    robustness_of: str = ""
    seeds: int = 5
    note: str = ""
    quick: Callable[[int, bool], Outcome] | None = None
