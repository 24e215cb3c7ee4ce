"""Whether the weights of a stack change smoothly from one layer to the next."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError

SHUFFLES = 2000
"""Random orders that the layers' own is compared with."""


class DepthSmoothness(NamedTuple):
    """How far the weights of neighbouring layers lie apart.

    Attributes:
        successive: mean of |theta_{l+1} - theta_l| over the root mean square of |theta_l|; the square root of 2 for
            independent weights.
        shuffled: the same for layers in random order: the mean over all pairs.
        ratio: successive / shuffled; 1 where the order of the layers says nothing.
        probability: share of the random orders that are as smooth as the layers' own, from 1/2001.
    """

    successive: float
    shuffled: float
    ratio: float
    probability: float


def depth_smoothness(weights: Sequence[Tensor]) -> DepthSmoothness:
    """Compare neighbouring layers' weights with those of layers in random order.

    A network whose weights do not settle into a smooth function of depth as it grows deeper has no limit as an ordinary
    differential equation; independent weights lead to a stochastic one, or to none.

    Args:
        weights: tensors (N, ...), one for each place where a layer holds one; N is 3 or more.

    Raises:
        InputError: no weights, or fewer than three layers, which have no order to compare.

    Example:
        >>> found = depth_smoothness([torch.linspace(1, 2, 10)[:, None].expand(10, 3)])
        >>> round(found.ratio, 3), found.probability < 0.01
        (0.273, True)

    Source: Cohen, Cont, Rossier and Xu (2021), Scaling properties of deep residual networks; Sander, Ablin and Peyre
    (2022), Do residual neural networks discretize neural ordinary differential equations?
    """
    if not weights or len(weights[0]) < 3:
        raise InputError("the smoothness of weights over depth takes weights of three layers or more.")
    flat = [each.detach().double().flatten(1) for each in weights]
    squares = sum(torch.cdist(each, each).square() for each in flat)
    apart = torch.sqrt(torch.as_tensor(squares)).cpu().numpy()
    size = float(torch.sqrt(torch.stack([each.square().sum(1) for each in flat]).sum(0).mean()))
    count = len(apart)
    successive = float(np.diagonal(apart, 1).mean())
    shuffled = float(apart.sum() / (count * (count - 1)))
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (SHUFFLES, 1)), axis=1)
    means = apart[orders[:, :-1], orders[:, 1:]].mean(1)
    smaller = int((means <= successive * (1 + 1e-12)).sum())
    return DepthSmoothness(
        successive=successive / size if size else 0.0,
        shuffled=shuffled / size if size else 0.0,
        ratio=successive / shuffled if shuffled else 1.0,
        probability=(1 + smaller) / (1 + SHUFFLES),
    )
