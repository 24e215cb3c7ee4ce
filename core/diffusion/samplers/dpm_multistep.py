"""DPM-Solver++ in several steps: exponential Adams-Bashforth in lambda, of the clean data."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.adams import adams_weights, moments, node_weights, past_nodes
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine

Weigh = Callable[[Grid, int], list[float]]
"""Called ``weigh(grid, i)`` for a step whose h is finite: the factors of the answers at i, i - 1, ..., as many as it
uses."""


def dpmpp_2m(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by the two-step method DPM-Solver++ 2M, order 2, one evaluation a step.

        x_j = sigma_j / sigma_i x_i + (alpha_j - alpha_i sigma_j / sigma_i) ((1 + 1/(2r)) D_i - 1/(2r) D_{i-1})

    with r = h_{i-1} / h_i the ratio of the steps in lambda. The first step, and one that ends in clean data, is that of
    ``ddim``. Arguments as those of ``ddim``; at least 2 steps.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Algorithm 2.
    """
    return _multistep(field, x, times, 2, _second, args, callback)


def dpmpp_3m(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by the three-step exponential Adams-Bashforth method, order 3, one evaluation a step.

    The parabola through the last three answers is integrated exactly against e^lambda,

        x_j = sigma_j / sigma_i x_i + alpha_j (w_0 D_i + w_1 D_{i-1} + w_2 D_{i-2}),

    which is DPM-Solver++ 3M with its second difference doubled; see ``dpmpp_3m_published``. The first two steps are of
    order 1 and 2, and one that ends in clean data is that of ``ddim``. Arguments as those of ``ddim``; at least 3
    steps.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Appendix B, with the factor that its order asks for.
    """
    return _multistep(field, x, times, 3, _third, args, callback)


def dpmpp_3m_published(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by DPM-Solver++ 3M as its authors and others have it, order 2, one evaluation a step.

    Its last term is phi_3(-h) h times the second divided difference of the answers in steps of h, where a parabola has
    phi_3(-h) h times the second derivative, twice as much. It thus converges at order 2, though at few steps it may be
    nearer than ``dpmpp_3m``, whose longer reach costs it there. Kept to reproduce what was sampled by it. Arguments as
    those of ``ddim``; at least 3 steps.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, its published code, multistep of third order.
    """
    return _multistep(field, x, times, 3, _third_published, args, callback)


def _multistep(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    order: int,
    weigh: Weigh,
    args: Any,
    callback: Callback | None,
) -> Tensor:
    grid = Grid.of(field.process, times, x, order=order)
    past: list[Tensor] = []  # answers, the latest first
    for i in range(grid.steps):
        past = [field.denoise(grid.t[i], x, args), *past[: order - 1]]
        weights = weigh(grid, i) if grid.is_finite(i, i + 1) else [grid.given(i, i + 1)]
        x = combine(x, grid.kept_by[i], *zip(weights, past, strict=False))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _second(grid: Grid, i: int) -> list[float]:
    given, nodes = grid.given(i, i + 1), past_nodes(grid, i, 2)
    if len(nodes) == 1:
        return [given]
    lean = -0.5 / nodes[1]
    return [given * (1 + lean), -given * lean]


def _third(grid: Grid, i: int) -> list[float]:
    nodes = past_nodes(grid, i, 3)
    if len(nodes) == 2:
        return _second(grid, i)
    return [grid.alpha[i + 1] * weight for weight in adams_weights(grid.h(i, i + 1), nodes)]


def _third_published(grid: Grid, i: int) -> list[float]:
    nodes = past_nodes(grid, i, 3)
    if len(nodes) < 3:
        return _third(grid, i)
    m0, m1, m2 = moments(grid.h(i, i + 1), 3)
    # h phi_3(-h) = m_2 / 2, with which the parabola's last term is multiplied where m_2 belongs.
    return [grid.alpha[i + 1] * weight for weight in node_weights([m0, m1, m2 / 2], nodes)]
