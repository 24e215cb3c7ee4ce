"""What a task tells the instruments of its run: whom to ask, on what, and how answers are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from integrand.apps.analysis.flow import Flow
from integrand.core.analysis import Finding

Ask = Callable[[Any], Tensor]
"""A question to a module like the one examined."""


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    """What may be disturbed before the model is asked.

    Attributes:
        inputs: x, samples first.
        ask: answers to other inputs, ``ask(x)``, with ``mask=`` and ``times=`` where these are given.
        score: of these answers; the subject's own where None.
        loss: of these answers, (B,), which an adversary would raise; None where adversarial steps make no sense.
        what: the inputs, in a few words, such as ``"the context's values"``.
        mask: where x was observed, of its shape; None where nothing can be missing.
        times: of x, (B, L); None where it has none.
    """

    inputs: Tensor
    ask: Callable[..., Tensor]
    what: str
    score: Callable[[Tensor], float] | None = None
    loss: Callable[[Tensor], Tensor] | None = None
    mask: Tensor | None = None
    times: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A trained model, and test samples to ask it about.

    Attributes:
        module: what is asked, in evaluation.
        ask: returns the answers to the samples, of a module like it; in the precision that module has.
        time_unit: what the times of sequences are counted in.
        answers: what they are, in the plural, such as ``"forecasts of 64 test windows"``.
        metric: what ``score`` is.
        better: ``"lower"`` or ``"higher"``.
        score: of answers; None where they have none of their own.
        loss: what training would minimise on some samples, of a module like it; None where it cannot be told.
        equation: what the model solves, in a few words that follow "solutions of".
        channels: names of that equation's state, where they have any.
        flow: that equation with solutions of it; None where it is to be taken from the solves of ``ask``.
        disturbed: what may be disturbed, None for nothing.
        findings: of instruments that this task alone has.
    """

    module: nn.Module
    ask: Ask
    answers: str
    time_unit: str = "units of time"
    metric: str = ""
    better: Literal["lower", "higher"] = "lower"
    score: Callable[[Tensor], float] | None = None
    loss: Ask | None = None
    equation: str = "the learned equation"
    channels: Sequence[str] = ()
    flow: Callable[[], Flow | None] | None = None
    disturbed: Disturbed | None = None
    findings: Callable[[], Sequence[Finding]] = tuple
