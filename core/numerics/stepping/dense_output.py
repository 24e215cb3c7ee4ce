"""A solution between its output times, of the method's own order."""

import torch
from torch import Tensor

from integrand.core.numerics.methods.stepper import Stepper
from integrand.core.numerics.stepping.walk import StepTaken


class DenseOutput:
    """The solution as one polynomial a step: y(t + theta h) = y + h sum_i b_i(theta) k_i.

    Times outside the solved interval are extrapolated from its first or last step.

    Args:
        steps: the steps of a walk that kept their states and slopes.
        stepper: the method that took them.
    """

    def __init__(self, steps: list[StepTaken], stepper: Stepper) -> None:
        self.stepper = stepper
        self.sign = 1.0 if steps[-1].end > steps[0].start else -1.0
        self.y_SB = torch.stack([step.y for step in steps if step.y is not None])
        self.k_SKB = torch.stack([torch.stack(step.slopes) for step in steps])
        self.t_S = torch.stack([step.t for step in steps])
        self.h_S = torch.stack([step.h for step in steps])

    def __call__(self, t_BQ: Tensor) -> Tensor:
        """Return the states at times (B, Q), as (B, Q, ...)."""
        batch = torch.arange(t_BQ.shape[0], device=t_BQ.device).unsqueeze(1)
        starts = (self.t_S * self.sign).detach().contiguous()
        place = torch.searchsorted(starts, (t_BQ * self.sign).contiguous(), right=True) - 1
        place = place.clamp(0, len(starts) - 1)
        h_BQ = self.h_S[place]
        weights = self.stepper.weights((t_BQ - self.t_S[place]) / h_BQ)
        if weights is None:
            raise AssertionError("a method without dense output kept its slopes")
        weights = (weights * h_BQ.unsqueeze(-1)).to(self.k_SKB.dtype)
        states = self.y_SB[place, batch]
        for i, slopes_SB in enumerate(self.k_SKB.unbind(1)):
            weight = weights[..., i].view(*place.shape, *(1,) * (states.dim() - 2))
            states = torch.addcmul(states, weight, slopes_SB[place, batch])
        return states
