"""The worst small change of an input, looked for along the gradient."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from integrand.core.errors import InputError, unknown

NORMS = ("l2", "linf")


def projected_gradient(
    loss: Callable[[Tensor], Tensor],
    x: Tensor,
    radius: float,
    *,
    norm: Literal["l2", "linf"] = "l2",
    steps: int = 10,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """Return inputs x + s d with |d| <= radius that make the loss of each sample as large as could be found.

    Each of n steps moves d along the gradient (``"l2"``) or its sign (``"linf"``) by 2.5 radius / n and brings it back
    into the ball; the best place on the way is returned, never worse than x. For a loss that is linear in x it is the
    worst case itself; for others a lower bound of it.

    Args:
        loss: of inputs (B, ...), one number a sample, (B,), each a function of its own sample alone.
        x: (B, ...).
        radius: of d, over all numbers of a sample together (``"l2"``) or of each (``"linf"``).
        norm: ``"l2"`` or ``"linf"``.
        steps: n.
        scale: s, what a unit of d is in each number of the input; 0 where it must not change.

    Raises:
        InputError: a radius below 0, no steps, an unknown norm, or a loss that is not (B,).

    Example:
        >>> projected_gradient(lambda x: x @ torch.tensor([3.0, 4.0]), torch.zeros(1, 2), 1.0)
        tensor([[0.6000, 0.8000]])

    Source: Madry, Makelov, Schmidt, Tsipras and Vladu (2018), Towards deep learning models resistant to adversarial
    attacks.
    """
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if not radius >= 0 or steps < 1:
        raise InputError(f"radius={radius!r} and steps={steps!r} must not be negative, and one step is the least.")
    x = x.detach()
    moved, best = torch.zeros_like(x), x
    highest = x.new_full((len(x),), float("-inf"))
    for step in range(steps + 1):
        with torch.enable_grad():
            at = (x + scale * moved).requires_grad_()
            value = loss(at)
            if value.shape != (len(x),):
                raise InputError(f"the loss has shape {tuple(value.shape)} for {len(x)} samples: give one number each.")
            (slope,) = torch.autograd.grad(value.sum(), at)
        better = value.detach() > highest
        highest = torch.where(better, value.detach(), highest)
        best = torch.where(_wide(better, x), at.detach(), best)
        if step < steps:
            # The loss by d; numbers that must not change have no say in the direction.
            moved = _inside(moved + 2.5 * radius / steps * _direction(scale * slope, norm), radius, norm)
    return best


def _direction(slope: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return slope.sign()
    size = slope.flatten(1).norm(dim=1)
    return slope / _wide(torch.where(size > 0, size, 1.0), slope)


def _inside(moved: Tensor, radius: float, norm: str) -> Tensor:
    if norm == "linf":
        return moved.clamp(-radius, radius)
    size = moved.flatten(1).norm(dim=1)
    return moved * _wide(torch.where(size > radius, radius / size.clamp(min=1e-30), 1.0), moved)


def _wide(each_B: Tensor, like: Tensor) -> Tensor:
    return each_B.view(-1, *(1,) * (like.dim() - 1))
