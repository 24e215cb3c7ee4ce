"""From a state at a query time to the Gaussian that is forecast there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.datasets.forecasting import ForecastTask

LEAST_STD = 0.05
"""Least standard deviation of a forecast, in standardised units: about what instruments resolve. Without it the score
is a thousandth better in validation, and an hour of fog after a clear day all but impossible."""


class GaussianReadout(nn.Module):
    """Mean and standard deviation of every target channel, near its last value at first and further from it with time.

        mean(t) = a(t) anchor + r(t) W z(t),      a(t) = a_1 + (1 - a_1) exp(-t / tau_a),
        std(t) = r(t) softplus(V z(t)) + least,   r(t) = 1 - (1 - r_0) exp(-t / tau_r)

    The anchor is each channel's last value. How long it holds, a, and how far the future has come loose from it, r,
    are learned for each channel: both are the relaxation of a process to its equilibrium, so that soon after the
    origin the network need not learn with great precision that little has moved, nor late that the present is
    forgotten. Time is measured in horizons from the forecast origin. W and V are affine.

    Args:
        task: what is forecast.
        width: dimension D of z.

    Shapes:
        ``forward(states (B, Q, D), anchor (B, K), times (B, Q))``, times in their own units, returns mean and standard
        deviation, (B, Q, K).
    """

    def __init__(self, task: ForecastTask, width: int) -> None:
        super().__init__()
        self.horizon = task.horizon
        self.linear = nn.Linear(width, 2 * task.targets)
        # At first a_1 = 0.73 and tau_a = 0.5, r_0 = 0.2 and tau_r = 0.14 horizons, as for weather a day ahead.
        self.hold = nn.ParameterDict(_relaxation(task.targets, logit=1.0, log_time=-0.7))
        self.reach = nn.ParameterDict(_relaxation(task.targets, logit=-1.4, log_time=-2.0))
        with torch.no_grad():
            # Start near persistence: the mean moves off the anchor as training finds reason to.
            self.linear.weight.mul_(0.1)
            self.linear.bias.zero_()

    def forward(self, states: Tensor, anchor: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, (B, Q, K) each."""
        move, raw = self.linear(states).chunk(2, dim=-1)
        lead = (times / self.horizon).unsqueeze(-1)
        held, start = self.hold["logit"].sigmoid(), self.reach["logit"].sigmoid()
        hold = held + (1 - held) * torch.exp(-lead / self.hold["log_time"].exp())
        reach = 1 - (1 - start) * torch.exp(-lead / self.reach["log_time"].exp())
        return hold * anchor.unsqueeze(1) + reach * move, reach * F.softplus(raw) + LEAST_STD


def _relaxation(channels: int, *, logit: float, log_time: float) -> dict[str, nn.Parameter]:
    """A level in (0, 1) and a time for each channel, as unconstrained parameters."""
    return {
        "logit": nn.Parameter(torch.full((channels,), logit)),
        "log_time": nn.Parameter(torch.full((channels,), log_time)),
    }
