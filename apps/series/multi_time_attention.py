"""Multi-time attention: what was observed, weighted by learned similarities of times.

Dimension letters: B batch, L length, C channels, Q query times, D model, H heads, E time embedding, S = H Q.
"""

import math

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError


class MultiTimeAttention(nn.Module):
    """A series at any times asked, each channel averaged over its own observations.

    A head h embeds a time, and weights the observations of each channel c by how alike the embeddings are:

        phi_h(t)_0 = w_h0 t + a_h0,         phi_h(t)_i = sin(w_hi t + a_hi) for i > 0,
        k_h(t, s) = exp(phi_h(t)^T W V^T phi_h(s) / sqrt(E)),
        x_hc(t) = sum_l k_h(t, t_l) x_lc / sum_l k_h(t, t_l),       l over the observations of c,
        y(t)_j = sum_h sum_c x_hc(t) U_hcj.

    A channel that was never observed adds nothing.

    Args:
        channels: channels C.
        d_model: dimension D of y.
        heads: H.
        d_time: dimension E of the embedding of each head, and of the space W and V map it to.
        time_scale: the time that counts as one, in the units of the times.

    Shapes:
        ``forward(values (B, L, C), mask (B, L, C) bool, times (B, L), present (B, L) bool, queries (B, Q))`` returns
        (B, Q, D). Elements that are not present are not seen. Its memory is of the order of B H Q L C.

    Raises:
        InputError: an option out of range.

    Example:
        >>> attention = MultiTimeAttention(3, 8, heads=2, d_time=16)
        >>> mask, present = torch.rand(4, 10, 3) < 0.5, torch.ones(4, 10, dtype=torch.bool)
        >>> times, queries = torch.rand(4, 10).sort().values, torch.rand(4, 6)
        >>> attention(torch.randn(4, 10, 3), mask, times, present, queries).shape
        torch.Size([4, 6, 8])

    Source: Shukla and Marlin (2021), Multi-time attention networks for irregularly sampled time series, Section 3.
    """

    def __init__(
        self, channels: int, d_model: int, *, heads: int = 1, d_time: int = 128, time_scale: float = 1.0
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("d_model", d_model), ("heads", heads), ("d_time", d_time)):
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        if not time_scale > 0:
            raise InputError(f"time_scale must be positive, got {time_scale}.")
        self.d_time, self.time_scale = d_time, time_scale
        self.frequency = nn.Parameter(2 * torch.rand(heads, d_time) - 1)
        self.shift = nn.Parameter(2 * torch.rand(heads, d_time) - 1)
        self.query = nn.Linear(d_time, d_time, bias=False)
        self.key = nn.Linear(d_time, d_time, bias=False)
        self.out = nn.Linear(heads * channels, d_model, bias=False)

    def embed(self, times: Tensor) -> Tensor:
        """Return the embeddings of times (B, L), in their own units, by each head: (B, H, L, E)."""
        angle = (times / self.time_scale)[:, None, :, None] * self.frequency.unsqueeze(1) + self.shift.unsqueeze(1)
        return torch.cat([angle[..., :1], angle[..., 1:].sin()], dim=-1)

    def forward(self, values: Tensor, mask: Tensor, times: Tensor, present: Tensor, queries: Tensor) -> Tensor:
        """Return y at the query times, (B, Q, D)."""
        mask = mask & present.unsqueeze(-1)
        values = torch.where(mask, values, 0)
        key = self.key(self.embed(times.to(values)))
        score_BHQL = self.query(self.embed(queries.to(values))) @ key.transpose(-1, -2) / math.sqrt(self.d_time)
        seen_BC1L = mask.transpose(1, 2).unsqueeze(2)
        # The least number, not -inf: a channel without observations is weighted evenly then, and all of it is 0.
        score_BCSL = score_BHQL.flatten(1, 2).unsqueeze(1).masked_fill(~seen_BC1L, torch.finfo(score_BHQL.dtype).min)
        found_BCS = (score_BCSL.softmax(-1) @ values.transpose(1, 2).unsqueeze(-1)).squeeze(-1)
        found_BHCQ = found_BCS.unflatten(2, (-1, queries.shape[1])).transpose(1, 2)
        return self.out(found_BHCQ.flatten(1, 2).transpose(1, 2))
