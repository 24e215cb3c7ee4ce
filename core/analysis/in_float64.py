"""A copy of a module in double precision."""

import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def in_float64(module: Module) -> Module:
    """Return a copy of a module whose parameters and buffers are in double precision, complex ones in complex128.

    The module itself stays as it is; the copy keeps its mode of training or evaluation.

    Example:
        >>> import torch
        >>> in_float64(nn.Linear(2, 3))(torch.ones(1, 2, dtype=torch.float64)).dtype
        torch.float64
    """
    return copy.deepcopy(module).double()
