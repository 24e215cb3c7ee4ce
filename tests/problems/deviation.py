"""How far two results are apart, and at which order one of them comes nearer."""

from collections.abc import Sequence

import numpy as np
from comparison import Array, apart
from torch import Tensor


def numbers(tensor: Tensor) -> Array:
    """Return a tensor's values in double precision, without its graph."""
    return tensor.detach().double().numpy()


def deviation(found: Tensor | Array | float, expected: Array | float) -> float:
    """Return the largest difference of two arrays of one shape, relative to the largest value of the second."""
    return apart(found if isinstance(found, Tensor) else np.asarray(found), np.asarray(expected))


def order_of(errors: Sequence[float], refinement: float = 2.0) -> float:
    """Return p of errors that fall like h^p, from the last two, their steps h being shorter by a factor each time."""
    return float(np.log(errors[-2] / errors[-1]) / np.log(refinement))
