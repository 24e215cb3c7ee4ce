"""UniPC: an exponential Adams-Bashforth predictor and an Adams-Moulton corrector that cost one evaluation together."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.adams import adams_weights, past_nodes
from integrand.core.diffusion.samplers.grid import Callback, Grid, combine
from integrand.core.errors import InputError, unknown

Variant = Literal["bh1", "bh2"]
VARIANTS: tuple[str, ...] = get_args(Variant)
MOST = 4
"""Highest order offered; the reach of higher ones costs more than they gain."""


def unipc(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
    order: int = 2,
    variant: Variant = "bh2",
) -> Tensor:
    """Walk the probability flow by predictor and corrector, order p + 1, one evaluation a step.

    From the last p answers the polynomial of degree p - 1 predicts x_j; the answer there, which the next step needs in
    any case, is one more point, and the polynomial of degree p through all of them moves x_j before that step begins:

        predicted  x_j = sigma_j / sigma_i x_i + alpha_j sum_{k=0}^{p-1} w_k D_{i-k}
        corrected  x_j = sigma_j / sigma_i x_i + alpha_j (v_{-1} D_j + sum_{k=0}^{p-1} v_k D_{i-k})

    The weights integrate the polynomials exactly against e^lambda, except where a predictor has two points, or a
    corrector the end points alone: there half a difference is taken, times B(h) = h (``"bh1"``) or 1 - e^-h
    (``"bh2"``), which is what tells the variants apart. The last state is not corrected, since nothing is evaluated
    there.

    Args:
        field, x, times, args, callback: see ``ddim``; at least p steps.
        order: p of the predictor, 1 to 4.
        variant: a name in ``VARIANTS``.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; an order or a variant that there is not.

    Source: Zhao, Bai, Rao, Zhou and Lu (2023), UniPC: a unified predictor-corrector framework for fast sampling of
    diffusion models, Algorithms 1 and 2 and Section 3, in the form for the clean data.
    """
    if not 1 <= order <= MOST:
        raise InputError(f"order={order} is out of range: unipc has orders 1 to {MOST}.")
    if variant not in VARIANTS:
        raise unknown("variant of unipc", variant, VARIANTS)
    grid = Grid.of(field.process, times, x, order=order)
    past: list[Tensor] = []  # answers, the latest first
    predicted: list[float] = []  # factors that they had in x, where it is to be corrected
    for i in range(grid.steps):
        answer = field.denoise(grid.t[i], x, args)
        if predicted:
            # Both have the same share of the state before, so that the corrected is the predicted and a difference.
            latest, *others = _correct(grid, i - 1, order, variant)
            x = torch.add(x, answer, alpha=latest)
            for corrected, former, term in zip(others, predicted, past, strict=False):
                x.add_(term, alpha=corrected - former)
        past = [answer, *past[: order - 1]]
        predicted = _predict(grid, i, order, variant) if grid.is_finite(i, i + 1) else []
        x = combine(x, grid.kept_by[i], *zip(predicted or [grid.given(i, i + 1)], past, strict=False))
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _predict(grid: Grid, i: int, order: int, variant: str) -> list[float]:
    nodes = past_nodes(grid, i, order)
    if len(nodes) == 2:
        lean = -0.5 / nodes[1] * _half(grid, i, variant)
        return [grid.given(i, i + 1) + lean, -lean]
    return [grid.alpha[i + 1] * weight for weight in adams_weights(grid.h(i, i + 1), nodes)]


def _correct(grid: Grid, i: int, order: int, variant: str) -> list[float]:
    """Return the factors of the answers at i + 1, i, i - 1, ..."""
    nodes = past_nodes(grid, i, order)
    if len(nodes) == 1:
        lean = 0.5 * _half(grid, i, variant)
        return [lean, grid.given(i, i + 1) - lean]
    return [grid.alpha[i + 1] * weight for weight in adams_weights(grid.h(i, i + 1), [1.0, *nodes])]


def _half(grid: Grid, i: int, variant: str) -> float:
    """Return alpha_j B(h)."""
    h = grid.h(i, i + 1)
    return grid.alpha[i + 1] * (h if variant == "bh1" else -math.expm1(-h))
