"""SDE-DPM-Solver++: exponential methods in lambda for the reverse stochastic equation, of the clean data."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.adams import past_nodes
from integrand.core.diffusion.samplers.grid import Callback, Factors, Grid, combine
from integrand.core.diffusion.samplers.noise import Noise
from integrand.core.errors import InputError


def sde_dpmpp_1(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Walk the reverse stochastic equation by steps that are exact in law where the denoiser's answer does not change.

        x_j = sigma_j / sigma_i e^{-eta h} x_i + alpha_j (1 - e^{-(1 + eta) h}) D + sigma_j sqrt(1 - e^{-2 eta h}) z

    with h the step in lambda. Order 1 in law, one evaluation a step. At ``eta=1`` it is ``ancestral``, at ``eta=0``
    ``ddim``; between the two their families differ: here eta g^2 is the noise of the equation, there eta^2 a share of
    the chain's.

    Args:
        field, x, times, args, callback: see ``ddim``.
        noise: what draws z, see ``SampleNoise``; draw i belongs to step i.
        eta: amount of noise, at least 0.

    Returns:
        The states at ``times[-1]``, (B, ...).

    Raises:
        InputError: see ``ddim``; eta out of range.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Section 6, with the noise scaled as in Xue, Yi, Luo, Zhang, Sun, Li and Ma (2023), SA-Solver:
    stochastic Adams solver for fast sampling of diffusion models, Section 4.
    """
    return _walk(field, x, times, 1, noise, args, callback, eta)


def sde_dpmpp_2m(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    noise: Noise,
    args: Any = None,
    callback: Callback | None = None,
    eta: float = 1.0,
) -> Tensor:
    """Walk the reverse stochastic equation by the two-step method SDE-DPM-Solver++ 2M, one evaluation a step.

    The step of ``sde_dpmpp_1`` with (1 + 1/(2r)) D_i - 1/(2r) D_{i-1} for D, r = h_{i-1} / h_i, as ``dpmpp_2m`` has it
    and is at ``eta=0``. Order 2 in law, for the noise does not depend on the state. The first step, and one that ends
    in clean data, is that of ``sde_dpmpp_1``. Arguments as those of ``sde_dpmpp_1``; at least 2 steps.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Section 6.
    """
    return _walk(field, x, times, 2, noise, args, callback, eta)


def _walk(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    order: int,
    noise: Noise,
    args: Any,
    callback: Callback | None,
    eta: float,
) -> Tensor:
    if not eta >= 0:
        raise InputError(f"eta={eta:g} is out of range: it must not be negative.")
    grid, before = Grid.of(field.process, times, x, order=order), None
    for i in range(grid.steps):
        answer = field.denoise(grid.t[i], x, args)
        kept, given, amount = _factors(grid, i, eta)
        nodes = past_nodes(grid, i, order) if grid.is_finite(i, i + 1) else []
        if before is None or len(nodes) < 2:
            terms = [(given, answer)]
        else:
            lean = -0.5 / nodes[1]
            terms = [(given * (1 + lean), answer), (-given * lean, before)]
        x = combine(x, kept, *terms, *([(amount, noise(i, x))] if amount else []))
        before = answer
        if callback is not None:
            callback(i + 1, grid.at[i + 1], x)
    return x


def _factors(grid: Grid, i: int, eta: float) -> Factors:
    if not eta:  # 0 times an infinite step
        return Factors(grid.kept(i, i + 1), grid.given(i, i + 1), 0.0)
    h, sigma = grid.h(i, i + 1), grid.sigma[i + 1]
    return Factors(
        grid.kept(i, i + 1) * math.exp(-eta * h),
        -grid.alpha[i + 1] * math.expm1(-(1 + eta) * h),
        sigma * math.sqrt(-math.expm1(-2 * eta * h)),
    )
