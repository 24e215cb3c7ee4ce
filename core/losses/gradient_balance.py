"""Weights that give every term of a loss a gradient of the same size."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def gradient_balance(terms: Sequence[Tensor], parameters: Iterable[Tensor]) -> Tensor:
    """Return the weight of each term of a loss by which all weighted terms have gradients of the same norm.

        w_i = sum_j |grad L_j| / |grad L_i|

    The terms keep their graphs, so that the weighted sum can be differentiated after it. Average the weights over the
    steps, as they are noisy; a term without gradient has the weight 1.

    Args:
        terms: K scalars.
        parameters: by which gradients are taken.

    Returns:
        (K,), detached.

    Example:
        >>> x = torch.tensor(1.0, requires_grad=True)
        >>> gradient_balance([3 * x, x], [x]).tolist()
        [1.333..., 4.0]

    Source: Wang, Sankaran, Wang and Perdikaris (2023), An expert's guide to training physics-informed neural networks,
    Section 4.1.
    """
    parameters = [each for each in parameters if each.requires_grad]
    norms = []
    for term in terms:
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        norms.append(torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt())
    sizes = torch.stack(norms).detach()
    return torch.where(sizes > 0, sizes.sum() / sizes.clamp(min=torch.finfo(sizes.dtype).tiny), 1.0)
