"""Stochastic interpolants: paths between data and a source of any distribution, coupled or not."""

import inspect
import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from integrand.core.diffusion.process import lift
from integrand.core.errors import InputError, unknown

Bump = Literal["none", "sqrt", "sine"]
BUMPS: tuple[str, ...] = get_args(Bump)


class Interpolant(ABC):
    """The path x_t = alpha(t) x_0 + beta(t) x_1 + gamma(t) z from data x_0 at t = 0 to a source x_1 at t = 1.

    The pair (x_0, x_1) is drawn from any coupling of the two, z ~ N(0, I) apart from it. What moves the density p_t of
    x_t is the mean velocity, what tells its slope is the mean noise,

        b(t, x) = E[alpha' x_0 + beta' x_1 + gamma' z | x_t = x],       grad log p_t(x) = -E[z | x_t = x] / gamma,

    so that dx/dt = b carries the source to the data, and, with any e(t) >= 0 and s the score, so does each of

        dx = (b + e s) dt + sqrt(2 e) dW from 0 to 1,                   dx = (b - e s) dt + sqrt(2 e) dW from 1 to 0.

    The noise makes p_t smooth where the data are not. It enters by one of three bumps gamma of a scale c:

    =====  =====================  ==================================================================
    none   0                      no noise, and no score
    sqrt   c sqrt(t (1 - t))      the noise of a Brownian bridge; gamma' is infinite at both ends
    sine   c sin(pi t)^2          gamma' is finite everywhere
    =====  =====================  ==================================================================

    Where gamma' is infinite the target of ``velocity`` has no finite variance, though b itself is finite: its singular
    part is -gamma gamma' s, and ``bump_slope``, the product gamma gamma', is finite. Three ways are honest: to draw
    times no nearer to the ends than ``start``, as ``draw_times`` does; to use the antithetic ``flow_matching_loss``,
    whose variance stays finite; or to learn the mean of ``displacement``, which has no noise in it, beside the score,
    and to form b from both, as ``SchrodingerBridge`` does.

    Its place on the map: model level; what a diffusion ``Process`` is with a source that need not be normal.

    Args:
        bump: a name in ``BUMPS``.
        scale: c, in the units of the data; 0 without a bump.
        start: least distance of a time from either end in training; 0 where gamma' is finite unless given.

    Raises:
        InputError: an unknown bump; a scale without one, or one without a scale; a start out of range.

    Source: Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants: a unifying framework for flows and
    diffusions, Definition 1 and Theorems 6 to 8, with their x_0 and x_1 exchanged.
    """

    name: ClassVar[str]

    def __init__(self, *, bump: Bump = "none", scale: float | None = None, start: float | None = None) -> None:
        if bump not in BUMPS:
            raise unknown("bump", bump, BUMPS)
        self.bump = bump
        self.scale = float(bump != "none") if scale is None else scale
        if bump == "none" and self.scale != 0:
            raise InputError(f"{self.name}: scale={self.scale:g} needs a bump: set bump='sqrt' or 'sine'.")
        if bump != "none" and not 0 < self.scale < math.inf:
            raise InputError(f"{self.name}: scale={self.scale:g} is out of range: it must be positive, or bump='none'.")
        self.start = (1e-3 if bump == "sqrt" else 0.0) if start is None else start
        if not 0 <= self.start < 0.5:
            raise InputError(f"{self.name}: start={self.start:g} is out of range: 0 <= start < 0.5 must hold.")

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the share of the data at times of any shape."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """Return the share of the source."""

    @abstractmethod
    def alpha_slope(self, t: Tensor) -> Tensor:
        """Return d alpha / dt."""

    @abstractmethod
    def beta_slope(self, t: Tensor) -> Tensor:
        """Return d beta / dt."""

    @property
    def noisy(self) -> bool:
        """Whether there is noise on the way."""
        return self.bump != "none"

    def gamma(self, t: Tensor) -> Tensor:
        """Return the standard deviation of the noise at times of any shape."""
        if self.bump == "sqrt":
            return self.scale * (t * (1 - t)).clamp_min(0).sqrt()
        if self.bump == "sine":
            return self.scale * torch.sin(math.pi * t).square()
        return torch.zeros_like(t)

    def gamma_slope(self, t: Tensor) -> Tensor:
        """Return d gamma / dt; with the bump sqrt infinite at both ends."""
        if self.bump == "sqrt":
            return self.scale * (1 - 2 * t) / (2 * (t * (1 - t)).clamp_min(0).sqrt())
        if self.bump == "sine":
            return self.scale * math.pi * torch.sin(2 * math.pi * t)
        return torch.zeros_like(t)

    def bump_slope(self, t: Tensor) -> Tensor:
        """Return gamma d gamma / dt, finite everywhere."""
        if self.bump == "sqrt":
            return self.scale**2 * (0.5 - t)
        return self.gamma(t) * self.gamma_slope(t)

    def mix(self, x0: Tensor, x1: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return x_t, (B, ...).

        Args:
            x0: data, (B, ...).
            x1: points of the source, paired with the data, (B, ...).
            t: a scalar or (B,).
            noise: z, (B, ...); needed where there is a bump.

        Raises:
            InputError: shapes that differ; noise where there is no bump, or none where there is one.
        """
        self._check(x0, x1, noise)
        x = lift(self.alpha(t), x0) * x0 + lift(self.beta(t), x0) * x1
        return x if noise is None else x + lift(self.gamma(t), x0) * noise

    def displacement(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """Return alpha' x_0 + beta' x_1, (B, ...), the velocity but for the noise."""
        return lift(self.alpha_slope(t), x0) * x0 + lift(self.beta_slope(t), x0) * x1

    def velocity(self, x0: Tensor, x1: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return d x_t / dt with x_0, x_1 and z held, (B, ...), whose mean given x_t is the field b."""
        self._check(x0, x1, noise)
        velocity = self.displacement(x0, x1, t)
        return velocity if noise is None else velocity + lift(self.gamma_slope(t), x0) * noise

    def score_target(self, t: Tensor, noise: Tensor) -> Tensor:
        """Return -z / gamma, (B, ...), whose mean given x_t is the score; infinite at both ends.

        Raises:
            InputError: there is no bump, and so no score.
        """
        if not self.noisy:
            raise InputError(f"{self.name} has no noise and so no target of the score: set bump='sqrt' or 'sine'.")
        return -noise / lift(self.gamma(t), noise)

    def draw_times(self, like: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw a time for each sample of ``like`` (B, ...), uniform on [start, 1 - start], (B,).

        The times of a batch are one in each B-th of the interval, in random order: each is uniform, and their mean
        over the interval has less variance than that of independent draws.
        """
        count = len(like)
        drawn = torch.rand(count, dtype=like.dtype, device=like.device, generator=generator)
        places = torch.randperm(count, device=like.device, generator=generator)
        return self.start + (1 - 2 * self.start) * (places + drawn) / count

    def _check(self, x0: Tensor, x1: Tensor, noise: Tensor | None) -> None:
        if x0.shape != x1.shape or (noise is not None and noise.shape != x0.shape):
            shapes = " and ".join(str(tuple(each.shape)) for each in (x0, x1, noise) if each is not None)
            raise InputError(f"data, source and noise must be of one shape, got {shapes}: pair them row by row.")
        if (noise is None) == self.noisy:
            told = "needs noise: draw it with torch.randn_like(x0)" if self.noisy else "takes no noise: leave it out"
            raise InputError(f"{self.name} with bump={self.bump!r} {told}.")

    def __repr__(self) -> str:
        """Say what it was made with."""
        return f"{type(self).__name__}(bump={self.bump!r}, scale={self.scale:g}, start={self.start:g})"


class LinearInterpolant(Interpolant):
    """The straight path: alpha = 1 - t, beta = t. With a normal source and no bump it is the process ``LinearFlow``.

    Args:
        bump, scale, start: see ``Interpolant``.

    Example:
        >>> data, source = torch.tensor([[0.0]]), torch.tensor([[4.0]])
        >>> LinearInterpolant().mix(data, source, torch.tensor(0.25))
        tensor([[1.]])

    Source: Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants: a unifying framework for flows and
    diffusions, on spatially linear interpolants.
    """

    name = "linear"

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return 1 - t

    def beta(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return t

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return -torch.ones_like(t)

    def beta_slope(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return torch.ones_like(t)


class TrigonometricInterpolant(Interpolant):
    """The path on a circle: alpha = cos(pi t / 2), beta = sin(pi t / 2), which keeps the variance of independent pairs.

    Args:
        bump, scale, start: see ``Interpolant``.

    Source: Albergo, Boffi and Vanden-Eijnden (2023), Stochastic interpolants: a unifying framework for flows and
    diffusions, on spatially linear interpolants.
    """

    name = "trigonometric"

    def alpha(self, t: Tensor) -> Tensor:
        """See ``Interpolant``; as a sine, that it is exactly 0 at t = 1."""
        return torch.sin(0.5 * math.pi * (1 - t))

    def beta(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return torch.sin(0.5 * math.pi * t)

    def alpha_slope(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return -0.5 * math.pi * self.beta(t)

    def beta_slope(self, t: Tensor) -> Tensor:
        """See ``Interpolant``."""
        return 0.5 * math.pi * self.alpha(t)


class BrownianBridge(LinearInterpolant):
    """The path of a Brownian motion of rate sigma, given both of its ends: gamma = sigma sqrt(t (1 - t)).

    Args:
        sigma: rate of the Brownian motion, in the units of the data.
        start: see ``Interpolant``.

    Example:
        >>> BrownianBridge(2.0).gamma(torch.tensor(0.5)).item()
        1.0

    Source: Tong, Malkin, Fatras, Atanackovic, Zhang, Huguet, Wolf and Bengio (2024), Simulation-free Schrodinger
    bridges via score and flow matching.
    """

    name = "brownian_bridge"

    def __init__(self, sigma: float = 1.0, *, start: float = 1e-3) -> None:
        super().__init__(bump="sqrt", scale=sigma, start=start)

    @property
    def sigma(self) -> float:
        """The rate of the Brownian motion."""
        return self.scale


INTERPOLANTS: dict[str, type[Interpolant]] = {
    kind.name: kind for kind in (LinearInterpolant, TrigonometricInterpolant, BrownianBridge)
}
"""Interpolants by name."""


def interpolant(name: str, **options: float | str) -> Interpolant:
    """Return the interpolant called ``name``, made with options of its own.

    Raises:
        InputError: there is none of that name, or an option is not its own or out of range.

    Example:
        >>> interpolant("linear", bump="sine", scale=0.5)
        LinearInterpolant(bump='sine', scale=0.5, start=0)
    """
    if name not in INTERPOLANTS:
        raise unknown("interpolant", name, INTERPOLANTS)
    kind = INTERPOLANTS[name]
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise unknown(f"option of interpolant {name}", option, known)
    return kind(**options)  # pyright: ignore[reportArgumentType]
