"""The energies of a solution's path, by which a neural ODE is kept easy to solve."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.divergence import divergence
from integrand.core.numerics.field_call import BoundField, repeat
from integrand.core.numerics.solution import Solution


class PathEnergies(NamedTuple):
    """Energies of the path of each sample.

    Attributes:
        kinetic: int |f|^2 |dt|, (B,).
        jacobian: int |df/dy|_F^2 |dt|, (B,), without bias where it is estimated; None unless asked for.
    """

    kinetic: Tensor
    jacobian: Tensor | None


def path_energies(
    field: Callable[..., Tensor],
    solution: Solution,
    args: Any = None,
    *,
    jacobian: bool = False,
    noise: Tensor | None = None,
) -> PathEnergies:
    """Return the energies of paths y(t) that solve y' = f(t, y),

        K = int |f(t, y(t))|^2 |dt|,      J = int |df/dy(t, y(t))|_F^2 |dt|,

    by the trapezoidal rule over the solution's output times, whose error is of second order in their distances. The
    field is evaluated once more, at all of them together: the solve, its steps and its tolerances are left as they are.
    Added to a loss, each by a small factor, they make for straight paths through a smooth field, and so for few steps.

    Args:
        field: f, which the solution is of.
        solution: of two output times or more, states (B, T, ...); all outputs must have been reached.
        args: as the field took them.
        jacobian: whether to form J, too.
        noise: probes (B, K, ...) to estimate J by, see ``draw_probes``, the same at each time; exact when None.

    Raises:
        InputError: a solution of one time, or probes of another shape.

    Example:
        >>> from integrand.core.numerics import solve_ode
        >>> solution = solve_ode(lambda t, y: torch.full_like(y, 3.0), torch.zeros(1, 2), [0.0, 1.0, 2.0])
        >>> path_energies(lambda t, y: torch.full_like(y, 3.0), solution).kinetic
        tensor([36.])

    Source: Finlay, Jacobsen, Nurbekyan and Oberman (2020), How to train your neural ODE: the world of Jacobian and
    kinetic regularization.
    """
    states = solution.states
    batch, count = states.shape[:2]
    if count < 2:
        raise InputError(f"a path needs 2 output times or more, got {count}: solve with the interval's two ends.")
    times = solution.times.to(states).expand(batch, count)
    flat_t, flat_y = times.reshape(-1), states.flatten(0, 1)
    square = None
    if jacobian:
        probes = None if noise is None else _probes(noise, states)
        slope, _, square = divergence(field, flat_t, flat_y, repeat(args, count), noise=probes)
    else:
        slope = BoundField(field, args, batch)(flat_t, flat_y)
    weights = _weights(times)
    speed = slope.flatten(1).square().sum(1).view(batch, count)
    steepness = None if square is None else (weights * square.view(batch, count)).sum(1)
    return PathEnergies((weights * speed).sum(1), steepness)


def _probes(noise: Tensor, states: Tensor) -> Tensor:
    """Return the probes for all output times of the samples, (B T, K, ...)."""
    if noise.dim() != states.dim() or noise.shape[0] != states.shape[0] or noise.shape[2:] != states.shape[2:]:
        wanted = ", ".join(map(str, (states.shape[0], "K", *states.shape[2:])))
        raise InputError(f"noise, the probes, must be (B, K, ...) = ({wanted}), got {tuple(noise.shape)}.")
    return noise.repeat_interleave(states.shape[1], dim=0)


def _weights(times: Tensor) -> Tensor:
    """Return the weights of the trapezoidal rule, (B, T): half of the lengths of the two intervals at each time."""
    half = 0.5 * times.diff(dim=1).abs()
    return torch.nn.functional.pad(half, (1, 0)) + torch.nn.functional.pad(half, (0, 1))
