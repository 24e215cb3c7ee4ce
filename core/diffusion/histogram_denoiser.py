"""The exact denoiser of data whose components are independent, each with the density of a histogram."""

import math

import torch
from torch import Tensor, nn

from integrand.core.diffusion.process import Process, lift
from integrand.core.errors import InputError

REACH = 4.0
"""Standard deviations of the noise, beyond the outermost possible cell, from which the answer is that of its edge."""
LEAST = 1e-30
"""Mass below which there is none."""


class HistogramDenoiser(nn.Module):
    """The mean D(x, t) = E[x_0 | x_t = x] of independent components, piecewise constant densities.

    Let a component have the density p_k / w on cells [e_k, e_{k+1}] of width w. Given x = alpha x_0 + sigma eps, x_0 is
    a mixture of normal distributions cut off at the cells, and with z_k = (alpha e_k - x) / sigma

        D = (x + sigma sum_k p_k (phi(z_k) - phi(z_{k+1})) / sum_k p_k (Phi(z_{k+1}) - Phi(z_k))) / alpha.

    A network that is added to it has to learn only what the components know of one another.

    Args:
        process: the path.
        edges: e, (L + 1,), increasing.
        shares: p, (D, L) for D components in the order of a flattened sample, not negative, each row with sum 1. A
            share of 0 makes a cell impossible.

    Raises:
        InputError: edges that do not increase, shares that are no probabilities.

    Shapes:
        ``denoiser(t, x)``: t scalar or (B,), x (B, ...) of D components; returns the same.

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> one = HistogramDenoiser(EDM(), torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([[0.5, 0.5]]))
        >>> one(torch.tensor(0.1), torch.zeros(1, 1)).item()
        0.0

    Source: of the truncated normal's mean, Johnson, Kotz and Balakrishnan (1994), Continuous univariate distributions,
    Vol. 1, Section 13.10.
    """

    edges: Tensor
    drops: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, process: Process, edges: Tensor, shares: Tensor) -> None:
        super().__init__()
        if edges.dim() != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
            raise InputError(f"edges must be (L + 1,) and increase, got {tuple(edges.shape)}.")
        sums = shares.sum(-1) if shares.dim() == 2 else shares
        if shares.dim() != 2 or shares.shape[1] != len(edges) - 1 or bool(((sums - 1).abs() > 1e-4).any()):
            raise InputError(f"shares must be (D, L) = (D, {len(edges) - 1}), each row with sum 1.")
        if bool((shares < 0).any()):
            raise InputError("shares must not be negative.")
        self.process = process
        self.register_buffer("edges", edges)
        for name in ("drops", "low", "high"):
            self.register_buffer(name, torch.empty(0))
        self._take(shares)

    def fit(self, values: Tensor, *, floor: float = 0.5) -> None:
        """Take the shares of training values (N, ...), whole numbers from 0 to L - 1; cells are of one width.

        ``floor`` is added to each count, so that a value not seen in training stays possible.
        """
        flat = values.flatten(1).long()
        counts = torch.zeros(flat.shape[1], len(self.edges) - 1, device=flat.device)
        counts.scatter_add_(1, flat.T, torch.ones_like(flat.T, dtype=counts.dtype))
        counts += floor
        self._take((counts / counts.sum(1, keepdim=True)).to(self.edges))

    def _take(self, shares: Tensor) -> None:
        density = shares / self.edges.diff()
        # By parts: sum_k p_k (F(z_{k+1}) - F(z_k)) = sum over edges of (density before - density after) F(z).
        padded = nn.functional.pad(density, (1, 1))
        self.drops = padded[:, :-1] - padded[:, 1:]
        possible = shares > 0
        first, last = possible.int().argmax(1), shares.shape[1] - possible.flip(1).int().argmax(1)
        self.low, self.high = self.edges[first], self.edges[last]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return D(x, t)."""
        alpha, sigma = (lift(each, x) for each in (self.process.alpha(t), self.process.sigma(t)))
        edges, drops = self.edges, self.drops
        low, high = (each.view(x.shape[1:]) for each in (self.low, self.high))
        near = torch.minimum(torch.maximum(x, alpha * low - REACH * sigma), alpha * high + REACH * sigma)
        flat = near.flatten(1).unsqueeze(-1)
        scale = (1 / sigma) if sigma.dim() == 0 else (1 / sigma).view(-1, 1, 1)
        share = alpha if alpha.dim() == 0 else alpha.view(-1, 1, 1)
        z = (share * edges - flat) * scale  # (B, D, L + 1)
        mass = (drops * torch.erf(z * math.sqrt(0.5))).sum(-1) * 0.5
        pull = (drops * torch.exp(-0.5 * z.square())).sum(-1) * (-1 / math.sqrt(math.tau))
        # Between two cells, one of them impossible, and far from both, nothing is left of either: the state stays.
        moved = (pull / torch.where(mass.abs() > LEAST, mass, torch.inf)).view(x.shape)
        return (near + sigma * moved) / alpha
