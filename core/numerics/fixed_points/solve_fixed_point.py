"""One call that finds fixed points of a map.

Dimension letters: B batch, D state (all its dimensions flattened).
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown
from integrand.core.numerics.arithmetic import along
from integrand.core.numerics.fixed_points.anderson import Anderson
from integrand.core.numerics.fixed_points.broyden import Broyden
from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.solution import Status

FixedPointMethod = Literal["anderson", "broyden", "picard"]
FIXED_POINT_METHODS: tuple[FixedPointMethod, ...] = ("anderson", "broyden", "picard")

Advance = Callable[[Tensor, Tensor], Tensor]
"""Returns the next iterate (B, D), given this one and its residual."""


class FixedPoint(NamedTuple):
    """What was found.

    Attributes:
        z: the iterate with the least residual, (B, ...).
        residual: |g(z) - z| over what is tolerated, (B,); converged up to 1.
        iterations: evaluations of the map that each sample took, (B,).
        status: ``Status`` of each sample, (B,): OK; MAX_STEPS where iterations ran out; NONFINITE where the iteration
            came upon a number that is none, and z is the best before it.
    """

    z: Tensor
    residual: Tensor
    iterations: Tensor
    status: Tensor


def solve_fixed_point(
    map: Callable[[Tensor], Tensor],
    z0: Tensor,
    *,
    method: FixedPointMethod = "anderson",
    rtol: float = 1e-5,
    atol: float = 1e-6,
    max_iterations: int = 50,
    memory: int = 6,
) -> FixedPoint:
    """Find z = g(z) for each sample; no gradient is recorded (see ``differentiate_fixed_point``).

    A sample stops for itself, when |g(z) - z| <= rtol |z| + sqrt(D) atol: what it gives does not depend on the rest of
    the batch, nor does the failure of one touch another. Memory is that of ``memory`` pairs of iterates, however many
    iterations. Norms and iterates are float32 or wider, without autocast.

    Args:
        map: g, from (B, ...) to the same shape, each sample for itself.
        z0: where to begin, (B, ...).
        method: ``"anderson"`` or ``"broyden"``, see the classes of these names; or ``"picard"``, z <- g(z), for
            contractions.
        rtol: relative tolerance; not below what rounding allows.
        atol: absolute tolerance, of a component.
        max_iterations: most evaluations of the map.
        memory: differences that Anderson's and Broyden's methods remember.

    Raises:
        InputError: an option out of range, a map to another shape.

    Example:
        >>> found = solve_fixed_point(torch.cos, torch.zeros(1, 1, dtype=torch.float64), rtol=1e-12)
        >>> round(found.z.item(), 6), found.iterations.item() < 10
        (0.739085, True)
    """
    if method not in FIXED_POINT_METHODS:
        raise unknown("method", method, FIXED_POINT_METHODS)
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise InputError(f"rtol and atol must not be negative, nor both zero, got rtol={rtol}, atol={atol}.")
    if max_iterations < 1 or memory < 1:
        raise InputError(f"max_iterations and memory must be at least 1, got {max_iterations} and {memory}.")
    advance: Advance = {"anderson": Anderson, "broyden": Broyden}[method](memory) if method != "picard" else torch.add
    wide = torch.promote_types(z0.dtype, torch.float32)
    rtol = max(rtol, 4 * torch.finfo(z0.dtype).eps)
    with torch.no_grad(), torch.autocast(z0.device.type, enabled=False):
        return _iterate(map, z0.detach().to(wide), z0.dtype, advance, rtol, atol, max_iterations)


def _iterate(
    map: Callable[[Tensor], Tensor],
    z: Tensor,
    dtype: torch.dtype,
    advance: Advance,
    rtol: float,
    atol: float,
    max_iterations: int,
) -> FixedPoint:
    batch, floor = z.shape[0], math.sqrt(max(1, z[:1].numel())) * atol
    best, least = z, z.new_full((batch,), torch.inf)
    tolerated = least
    status = torch.full((batch,), int(Status.MAX_STEPS), device=z.device)
    iterations = torch.zeros_like(status)
    active = torch.ones_like(status, dtype=torch.bool)
    unseen = is_transformed()  # vmap shows no numbers: then all iterations are made
    for count in range(max_iterations):
        value = map(z.to(dtype)).to(z.dtype)
        if value.shape != z.shape:
            raise InputError(f"the map returned shape {tuple(value.shape)} for a state of shape {tuple(z.shape)}.")
        residual = (value - z).flatten(1)
        unit = rtol * torch.linalg.vector_norm(z.flatten(1), dim=1) + floor
        size = torch.linalg.vector_norm(residual, dim=1)
        share = size / unit.clamp(min=torch.finfo(z.dtype).tiny)
        converged, lost = active & (share <= 1), active & ~torch.isfinite(size)
        # By its own size: next to that of z a residual may shrink though both grow. So written, NaN is not better.
        better = converged | (active & (size < least))
        best, least = torch.where(along(better, z), z, best), torch.where(better, size, least)
        tolerated = torch.where(better, share, tolerated)
        iterations = iterations + active
        status = torch.where(converged, int(Status.OK), torch.where(lost, int(Status.NONFINITE), status))
        active = active & ~converged & ~lost
        if count + 1 == max_iterations or not (unseen or bool(active.any())):  # the iteration's one look
            break
        # A sample that has stopped rests where it was best, without residual: all about it stays finite.
        z = torch.where(along(active, z), z, best)
        moved = advance(z.flatten(1), torch.where(active.unsqueeze(1), residual, 0.0)).view_as(z)
        z = torch.where(along(active, z), moved, best)
    return FixedPoint(best.to(dtype), tolerated, iterations, status)
