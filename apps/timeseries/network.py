"""The Gaussian answer of networks that forecast and impute."""

from dataclasses import dataclass, fields, replace
from typing import Self

from torch import Tensor

from integrand.core.numerics import SolverStats


@dataclass(frozen=True)
class GaussianAnswer:
    """A Gaussian for every channel at every time asked, in standardised units: (B, Q, K).

    Attributes:
        mean: (B, Q, K).
        std: (B, Q, K), positive.
        penalty: (B,) what the loss adds for this sample, such as a divergence from the prior; None for nothing.
        stats: work of the solver; None where no equation is solved step by step.
    """

    mean: Tensor
    std: Tensor
    penalty: Tensor | None
    stats: SolverStats | None

    def cpu(self) -> Self:
        """Return the answer with its tensors on the host."""
        moved = {f.name: value.cpu() for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        return replace(self, **moved)
