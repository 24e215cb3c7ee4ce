"""DPM-Solver++ in single steps: exponential Runge-Kutta in lambda, of the clean data."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.exponential_runge_kutta import walk_table
from integrand.core.diffusion.samplers.grid import Callback
from integrand.core.numerics.exponential.phi_functions import phi
from integrand.core.numerics.exponential.tableau import ExponentialTableau

DPMPP_2S = ExponentialTableau(
    "dpmpp_2s",
    ((), (1 / 2 * phi(1, 1 / 2),)),
    (None, phi(1)),
    (0.0, 1 / 2),
    2,
    "Lu and others (2022), DPM-Solver++, Algorithm 1 with r = 1/2",
)
DPMPP_3S = ExponentialTableau(
    "dpmpp_3s",
    (
        (),
        (1 / 3 * phi(1, 1 / 3),),
        (2 / 3 * phi(1, 2 / 3) - 4 / 3 * phi(2, 2 / 3), 4 / 3 * phi(2, 2 / 3)),
    ),
    (phi(1) - 3 / 2 * phi(2), None, 3 / 2 * phi(2)),
    (0.0, 1 / 3, 2 / 3),
    3,
    "Lu and others (2022), DPM-Solver++, its code's third-order step; Hochbruck and Ostermann (2005), Explicit "
    "exponential Runge-Kutta methods for semilinear parabolic problems, Section 5.2 with c_2 = 1/3",
)


def dpmpp_2s(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by DPM-Solver++ 2S, order 2, two evaluations a step.

    The answer halfway in lambda is taken for the whole step. A step that begins in pure noise or ends in clean data is
    that of ``ddim``. Arguments as those of ``ddim``.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Algorithm 1 with r = 1/2.
    """
    return walk_table(DPMPP_2S, field, x, times, args, callback)


def dpmpp_3s(
    field: Denoising,
    x: Tensor,
    times: Tensor | Sequence[float],
    *,
    args: Any = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk the probability flow by DPM-Solver++ 3S, order 3, three evaluations a step.

    They are made at the start, after a third and after two thirds in lambda. It is the method of third order that
    Hochbruck and Ostermann had given for parabolic equations. Steps with an infinite end, and arguments, as those of
    ``dpmpp_2s``.

    Source: Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models, Appendix B; Hochbruck and Ostermann (2005), Explicit exponential Runge-Kutta methods for
    semilinear parabolic problems, Section 5.2.
    """
    return walk_table(DPMPP_3S, field, x, times, args, callback)
