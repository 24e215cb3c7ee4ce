"""Initial and boundary conditions that a network meets by its form.

Dimension letters: N points, d coordinates of a point.
"""

from collections.abc import Callable

from torch import Tensor, nn


class HardConditions(nn.Module):
    """The function u(p) = g(p) + d(p) N(p) that meets conditions exactly, whatever the network N.

    The lift g meets them, and the distance d vanishes, to first order or higher, wherever they hold: on the walls where
    u is given, at t = 0 where the start is. Where u_t is given at the start too, d has the factor t^2, so that u_t is
    that of g. Nothing is left for a loss to weigh against the equation.

    Its place on the map: as ``CoordinateNetwork``, the unknown of an equation; the set of functions that it can be is
    affine, as in the methods of Ritz and Galerkin.

    Args:
        network: N, from (N, d) to (N,).
        lift: g, likewise.
        distance: d, likewise.

    Example:
        >>> import torch
        >>> class One(nn.Module):
        ...     def forward(self, points):
        ...         return torch.ones(len(points))
        >>> u = HardConditions(One(), lift=lambda p: p[:, 0].cos(), distance=lambda p: p[:, 0])
        >>> u(torch.tensor([[0.0]])).item()
        1.0

    Source: Lagaris, Likas and Fotiadis (1998), Artificial neural networks for solving ordinary and partial differential
    equations, Section III.
    """

    def __init__(
        self, network: nn.Module, lift: Callable[[Tensor], Tensor], distance: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.network, self.lift, self.distance = network, lift, distance

    def forward(self, points: Tensor) -> Tensor:
        """Evaluate u, (N,)."""
        return self.lift(points) + self.distance(points) * self.network(points)
