"""What finer steps change in what a network gives, and at which order that settles."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from integrand.core.errors import InputError

if TYPE_CHECKING:  # the model is built on other files of this package
    from integrand.core.models.converted_ode import ConvertedODE


class Refined(NamedTuple):
    """One row of a refinement.

    Attributes:
        steps: equal steps a block.
        evaluations: of the right-hand side.
        change: |y - y_1| / |y_1|, with y_1 what the fewest steps give.
        apart: |y - y'| / |y_1| with y' what the next number of steps gives; not a number for the last.
        order: log2 of this row's ``apart`` over the next one's, the order at which the steps converge where each row
            has twice the steps of the one before; not a number for the last two.
    """

    steps: int
    evaluations: int
    change: float
    apart: float
    order: float


@torch.no_grad()
def step_refinement(model: "ConvertedODE", *inputs: Any, steps: Sequence[int] = (1, 2, 4, 8)) -> list[Refined]:
    """Return what ever finer steps change in the outputs of a converted network.

    By Richardson's argument the differences of successive outputs fall by 2^p each time where a method of order p
    converges; where they do not fall, the steps are too long for the equation to say anything of the network.

    Args:
        model: the network.
        inputs: its arguments.
        steps: numbers of steps a block, each twice the one before.

    Example:
        >>> from torch import nn
        >>> from integrand.core.models import ConvertedODE
        >>> class Block(nn.Module):
        ...     def forward(self, x):
        ...         return x + 0.1 * x.sin()
        >>> model = ConvertedODE(nn.Sequential(Block(), Block()), [torch.ones(2, 1)])
        >>> [round(row.order, 1) for row in step_refinement(model, torch.ones(2, 1))[:2]]
        [1.0, 1.0]

    Source: Richardson (1911), The approximate arithmetical solution by finite differences.
    """
    solved = [model.refine(steps=each).solve(*inputs) for each in steps]
    return refined(steps, [flat(each.output) for each in solved], [each.evaluations for each in solved])


def refined(steps: Sequence[int], outputs: Sequence[Tensor], evaluations: Sequence[int]) -> list[Refined]:
    """Return the rows of a refinement from what each number of steps gave.

    Args:
        steps: steps a block, each twice the one before.
        outputs: (n,) for each of them.
        evaluations: for each of them.

    Raises:
        InputError: numbers of steps that do not double.
    """
    if any(after != 2 * before for before, after in pairwise(steps)):
        raise InputError(f"each number of steps must be twice the one before, got {list(steps)}.")
    size = float(outputs[0].norm())
    apart = [float((after - before).norm()) / size for before, after in pairwise(outputs)] + [math.nan]
    order = [math.log2(a / b) if a > 0 and b > 0 else math.nan for a, b in pairwise(apart)] + [math.nan]
    return [
        Refined(number, count, float((output - outputs[0]).norm()) / size, gap, slope)
        for number, count, output, gap, slope in zip(steps, evaluations, outputs, apart, order, strict=True)
    ]


def flat(output: Any) -> Tensor:
    """Return all real tensors of an output as one vector."""
    leaves = [each for each in pytree.tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()]
    if not leaves:
        raise InputError("the network returns no real numbers, so that nothing can be compared.")
    return torch.cat([each.flatten() for each in leaves])
