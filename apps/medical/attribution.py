"""Which part of what a network was shown speaks for its answer."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STEPS = 32


def integrated_gradients(
    answer: Callable[[Sequence[Tensor]], Tensor], inputs: Sequence[Tensor], *, steps: int = STEPS
) -> list[Tensor]:
    """Attribute an answer to the numbers it was given, against inputs of 0.

        a_i = x_i int_0^1 d answer(s x) / d x_i ds,        sum_i a_i = answer(x) - answer(0),

    the integral by the midpoint rule.

    Args:
        answer: from inputs to one number.
        inputs: the tensors that vary; whatever is fixed, ``answer`` holds itself.
        steps: of the rule.

    Returns:
        For each input a tensor of its shape, on the host.

    Example:
        >>> x = torch.tensor([1.0, 2.0])
        >>> integrated_gradients(lambda given: (given[0] ** 2).sum(), [x])[0]
        tensor([1., 4.])

    Source: Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, Eq. 1.
    """
    total = [torch.zeros_like(one) for one in inputs]
    with torch.enable_grad():
        for step in range(steps):
            scaled = [(one.detach() * ((step + 0.5) / steps)).requires_grad_() for one in inputs]
            slopes = torch.autograd.grad(answer(scaled), scaled)
            total = [sums + slope for sums, slope in zip(total, slopes, strict=True)]
    return [(one * sums / steps).detach().cpu() for one, sums in zip(inputs, total, strict=True)]
