"""A gradient kept to the solve whose gradient it is."""

from typing import Any

import torch
from torch import Tensor


class Door:
    """Whether gradients pass from a solve to what lies before it.

    Attributes:
        open: shut while the gradient of the solve alone is formed.
    """

    def __init__(self) -> None:
        self.open = False


def enter(door: Door, inputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """Return the inputs of a solve, the first ``count`` behind a door; the field holds the others itself."""
    behind: Any = (Through.apply(door, tensor) for tensor in inputs[:count])
    return (*behind, *inputs[count:])


class Through(torch.autograd.Function):
    """The identity, whose gradient stops at a shut door.

    The start and the arguments of a solve may depend on each other or on the parameters. While the gradient of the
    solve alone is formed it must not run on into what lies before; when that is differentiated in its turn, it must.
    """

    @staticmethod
    def forward(ctx: Any, door: Door, x: Tensor) -> Tensor:
        """Return x."""
        ctx.door = door
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor | None]:
        """Return the gradient, or nothing."""
        return None, grad_outputs[0] if ctx.door.open else None
