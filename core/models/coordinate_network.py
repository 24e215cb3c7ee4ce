"""A network of coordinates: a function of points in space and time.

Dimension letters: N points, d coordinates of a point, F frequencies.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.fields.dimensions import check_widths
from integrand.core.fields.mlp import ACTIVATIONS

SMOOTH = tuple(name for name in ACTIVATIONS if name != "elu")
"""Activations whose second derivative is continuous, as an equation of second order asks."""


class CoordinateNetwork(nn.Module):
    """A smooth function u(p) of a point p in a box: a multilayer perceptron of scaled or periodic coordinates.

    Each coordinate is scaled from the box to [-1, 1]. A periodic one enters as cos and sin of its angle instead, so
    that the network, and every derivative of it, is exactly periodic. With F frequencies, what enters is, in place of
    the coordinates z themselves, [cos(2 pi B z), sin(2 pi B z)] with a fixed B of Gaussian entries of deviation
    ``frequency``: the perceptron then learns details of that fineness as fast as it learns what is smooth.

    Its place on the map: the unknown of a differential equation itself, of which the loss measures the residual.

    Args:
        low: least value of each coordinate, d of them.
        high: greatest value.
        hidden: widths of the hidden layers.
        activation: one of ``SMOOTH``.
        periodic: whether each coordinate is periodic, with the box as its period; none where None.
        frequencies: F; 0 for none.
        frequency: deviation of the entries of B, in waves over half the box.

    Raises:
        InputError: an empty box, a width below 1, an unknown activation, points of other dimension.

    Shapes:
        ``network(points)``: (N, d) to (N,).

    Example:
        >>> ring = CoordinateNetwork((0.0,), (1.0,), (8,), periodic=(True,))
        >>> u = ring(torch.tensor([[0.25], [1.25]]))
        >>> bool(torch.allclose(u[0], u[1]))
        True

    Source: Lagaris, Likas and Fotiadis (1998), Artificial neural networks for solving ordinary and partial differential
    equations; periodic coordinates from Dong and Ni (2021), A method for representing periodic functions and enforcing
    exactly periodic boundary conditions with deep neural networks, Section 2; frequencies from Tancik et al. (2020),
    Fourier features let networks learn high frequency functions in low dimensional domains, Eq. 5.
    """

    low: Tensor
    high: Tensor
    matrix: Tensor

    def __init__(
        self,
        low: Sequence[float],
        high: Sequence[float],
        hidden: Sequence[int] = (32, 32, 32),
        *,
        activation: str = "tanh",
        periodic: Sequence[bool] | None = None,
        frequencies: int = 0,
        frequency: float = 1.0,
    ) -> None:
        super().__init__()
        if activation not in SMOOTH:
            raise unknown("smooth activation", activation, SMOOTH)
        if len(low) != len(high) or not all(a < b for a, b in zip(low, high, strict=True)):
            raise InputError(f"a box needs low < high for each coordinate, got {tuple(low)} and {tuple(high)}.")
        periodic = tuple(periodic) if periodic is not None else (False,) * len(low)
        if len(periodic) != len(low):
            raise InputError(f"periodic={periodic} for {len(low)} coordinates: say it of each.")
        if frequencies < 0 or not frequency > 0:
            raise InputError(
                f"frequencies={frequencies}, frequency={frequency:g} are out of range: 0 or more, positive."
            )
        check_widths(len(low), hidden)
        self.register_buffer("low", torch.tensor(low, dtype=torch.get_default_dtype()))
        self.register_buffer("high", torch.tensor(high, dtype=torch.get_default_dtype()))
        self.periodic, inputs = periodic, len(low) + sum(periodic)
        self.register_buffer("matrix", frequency * torch.randn(inputs, frequencies))
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([2 * frequencies or inputs, *hidden]):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Evaluate u."""
        if points.dim() != 2 or points.shape[1] != len(self.periodic):
            raise InputError(f"points have shape {tuple(points.shape)}: give (points, {len(self.periodic)}).")
        scaled = 2 * (points - self.low) / (self.high - self.low) - 1
        if any(self.periodic):
            parts: list[Tensor] = []
            for z, joined in zip(scaled.unbind(-1), self.periodic, strict=True):
                parts += [(math.pi * z).cos(), (math.pi * z).sin()] if joined else [z]
            scaled = torch.stack(parts, dim=-1)
        if self.matrix.shape[1]:
            waves = 2 * math.pi * scaled @ self.matrix
            scaled = torch.cat([waves.cos(), waves.sin()], dim=-1)
        return self.layers(scaled).squeeze(-1)
