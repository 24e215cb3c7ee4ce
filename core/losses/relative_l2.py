"""The relative L2 error of a field."""

import torch
from torch import Tensor


def relative_l2(prediction: Tensor, truth: Tensor, *, dims: int, floor: float = 0.0) -> Tensor:
    """Return the size of the error beside that of the truth, over the last ``dims`` axes.

        |p - u| / |u|,      |u|^2 = sum over the points of u^2

    On a uniform grid it is the ratio of integrals over the box, whatever the resolution.

    Args:
        prediction: p, (..., *X).
        truth: u, the same shape.
        dims: axes of the grid.
        floor: the least root mean square that is divided by: where the truth is 0 the error counts in multiples of it.

    Returns:
        The error of each field, (...).

    Example:
        >>> relative_l2(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), dims=1)
        tensor(0.5657)

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Section 5.
    """
    axes = tuple(range(-dims, 0))
    error, size = (torch.linalg.vector_norm(one, dim=axes) for one in (prediction - truth, truth))
    return error / size.clamp(min=floor * truth.shape[-dims:].numel() ** 0.5)
