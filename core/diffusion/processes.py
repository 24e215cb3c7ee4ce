"""The processes there are: diffusions that preserve or explode the variance, and flows from data to noise."""

import math

import torch
from torch import Tensor

from integrand.core.diffusion.process import Process
from integrand.core.errors import InputError, unknown


class VP(Process):
    """The variance-preserving process: dx = -beta(t)/2 x dt + sqrt(beta(t)) dW with beta linear in time.

        alpha = exp(-B(t) / 2),   sigma^2 = 1 - alpha^2,   B(t) = beta_min t + (beta_max - beta_min) t^2 / 2

    As a path for flow matching it is the one called VP there.

    Args:
        beta_min, beta_max: rates at t = 0 and t = 1.
        start, end: see ``Process``.

    Example:
        >>> VP().alpha(torch.tensor(0.0)).item()
        1.0

    Source: Ho, Jain and Abbeel (2020), Denoising diffusion probabilistic models, in the limit of Song et al. (2021),
    Score-based generative modeling through stochastic differential equations, Eq. 11 and 32.
    """

    name = "vp"

    def __init__(self, *, beta_min: float = 0.1, beta_max: float = 20.0, start: float = 1e-3, end: float = 1.0) -> None:
        if not 0 < beta_min <= beta_max:
            raise InputError(f"{self.name}: 0 < beta_min <= beta_max must hold, got {beta_min:g} and {beta_max:g}.")
        self.beta_min, self.beta_max = beta_min, beta_max
        self._set_span(start, end, math.inf)

    def rate(self, t: Tensor) -> Tensor:
        """Return beta(t)."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def total(self, t: Tensor) -> Tensor:
        """Return B(t), the integral of beta from 0."""
        return t * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.exp(-0.5 * self.total(t))

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return (-torch.expm1(-self.total(t))).sqrt()

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -0.5 * self.rate(t) * self.alpha(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return 0.5 * self.rate(t) * self.alpha(t).square() / self.sigma(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``."""
        return self._time_of_total(torch.nn.functional.softplus(-2 * half_log_snr))

    def _time_of_total(self, total: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        return 2 * total / (self.beta_min + (self.beta_min**2 + 2 * slope * total).sqrt())


class SubVP(VP):
    """The process of the same drift as ``VP`` whose variance is less at every time: sigma = 1 - alpha^2.

    Args:
        beta_min, beta_max, start, end: see ``VP``.

    Source: Song et al. (2021), Score-based generative modeling through stochastic differential equations, Eq. 12.
    """

    name = "sub_vp"

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -torch.expm1(-self.total(t))

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return self.rate(t) * self.alpha(t).square()

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``; e^-lambda = 1 / alpha - alpha = 2 sinh(B / 2), where alpha itself would lose digits."""
        return self._time_of_total(2 * torch.asinh(0.5 * torch.exp(-half_log_snr)))


class VE(Process):
    """The variance-exploding process: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t.

    Args:
        sigma_min, sigma_max: noise at t = 0 and t = 1, in the units of the data.
        start, end: see ``Process``.

    Source: Song and Ermon (2019), Generative modeling by estimating gradients of the data distribution, in the form of
    Song et al. (2021), Score-based generative modeling through stochastic differential equations, Eq. 9 and 31.
    """

    name = "ve"

    def __init__(
        self, *, sigma_min: float = 0.01, sigma_max: float = 50.0, start: float = 1e-5, end: float = 1.0
    ) -> None:
        if not 0 < sigma_min < sigma_max:
            raise InputError(f"{self.name}: 0 < sigma_min < sigma_max must hold, got {sigma_min:g}, {sigma_max:g}.")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        self._set_span(start, end, math.inf)

    @property
    def _growth(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return self.sigma_min * torch.exp(self._growth * t)

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.zeros_like(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return self._growth * self.sigma(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``."""
        return -(half_log_snr + math.log(self.sigma_min)) / self._growth


class EDM(Process):
    """The process whose time is its noise: alpha = 1, sigma = t.

    Args:
        start, end: least and largest noise, in the units of the data.

    Source: Karras, Aittala, Aila and Laine (2022), Elucidating the design space of diffusion-based generative models,
    Eq. 1 and Table 1.
    """

    name = "edm"

    def __init__(self, *, start: float = 0.002, end: float = 80.0) -> None:
        self._set_span(start, end, math.inf)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return t

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.zeros_like(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.ones_like(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.exp(-half_log_snr)


class Cosine(Process):
    """The cosine process, variance-preserving: alpha = cos(phi(t)) / cos(phi(0)), phi = pi/2 (t + s) / (1 + s).

    Args:
        offset: s, which keeps the first steps from being too small.
        start, end: see ``Process``; at t = 1 nothing is left of the data.

    Source: Nichol and Dhariwal (2021), Improved denoising diffusion probabilistic models, Eq. 17.
    """

    name = "cosine"

    def __init__(self, *, offset: float = 0.008, start: float = 1e-3, end: float = 0.9946) -> None:
        if not offset >= 0:
            raise InputError(f"{self.name}: offset must not be negative, got {offset:g}.")
        self.offset = offset
        self._set_span(start, end, 1.0)

    def _angle(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * (t + self.offset) / (1 + self.offset)

    @property
    def _first(self) -> float:
        return 0.5 * math.pi * self.offset / (1 + self.offset)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return self._angle(t).cos() / math.cos(self._first)

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``; as a product of sines, that small times lose no digits."""
        angle = self._angle(t)
        return ((angle + self._first).sin() * (angle - self._first).sin()).clamp_min(0).sqrt() / math.cos(self._first)

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -0.5 * math.pi / (1 + self.offset) * self._angle(t).sin() / math.cos(self._first)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -self.alpha(t) * self.alpha_slope(t) / self.sigma(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``; by the tangent, tan^2 = sin^2 / cos^2 of the angle, where the cosine would lose digits."""
        alpha = torch.sigmoid(2 * half_log_snr).sqrt() * math.cos(self._first)
        # sin^2 phi = sin^2 phi_0 + sigma^2 cos^2 phi_0
        sine = (math.sin(self._first) ** 2 + torch.sigmoid(-2 * half_log_snr) * math.cos(self._first) ** 2).sqrt()
        return torch.atan2(sine, alpha) * 2 * (1 + self.offset) / math.pi - self.offset


class LinearFlow(Process):
    """The straight path: alpha = 1 - t, sigma = t, whose flow field is E[eps - x_0 | x_t].

    Args:
        start, end: see ``Process``; at t = 1 nothing is left of the data.

    Source: Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow matching for generative modeling, Eq. 20, with time
    reversed and sigma_min = 0; Liu, Gong and Liu (2023), Flow straight and fast: Learning to generate and transfer data
    with rectified flow, Eq. 1.
    """

    name = "linear_flow"

    def __init__(self, *, start: float = 1e-3, end: float = 1.0) -> None:
        self._set_span(start, end, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return t

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -torch.ones_like(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.ones_like(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.sigmoid(-half_log_snr)


class TrigonometricFlow(Process):
    """The path on a circle: alpha = cos(pi t / 2), sigma = sin(pi t / 2).

    Args:
        start, end: see ``Process``; at t = 1 nothing is left of the data.

    Source: Albergo and Vanden-Eijnden (2023), Building normalizing flows with stochastic interpolants, Eq. 5.
    """

    name = "trigonometric_flow"

    def __init__(self, *, start: float = 1e-3, end: float = 1.0) -> None:
        self._set_span(start, end, 1.0)

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Process``; as a sine, that it is exactly 0 at t = 1."""
        return torch.sin(0.5 * math.pi * (1 - t))

    def sigma(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.sin(0.5 * math.pi * t)

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return -0.5 * math.pi * self.sigma(t)

    def sigma_slope(self, t: Tensor) -> Tensor:
        """See ``Process``."""
        return 0.5 * math.pi * self.alpha(t)

    def time(self, half_log_snr: Tensor) -> Tensor:
        """See ``Process``."""
        return torch.atan(torch.exp(-half_log_snr)) * 2 / math.pi


PROCESSES: dict[str, type[Process]] = {
    kind.name: kind for kind in (EDM, VP, SubVP, VE, Cosine, LinearFlow, TrigonometricFlow)
}
"""Processes by name."""


def process(name: str, **options: float) -> Process:
    """Return the process called ``name``, made with options of its own.

    Raises:
        InputError: there is none of that name, or an option is not its own or out of range.

    Example:
        >>> process("edm", end=40.0)
        EDM(start=0.002, end=40)
    """
    if name not in PROCESSES:
        raise unknown("process", name, PROCESSES)
    kind = PROCESSES[name]
    try:
        return kind(**options)
    except TypeError as error:
        import inspect

        known = list(inspect.signature(kind).parameters)
        strange = next(iter(option for option in options if option not in known), "")
        raise unknown(f"option of process {name}", strange, known) from error
