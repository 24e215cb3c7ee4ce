"""An exponential moving average of parameters."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Parameter


class ExponentialMovingAverage:
    """The average theta_bar <- d theta_bar + (1 - d) theta, with a warm-up d = min(decay, (1 + n) / (4 + n)).

    The warm-up makes it the average over about the last third of the steps so far, until the decay's own length is
    reached: early averages forget the random start, and short trainings average much. One fused call updates all
    parameters; nothing waits for the device.

    Args:
        parameters: what is averaged; the average starts from their present values.
        decay: limit of d, between 0 and 1.

    Source: Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging; a decay that grows with n
    as in TensorFlow's ExponentialMovingAverage, there with 10 in place of 4.
    """

    def __init__(self, parameters: Iterable[Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.updates = 0
        self.average = [p.detach().clone() for p in self.parameters]
        self.swapped = False

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are into the average."""
        decay = min(self.decay, (1 + self.updates) / (4 + self.updates))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.updates += 1

    @torch.no_grad()
    def restart(self, parameters: Iterable[Parameter]) -> None:
        """Begin the average of some of the parameters anew from their present values."""
        own = {id(parameter) for parameter in parameters}
        for parameter, average in zip(self.parameters, self.average, strict=True):
            if id(parameter) in own:
                average.copy_(parameter.detach())

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange parameters and average, in place."""
        for parameter, average in zip(self.parameters, self.average, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
        self.swapped = not self.swapped

    def raw(self) -> list[Tensor]:
        """Return the parameters being trained, whichever way round they are."""
        return self.average if self.swapped else [p.detach() for p in self.parameters]

    def averaged(self) -> list[Tensor]:
        """Return the average, whichever way round it is."""
        return [p.detach() for p in self.parameters] if self.swapped else self.average
