"""Times at which a sampler steps, from noise to data."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from integrand.core.diffusion.process import FARTHEST, Process
from integrand.core.errors import InputError, unknown

Spacing = Literal["karras", "log_snr", "time", "quadratic"]
SPACINGS: tuple[str, ...] = get_args(Spacing)
Final = Literal["denoise", "stop"]
FINALS: tuple[str, ...] = get_args(Final)
PURE_NOISE = 200.0
"""What sigma / alpha is taken for where a process ends in noise alone, as the place from which steps are spaced: EDM's
80 for data of scale 0.5 is 160. More would spend steps where nothing of the data is seen; the step from pure noise to
the next time is exact but for what the denoiser learns on the way, some 1 / 200^2."""


def step_times(
    process: Process,
    steps: int,
    *,
    spacing: Spacing = "karras",
    final: Final = "denoise",
    start: float | None = None,
    end: float | None = None,
    rho: float = 7.0,
) -> Tensor:
    """Return the S + 1 times of S steps, decreasing, in float64 on the host.

    ``"karras"`` makes (sigma / alpha)^(1 / rho) fall evenly; ``"log_snr"``, its logarithm, which is the limit of large
    rho and what exponential integrators have their order in; ``"time"``, t; ``"quadratic"``, the square root of t. For
    the first two a process that ends in noise alone, as flows do, begins as if sigma / alpha were ``PURE_NOISE`` there.

    The last time is a rule of its own. ``"stop"`` ends at ``start``, where some noise is left. ``"denoise"`` reaches
    ``start`` one step earlier and ends at t = 0, a step in which every sampler answers with the denoiser's mean: it
    costs the same evaluations and is the rule of EDM.

    Args:
        process: the path.
        steps: S, at least 1.
        spacing: a name in ``SPACINGS``.
        final: a name in ``FINALS``.
        start, end: least and largest time; the process's own when None.
        rho: of Karras's spacing.

    Raises:
        InputError: an unknown name, or a value out of range.

    Example:
        >>> from integrand.core.diffusion.processes import EDM
        >>> [round(t, 3) for t in step_times(EDM(), 4).tolist()]
        [80.0, 9.723, 0.47, 0.002, 0.0]

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Eq. 5; for the logarithm Lu, Zhou, Bao, Chen, Li and Zhu (2022), DPM-Solver: a fast ODE solver for diffusion
    probabilistic model sampling in around 10 steps.
    """
    start, end = process.start if start is None else start, process.end if end is None else end
    if steps < 1:
        raise InputError(f"steps={steps} is out of range: a sampler makes at least 1.")
    if not 0 < start < end <= process.end:
        raise InputError(f"0 < start < end <= {process.end:g} must hold, got start={start:g}, end={end:g}.")
    if spacing not in SPACINGS:
        raise unknown("spacing", spacing, SPACINGS)
    if final not in FINALS:
        raise unknown("final", final, FINALS)
    if not rho > 0:
        raise InputError(f"rho={rho:g} is out of range: it must be positive.")
    count = steps if final == "stop" else steps - 1
    if count == 0:
        return torch.tensor([end, 0.0], dtype=torch.float64, device="cpu")
    ends = torch.tensor([end, start], dtype=torch.float64, device="cpu")
    share = torch.linspace(0, 1, count + 1, dtype=torch.float64, device="cpu")
    if spacing in ("time", "quadratic"):
        power = 1.0 if spacing == "time" else 0.5
        first, last = (ends**power).tolist()
        times = (first + share * (last - first)) ** (1 / power)
    else:
        farthest = -process.half_log_snr(ends)
        farthest = torch.where(farthest.isposinf(), math.log(PURE_NOISE), farthest).clamp(-FARTHEST, FARTHEST)
        if spacing == "karras":
            first, last = (farthest / rho).exp().tolist()
            level = rho * (first + share * (last - first)).log()
        else:
            first, last = farthest.tolist()
            level = first + share * (last - first)
        times = process.time(-level)
    times[0], times[-1] = end, start
    return times if final == "stop" else torch.cat([times, times.new_zeros(1)])


def half_log_snr_span(process: Process) -> tuple[float, float]:
    """Return lambda at ``start`` and at ``end``, both within ``FARTHEST``."""
    ends = torch.tensor([process.start, process.end], dtype=torch.float64, device="cpu")
    first, last = process.half_log_snr(ends).clamp(-FARTHEST, FARTHEST).tolist()
    return first, last
