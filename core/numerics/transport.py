"""Points carried along a field, with the change of their density: the continuity equation along its characteristics."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from integrand.core.numerics.divergence import divergence
from integrand.core.numerics.field_call import naming_precisions
from integrand.core.numerics.solve_ode import solve_ode


class Transported(NamedTuple):
    """Where a flow took some points.

    Attributes:
        points: (B, ...).
        log_det: log |det| of the derivative of ``points`` by where they came from, (B,).
        kinetic_energy: int |f|^2 dt along the way, (B,); None unless asked for.
        jacobian_energy: int |df/dy|_F^2 dt, (B,), estimated as the trace is; None unless asked for.
    """

    points: Tensor
    log_det: Tensor
    kinetic_energy: Tensor | None
    jacobian_energy: Tensor | None


def transport(
    field: nn.Module,
    start: Tensor,
    times: Tensor | Sequence[float],
    args: Any = None,
    *,
    noise: Tensor | None = None,
    energies: bool = False,
    **options: Any,
) -> Transported:
    """Solve y' = f(t, y) from the first time to the last, and with it

        log |det dy(T)/dy(0)| = int tr df/dy (t, y(t)) dt,

    by which the density at the end is that at the start less this. Both are one state, so that an adaptive solver
    controls the error of both.

    Args:
        field: f, a module called ``field(t, y)`` or ``field(t, y, args)``.
        start: (B, ...).
        times: (T,) of which the first and the last count, in either order; the others are where fixed steps land.
        args: conditions, as the field takes them.
        noise: probes (B, K, ...) for an estimated trace, see ``draw_probes``; exact when None.
        energies: whether to integrate the energies.
        options: of ``solve_ode``.

    Example:
        >>> from integrand.core.fields.linear import Linear
        >>> field = Linear(2, bias=False)
        >>> _ = field.map[0].weight.data.copy_(torch.diag(torch.tensor([1.0, 2.0])))
        >>> round(transport(field, torch.ones(1, 2), [0.0, 1.0], rtol=1e-6).log_det.item(), 4)
        3.0

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Eq. 8; energies:
    Finlay, Jacobsen, Nurbekyan and Oberman (2020), How to train your neural ODE: the world of Jacobian and kinetic
    regularization.
    """
    shape, size = tuple(start.shape[1:]), math.prod(start.shape[1:])
    carried = torch.cat([start.flatten(1), start.new_zeros(len(start), 3 if energies else 1)], dim=1)
    both = _Carried(field, shape, start, energies=energies)
    with naming_precisions(start, field):
        moved = solve_ode(both, carried, times, args=(noise, args), **options).states[:, -1]
    log_det, *rest = moved[:, size:].unbind(1)
    kinetic, jacobian = rest or (None, None)
    return Transported(moved[:, :size].view_as(start), log_det, kinetic, jacobian)


class _Carried(nn.Module):
    """The field of points and of the sums carried along with them, side by side: (B, D + 1), or (B, D + 3)."""

    def __init__(self, field: nn.Module, shape: tuple[int, ...], like: Tensor, *, energies: bool) -> None:
        super().__init__()
        self.field, self.shape, self.energies = field, shape, energies
        # A derivative by y must start from a tensor that requires gradients. Where the points do not, this parameter
        # gives them a start that those who look for all that a field depends on, as gradient="adjoint" does, know of.
        self.start = nn.Parameter(like.new_zeros(()))

    def forward(self, t: Tensor, state: Tensor, args: Any) -> Tensor:
        noise, conditions = args
        y = state[:, : math.prod(self.shape)].unflatten(1, self.shape)
        if torch.is_grad_enabled() and not y.requires_grad:
            y = y + self.start
        slope, trace, square = divergence(self.field, t, y, conditions, noise=noise)
        parts = [slope.flatten(1), trace.unsqueeze(1)]
        if self.energies:
            kinetic = slope.flatten(1).to(trace.dtype).square().sum(1, keepdim=True)
            parts += [kinetic, square.unsqueeze(1)]
        return torch.cat([part.to(state.dtype) for part in parts], dim=1)
