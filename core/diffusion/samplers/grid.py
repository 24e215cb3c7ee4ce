"""The grid a sampler walks: its coefficients as plain numbers, computed once for all steps."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from integrand.core.diffusion.process import Process
from integrand.core.errors import InputError

Callback = Callable[[int, float, Tensor], Any]
"""Called ``callback(step, t, x)`` after every step, 1 to S, with the time and the state reached; what it returns is not
looked at."""


class Grid(NamedTuple):
    """Times and what the process is at each of them, S + 1 in all.

    Coefficients are formed in float64 on the host before the first step, so that a step is the network and a few fused
    operations on tensors, and nothing waits for an accelerator.

    Attributes:
        t: the times as tensors (), on the device and in the precision of the states.
        at: the times as numbers.
        alpha, sigma: of the process.
        half_log_snr: lambda; infinite where sigma or alpha is 0.
        kept_by: ``kept`` of each step, (S) of them, as ``scalars``.
    """

    t: list[Tensor]
    at: list[float]
    alpha: list[float]
    sigma: list[float]
    half_log_snr: list[float]
    kept_by: list[Tensor]

    @classmethod
    def of(cls, process: Process, times: Tensor | Sequence[float], x: Tensor, *, order: int = 1) -> "Grid":
        """Make the grid of a sampler that starts from x.

        Args:
            process: the path.
            times: (S + 1,), decreasing; only the last may be 0.
            x: the state it starts from.
            order: fewest steps that the sampler makes sense with, of a multistep method its order.

        Raises:
            InputError: times that do not decrease or are outside the process; too few steps.
        """
        host = torch.as_tensor(times, dtype=torch.float64, device="cpu")
        at: list[float] = host.tolist() if host.dim() == 1 else []
        # On numbers, not tensors: for some tens of them that costs a tenth.
        if len(at) < 2 or not all(later < t for t, later in pairwise(at)) or not at[-1] >= 0:
            raise InputError(
                f"times must be (S + 1,), decreasing and not negative, got {tuple(host.shape)}: see step_times."
            )
        if at[0] > process.end * (1 + 1e-9):
            raise InputError(f"times begin at {at[0]:g}, after the end of {process.name}, {process.end:g}.")
        if len(at) - 1 < order:
            raise InputError(
                f"a multistep method of order {order} needs at least as many steps, got {len(at) - 1}: take more."
            )
        alpha, sigma = process.alpha(host).tolist(), process.sigma(host).tolist()
        if at[-1] == 0:
            sigma[-1] = 0.0  # whatever is left by rounding, or by a process whose data are never quite clean
        level = [_log(a) - _log(s) for a, s in zip(alpha, sigma, strict=True)]
        t = list(host.to(dtype=x.dtype).to(x.device, non_blocking=True).unbind())
        return cls(t, at, alpha, sigma, level, scalars([j / i for i, j in pairwise(sigma)], x))

    @property
    def steps(self) -> int:
        """S."""
        return len(self.at) - 1

    def kept(self, i: int, j: int) -> float:
        """Return sigma_j / sigma_i, the share of x_i that a linear step from i to j keeps."""
        return self.sigma[j] / self.sigma[i]

    def given(self, i: int, j: int) -> float:
        """Return alpha_j (1 - e^-h), what a step of h in lambda from i to j gives of the clean data."""
        return self.alpha[j] - self.alpha[i] * self.sigma[j] / self.sigma[i]

    def h(self, i: int, j: int) -> float:
        """Return lambda_j - lambda_i; infinite where a step begins in pure noise or ends in clean data."""
        return self.half_log_snr[j] - self.half_log_snr[i]

    def is_finite(self, i: int, j: int) -> bool:
        """Return whether a step neither begins in pure noise nor ends in clean data, so that its h is finite."""
        return math.isfinite(self.half_log_snr[i]) and math.isfinite(self.half_log_snr[j])


class Factors(NamedTuple):
    """A step x_j = kept x_i + given D + amount z of a sampler with noise z."""

    kept: float
    given: float
    amount: float


def scalars(values: Sequence[float], x: Tensor) -> list[Tensor]:
    """Return numbers as tensors () on the host, by which x is multiplied in half the time that a number takes.

    A number is made a tensor at every product, which costs as much as the product of a small x. They have the precision
    of x, at least float32; an accelerator takes them from the host with the call and waits for nothing.

    Args:
        values: numbers, (N).
        x: what they will multiply.
    """
    made = torch.tensor(values, dtype=torch.promote_types(x.dtype, torch.float32), device="cpu")
    return list(made.unbind())


def combine(x: Tensor, kept: float | Tensor, *terms: tuple[float, Tensor]) -> Tensor:
    """Return kept x + sum of factor times tensor, each term one fused operation.

    Example:
        >>> combine(torch.tensor([1.0]), 0.5, (2.0, torch.tensor([3.0])))
        tensor([6.5000])
    """
    total = x * kept
    for factor, term in terms:
        total.add_(term, alpha=factor)
    return total


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
