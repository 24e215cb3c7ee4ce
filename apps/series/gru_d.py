"""GRU-D: a recurrent network whose inputs and memory decay while nothing is observed.

Dimension letters: B batch, L length, C channels, H hidden state.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from integrand.apps.series.neighbours import before
from integrand.core.errors import InputError


class GRUD(nn.Module):
    """A gated recurrent unit that forgets its state and the last values at learned rates.

    With m the mask, x' the last observed value of a channel and d the time since, counted from the first element where
    there was none before,

        g = exp(-max(0, W_g d + b_g)),          for the state;  likewise g_x with a diagonal W, for the inputs,
        v = m x + (1 - m) g_x x',               the training mean, towards which inputs decay, being 0,
        h' = g h,
        z = sigmoid(W_z v + U_z h' + V_z m + b_z),      r = sigmoid(W_r v + U_r h' + V_r m + b_r),
        c = tanh(W v + U (r h') + V m + b),
        h = (1 - z) h' + z c.

    Args:
        channels: channels C, in standardised units.
        d_state: dimension H of the state.
        time_scale: the time that counts as one, in the units of the times.

    Shapes:
        ``forward(values (B, L, C), mask (B, L, C) bool, times (B, L), present (B, L) bool)`` returns the state after
        each element, (B, L, H); an element that is not present leaves it at rest.

    Raises:
        InputError: an option out of range.

    Example:
        >>> times, mask = torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[[True], [False], [True]]])
        >>> GRUD(1, 8)(torch.randn(1, 3, 1), mask, times, torch.ones(1, 3, dtype=torch.bool)).shape
        torch.Size([1, 3, 8])

    Source: Che, Purushotham, Cho, Sontag and Liu (2018), Recurrent neural networks for multivariate time series with
    missing values, on GRU-D.
    """

    def __init__(self, channels: int, d_state: int, *, time_scale: float = 1.0) -> None:
        super().__init__()
        if channels < 1 or d_state < 1:
            raise InputError(f"channels and d_state must be at least 1, got {channels} and {d_state}.")
        if not time_scale > 0:
            raise InputError(f"time_scale must be positive, got {time_scale}.")
        self.channels, self.d_state, self.time_scale = channels, d_state, time_scale
        # Rates start positive: where max(0, .) cuts, none would ever be learned.
        self.input_rate = nn.Parameter(torch.rand(channels))
        self.input_bias = nn.Parameter(torch.zeros(channels))
        self.state_rate = nn.Linear(channels, d_state)
        nn.init.uniform_(self.state_rate.weight, 0, 1 / channels)
        nn.init.zeros_(self.state_rate.bias)
        self.read = nn.Linear(2 * channels, 3 * d_state)  # W and V of z, r and c side by side, and their b
        self.gates = nn.Linear(d_state, 2 * d_state, bias=False)
        self.candidate = nn.Linear(d_state, d_state, bias=False)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor, present: Tensor) -> Tensor:
        """Return the states, (B, L, H)."""
        mask = mask & present.unsqueeze(-1)
        values = torch.where(mask, values, 0)
        carried = before(values, mask, times).value
        since = self.elapsed(mask, times).to(values)
        decay = torch.exp(-F.relu(self.input_rate * since + self.input_bias))
        seen = torch.where(mask, values, decay * carried)
        z_BLH, r_BLH, c_BLH = self.read(torch.cat([seen, mask.to(seen)], dim=-1)).chunk(3, dim=-1)
        kept_BLH = self.keep(since)
        h, states = torch.zeros_like(z_BLH[:, 0]), []
        elements = zip(*(x.unbind(1) for x in (z_BLH, r_BLH, c_BLH, kept_BLH, present.unsqueeze(-1))), strict=True)
        for z_BH, r_BH, c_BH, kept_BH, present_B1 in elements:
            held = kept_BH * h
            z_U, r_U = self.gates(held).chunk(2, dim=-1)
            z, r = torch.sigmoid(z_BH + z_U), torch.sigmoid(r_BH + r_U)
            c = torch.tanh(c_BH + self.candidate(r * held))
            h = torch.where(present_B1, torch.lerp(held, c, z), h)
            states.append(h)
        return torch.stack(states, dim=1)

    def elapsed(self, mask: Tensor, times: Tensor) -> Tensor:
        """Return the time since each channel's last observation before each element, (B, L, C), in ``time_scale``."""
        stamps = times.unsqueeze(-1).expand(mask.shape)
        last = before(stamps, mask, times)
        latest = torch.where(last.found, last.value, stamps[:, :1])
        earlier = torch.cat([stamps[:, :1], latest[:, :-1]], dim=1)
        return (stamps - earlier) / self.time_scale

    def keep(self, since: Tensor) -> Tensor:
        """Return what is left of the state, g (..., H), given the times since each channel's last observation.

        Args:
            since: (..., C), in ``time_scale``.
        """
        return torch.exp(-F.relu(self.state_rate(since)))
