"""How solutions of a field depend on its parameters and on where they start."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from integrand.core.numerics.solve_ode import solve_ode


class Sensitivities(NamedTuple):
    """Solutions and their derivatives.

    Attributes:
        states: y, (B, T, D).
        by_parameters: dy/dp, (B, T, D, P), the parameters one after another as in ``parameter_slices``.
        by_start: dy/dy_0, (B, T, D, D).
    """

    states: Tensor
    by_parameters: Tensor
    by_start: Tensor


def parameter_slices(field: nn.Module) -> dict[str, slice]:
    """Return, of the parameters that are learned, which places each has in a vector of them all."""
    slices, end = {}, 0
    for name, parameter in field.named_parameters():
        if parameter.requires_grad:
            slices[name] = slice(end, end := end + parameter.numel())
    return slices


def sensitivities(
    field: nn.Module, y0: Tensor, times: Tensor | Sequence[float], *, method: str = "rk4", **solver: Any
) -> Sensitivities:
    """Solve dy/dt = f(t, y; p) together with its sensitivity equations.

        dS/dt = (df/dy) S + df/dp,    S(t_0) = 0;        dG/dt = (df/dy) G,    G(t_0) = I

    One solve gives every derivative of every output, with D reverse passes through the field at each stage, where
    reverse mode through the solver would take a pass for each output. It suits fields of up to some thousand
    parameters.

    Args:
        field: f, a module called ``field(t, y)`` whose samples are independent of one another.
        y0: starts, (B, D).
        times: (T,) or (B, T).
        method: of ``solve_ode``.
        solver: further options of ``solve_ode``, such as ``step_size``.

    Example:
        >>> from integrand.core.fields import Linear
        >>> found = sensitivities(Linear(2), torch.ones(3, 2), torch.linspace(0, 1, 5))
        >>> found.by_parameters.shape, found.by_start.shape
        (torch.Size([3, 5, 2, 6]), torch.Size([3, 5, 2, 2]))

    Source: Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I, Section I.14.
    """
    slices = parameter_slices(field)
    learned = {name: p.detach() for name, p in field.named_parameters() if p.requires_grad}
    shapes = {name: p.shape for name, p in learned.items()}
    vector = torch.cat([p.flatten() for p in learned.values()]).to(y0) if learned else y0.new_zeros(0)
    batch, dim = y0.shape
    count = len(vector)

    def slope(p: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        own = {name: p[place].view(shapes[name]) for name, place in slices.items()}
        out = functional_call(field, own, (t, y.unsqueeze(0))).squeeze(0)
        return out, out

    derivatives = vmap(jacrev(slope, argnums=(0, 1), has_aux=True), in_dims=(None, 0, 0))

    def joint(t: Tensor, state: Tensor) -> Tensor:
        y, s = state[:, :dim], state[:, dim:].view(-1, dim, count + dim)
        (by_p, by_y), rate = derivatives(vector, y, t.to(y).expand(batch))
        out = by_y @ s
        out[..., :count] += by_p
        return torch.cat([rate, out.flatten(1)], dim=-1)

    first = y0.new_zeros(batch, dim, count + dim)
    first[..., count:] = torch.eye(dim, dtype=y0.dtype, device=y0.device)
    with torch.no_grad():
        states = solve_ode(joint, torch.cat([y0, first.flatten(1)], dim=-1), times, method=method, **solver).states
    grown = states[..., dim:].unflatten(-1, (dim, count + dim))
    return Sensitivities(states[..., :dim], grown[..., :count], grown[..., count:])
