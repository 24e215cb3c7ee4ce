"""Residual stacks with shorter steps in depth."""

import copy
from itertools import chain, repeat
from typing import TypeVar

from torch import Tensor, nn

from integrand.core.errors import InputError
from integrand.core.layers.momentum_residual import MomentumResidual, Motion
from integrand.core.layers.residual_stack import ResidualStack

Module = TypeVar("Module", bound=nn.Module)

STACKS = (ResidualStack, MomentumResidual)
"""Stacks that are steps of an equation in depth."""


def count_stacks(module: nn.Module) -> int:
    """Return how many stacks a module holds that ``finer_stack`` refines."""
    return sum(isinstance(each, STACKS) for each in module.modules())


def finer_stack(module: Module, refine: int) -> Module:
    """Return a copy of a module in which every residual stack takes k steps of length 1/k in place of each of its own.

    A stack x_{l+1} = x_l + f_l(x_l) is Euler's method with unit steps for

        dx/ds = f_l(x),     l <= s < l + 1,

    an equation whose right-hand side is constant in s within each block; k steps of Euler are x <- x + f_l(x) / k, k
    times. A ``MomentumResidual`` is symplectic Euler for eps x'' + x' = f, eps = 1 / (1 - g), and is refined as such:
    with v' = f - v over eps and steps 1/k, g becomes 1 - (1 - g) / k. The blocks, and their parameters, are shared by
    the steps. A block that is to give the same again must be in evaluation mode; the dropout of a ``ResidualStack`` is
    left out.

    Args:
        module: holds any number of ``ResidualStack`` and ``MomentumResidual``, or is one.
        refine: k.

    Raises:
        InputError: refine is below 1.

    Example:
        >>> import torch
        >>> block = nn.Linear(1, 1, bias=False)
        >>> _ = block.weight.data.fill_(-0.5)
        >>> stack = MomentumResidual([block] * 2, gamma=0.5)
        >>> finer_stack(stack, 2)(torch.ones(1, 1)).x.shape
        torch.Size([1, 1])

    Source: Queiruga, Erichson, Taylor and Mahoney (2020), Continuous-in-depth neural networks; Sander, Ablin, Blondel
    and Peyre (2021), Momentum residual neural networks, Section 3.
    """
    if not (isinstance(refine, int) and refine >= 1):
        raise InputError(f"refine={refine!r} must be a whole number from 1 on: 2 halves the steps.")
    finer = copy.deepcopy(module)
    if isinstance(finer, STACKS):
        return _finer(finer, refine)  # pyright: ignore[reportReturnType]
    for parent in list(finer.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, STACKS):
                setattr(parent, name, _finer(child, refine))
    return finer


def _finer(stack: ResidualStack | MomentumResidual, refine: int) -> nn.Module:
    if isinstance(stack, MomentumResidual):
        return _FinerMomentum(stack, refine)
    for name in ("layers", "norms", "gates"):
        setattr(stack, name, nn.ModuleList(chain.from_iterable(repeat(each, refine) for each in getattr(stack, name))))
    stack.dropout = _Scaled(refine)  # pyright: ignore[reportAttributeAccessIssue]
    return stack


class _Scaled(nn.Module):
    """A k-th of what a module gives, or of its input."""

    def __init__(self, refine: int, of: nn.Module | None = None) -> None:
        super().__init__()
        self.refine, self.of = refine, of

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.of is None else self.of(x)) / self.refine


class _FinerMomentum(nn.Module):
    """The stack whose velocity, a step between blocks of the original, is k steps of its own."""

    def __init__(self, stack: MomentumResidual, refine: int) -> None:
        super().__init__()
        self.refine = refine
        blocks = [_Scaled(refine, block) for block in stack.blocks for _ in range(refine)]
        self.stack = MomentumResidual(blocks, gamma=1 - (1 - stack.gamma) / refine, reversible=False)

    def forward(self, x: Tensor, v: Tensor | None = None) -> Motion:
        end = self.stack(x, None if v is None else v / self.refine)
        return Motion(end.x, end.v * self.refine)
