"""Times chosen for a field: steps of equal error, as a pilot batch measures it."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising
from integrand.core.diffusion.samplers.dpm_multistep import dpmpp_2m
from integrand.core.diffusion.schedule import Final, step_times
from integrand.core.errors import InputError


def optimal_times(
    field: Denoising,
    x: Tensor,
    steps: int,
    *,
    order: int = 2,
    final: Final = "denoise",
    start: float | None = None,
    end: float | None = None,
    args: Any = None,
    pilot_steps: int = 100,
    floor: float = 0.5,
) -> Tensor:
    """Return S + 1 times at which a sampler of order p makes the same error in every step, as a pilot run measures it.

    In lambda the walk is y' = D - y of y = x / alpha, so that a step of h from lambda errs by about C h^{p+1} with C in
    proportion to the p-th derivative of the answer along the path. The sum of the errors is least, for a number of
    steps, where their density is in proportion to C^{1 / (p + 1)}. A pilot batch walks a fine grid even in lambda by
    ``dpmpp_2m``; the derivatives are the differences of its answers, and

        C(lambda) = rms |d^p D / d lambda^p| / sqrt(s^2 + e^{-2 lambda}),

    s being the standard deviation of the last answers, is the size of the derivative as a share of the states': for
    normal data an error is carried to the end in proportion to that. To the density a share of its mean is added, so
    that no step becomes so long that its error is no longer that of the leading term. That is what the choice rests on:
    with 10 steps or so it helps single-step methods and those of two steps, and harms methods that reach further back,
    which then do best with steps even in lambda.

    Args:
        field: what denoises.
        x: the pilot's states at ``end``, (B, ...); some tens are enough.
        steps: S.
        order: p, of the sampler that the times are for.
        final, start, end: see ``step_times``.
        args: conditions of the pilot, as the field takes them.
        pilot_steps: steps of the pilot, each one evaluation of the batch.
        floor: the share that is added.

    Returns:
        The times, (S + 1,), decreasing, in float64 on the host.

    Raises:
        InputError: see ``step_times``; fewer pilot steps than twice the steps, an order below 1, a floor below 0; a
            pilot that is not finite.

    Source: the principle of equal errors, as in de Boor (1973), Good approximation by splines with variable knots; for
    diffusion Watson, Ho, Norouzi and Chan (2021), Learning to efficiently sample from diffusion probabilistic models,
    and Sabour, Fidler and Kreis (2024), Align your steps: optimizing sampling schedules in diffusion models.
    """
    if order < 1 or not floor >= 0:
        raise InputError(f"order={order} and floor={floor:g} are out of range: at least 1 and 0.")
    if pilot_steps < max(2 * steps, 4 * order):
        raise InputError(f"pilot_steps={pilot_steps} is too few for {steps} steps: take {max(2 * steps, 4 * order)}.")
    process = field.process
    times = step_times(process, steps, spacing="log_snr", final=final, start=start, end=end)
    count = steps if final == "stop" else steps - 1
    if count < 2:
        return times
    last, first = float(times[count]), float(times[0])
    fine = step_times(process, pilot_steps, spacing="log_snr", final="stop", start=last, end=first)
    seen = _Differences(field, order)
    with torch.no_grad():
        dpmpp_2m(seen, x, fine, args=args)
    # Of the two last, which are in the interior, since the first may have no level.
    most, before = process.half_log_snr(fine[[-1, -2]]).tolist()
    spacing = most - before
    least = most - pilot_steps * spacing
    middle = least + spacing * (np.arange(len(seen.sizes)) + 0.5 * order)
    size = torch.stack(seen.sizes).double().cpu().numpy()
    scale = float(seen.answers[0].double().std(0).square().mean().sqrt()) if len(x) > 1 else 0.0
    share = (size / np.sqrt(scale**2 + np.exp(-2 * middle))) ** (1 / (order + 1))
    if not np.isfinite(share).all() or not share.any():
        raise InputError("the pilot's answers are not finite, or never change: look at what the network answers.")
    # On the fine grid's nodes, and from it the share of all error on the way to each.
    levels = least + spacing * np.arange(pilot_steps + 1)
    density = np.interp(levels, middle, share)
    density += floor * density.mean()
    reached = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    placed = np.interp(np.linspace(0, reached[-1], count + 1), reached, levels)
    times[1:count] = process.time(torch.from_numpy(placed[1:-1]))
    return times


class _Differences:
    """A field that keeps its last p + 1 answers, and of every p-th difference of them the root mean square."""

    def __init__(self, field: Denoising, order: int) -> None:
        self.process, self.field, self.order = field.process, field, order
        self.answers: list[Tensor] = []  # the latest first
        self.sizes: list[Tensor] = []

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return what the field answers."""
        answer = self.field.denoise(t, x, args)
        self.answers = [answer, *self.answers[: self.order]]
        if len(self.answers) > self.order:
            signs = [(-1) ** k * math.comb(self.order, k) for k in range(self.order + 1)]
            difference = sum((sign * each for sign, each in zip(signs, self.answers, strict=True)), answer * 0)
            self.sizes.append(difference.square().mean().sqrt())
        return answer
