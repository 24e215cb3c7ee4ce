"""What an instrument measures with: a field or a layer in float64, and inputs that fit it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.analysis.in_float64 import in_float64


def in_double(called: Callable[..., Any], given: Tensor) -> tuple[Any, Tensor]:
    """Return a copy of a module in float64 and evaluation mode, and the tensor in float64.

    Any other callable may close over parameters that cannot be reached, so that it stays as it is and is given the
    tensor in the precision it came in.

    Args:
        called: a module, or any other callable.
        given: what it is to be called with; detached.

    Example:
        >>> layer, x = in_double(nn.Linear(2, 2), torch.zeros(1, 2))
        >>> layer.weight.dtype, x.dtype
        (torch.float64, torch.float64)
        >>> in_double(torch.sin, torch.zeros(1))[1].dtype
        torch.float32
    """
    if not isinstance(called, nn.Module):
        return called, given.detach()
    with torch.inference_mode(False):
        return in_float64(called).eval(), given.detach().double()
