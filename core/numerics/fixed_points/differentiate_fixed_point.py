"""Derivatives of a fixed point by what its map depends on."""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics.fixed_points.solve_fixed_point import FixedPointMethod, solve_fixed_point
from integrand.core.numerics.gradients.continuous_adjoint import once
from integrand.core.numerics.modes import is_transformed
from integrand.core.numerics.solution import Status

FixedPointGradient = Literal["implicit", "phantom"]
SECOND = "gradient='implicit' has no second derivatives: take gradient='phantom', and enough of its steps."


def differentiate_fixed_point(
    map: Callable[[Tensor], Tensor],
    z: Tensor,
    *,
    method: FixedPointMethod = "anderson",
    rtol: float = 1e-5,
    max_iterations: int = 50,
    memory: int = 6,
) -> Tensor:
    """Return the fixed point z of g with its derivative by all that g depends on.

    It is that of the implicit function theorem. With J = dg/dz at z, what comes back to z as v goes on to the
    parameters and inputs of g as the u that solves

        u = v + J^T u,

    itself a fixed point, found by the same methods from products with J^T. One evaluation of g is kept, whatever the
    number of iterations that led to z. Where the equation is not solved there is a warning; second derivatives and
    the transforms of torch.func are refused.

    Args:
        map: g, from (B, ...) to the same shape; a closure over what derivatives are asked by.
        z: its fixed point, see ``solve_fixed_point``.
        method, rtol, max_iterations, memory: how u is found.

    Raises:
        InputError: a derivative by torch.func or in forward mode.

    Example:
        >>> a = torch.tensor([[0.5]], requires_grad=True)
        >>> differentiate_fixed_point(lambda z: a * z + 1, torch.tensor([[2.0]])).backward()
        >>> a.grad  # of 1 / (1 - a)
        tensor([[4.]])

    Source: Bai, Kolter and Koltun (2019), Deep equilibrium models, Theorem 1.
    """
    if is_transformed():
        raise InputError("the derivative of a fixed point is known to backward() alone, not to torch.func: call that.")
    if not torch.is_grad_enabled():
        return z
    start = z.detach().requires_grad_()
    value = map(start)
    how = {"method": method, "rtol": rtol, "max_iterations": max_iterations, "memory": memory}
    return _Implicit.apply(how, z.detach(), start, value)  # pyright: ignore[reportReturnType]


def unroll_fixed_point(map: Callable[[Tensor], Tensor], z: Tensor, *, steps: int = 5, damping: float = 1.0) -> Tensor:
    """Return the fixed point z of g with an approximate, "phantom", derivative: that of a few damped iterations at z,

        z <- (1 - lambda) z + lambda g(z),      K times,

    which is lambda sum_{k<K} (lambda J + (1 - lambda) I)^k dg, the first K terms of a series for (I - J)^-1 dg, and
    tends to the implicit derivative as K grows if the iteration converges. Nothing is to be solved on the way back.

    Args:
        map: g.
        z: its fixed point.
        steps: K.
        damping: lambda, in (0, 1].

    Example:
        >>> a = torch.tensor([[0.5]], requires_grad=True)
        >>> unroll_fixed_point(lambda z: a * z + 1, torch.tensor([[2.0]]), steps=3).backward()
        >>> a.grad  # 2 (1 + a + a^2), of the sum 4
        tensor([[3.5000]])

    Source: Geng, Zhang, Bai, Wang and Lin (2021), On training implicit models, the phantom gradient by unrolling.
    """
    if not torch.is_grad_enabled():
        return z
    moved = z.detach()
    for _ in range(steps):
        moved = (1 - damping) * moved + damping * map(moved)
    return z.detach() + (moved - moved.detach())  # gradients change no value


class _Implicit(torch.autograd.Function):
    """Returns z; hands its cotangent v on to g(z) as (I - J^T)^-1 v."""

    @staticmethod
    def forward(ctx: Any, how: dict[str, Any], z: Tensor, start: Tensor, value: Tensor) -> Tensor:
        ctx.how = how
        ctx.save_for_backward(start, value)
        return z.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (v,), (start, value) = grad_outputs, ctx.saved_tensors

        def pull(u: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(value, start, u.to(value.dtype), retain_graph=True, materialize_grads=True)
            return v + product

        found = solve_fixed_point(pull, v, atol=0.0, **ctx.how)
        unsolved = found.status != int(Status.OK)
        if bool(unsolved.any()):
            warnings.warn(
                f"the derivatives of {int(unsolved.sum())} of {len(v)} fixed points were not found to rtol: the "
                f"residual is up to {float(found.residual.max()):.1e} times what is tolerated. Allow more iterations, "
                "or keep the map's Jacobian small.",
                stacklevel=2,
            )
        u = (found.z.to(value.dtype),)
        return None, None, None, *(once(u, SECOND) if torch.is_grad_enabled() else u)
