"""Inverse problems: samples of what is given, by a denoiser that knows the measurement."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from integrand.core.diffusion.probability_flow import Denoising, ProbabilityFlow
from integrand.core.diffusion.process import lift
from integrand.core.errors import InputError

Operator = Callable[[Tensor], Tensor]


class PosteriorFlow(ProbabilityFlow):
    """The probability flow given y = A x_0 + n, n ~ N(0, s_y^2 I), of a linear operator A, by pseudo-inverse guidance.

    Given x_t, the clean data are taken for normal about the denoiser's mean with variance r^2, so that

        E[x_0 | x_t, y] = D + sigma^2 / alpha J^T A^T (r^2 A A^T + s_y^2 I)^-1 (y - A D),      J = dD/dx,

        r^2 = s^2 v / (s^2 + v),     v = sigma^2 / alpha^2,

    which is again a denoiser, and every sampler walks it. For normal data N(0, s^2 I) it is exact. One product with J^T
    is needed for each evaluation, which costs about two more of the network.

    The equation in the measurement is solved by conjugate gradients; for a mask, A A^T = I, one step is exact.

    Args:
        flow: of the data without a measurement.
        operator: A, a linear map of (B, ...) to (B, ...), differentiable; see ``masked`` for inpainting.
        measurement: y, (B, ...).
        noise: s_y, not negative.
        data_scale: s.
        iterations: most steps of conjugate gradients.
        tolerance: they end when the residual is this share of y - A D; looking costs a wait for the device, and is done
            where there is more than one step.

    Raises:
        InputError: noise or iterations out of range, or a measurement of another shape than A gives.

    Source: Song, Vahdat, Mardani and Kautz (2023), Pseudoinverse-guided diffusion models for inverse problems, Eq. 7
    and 8, with the variance r^2 of their Appendix A.3.
    """

    def __init__(
        self,
        flow: Denoising,
        operator: Operator,
        measurement: Tensor,
        *,
        noise: float = 0.0,
        data_scale: float = 1.0,
        iterations: int = 1,
        tolerance: float = 1e-4,
    ) -> None:
        if not noise >= 0 or iterations < 1 or not data_scale > 0:
            raise InputError(
                f"noise={noise:g} must not be negative, data_scale={data_scale:g} positive and iterations={iterations} "
                "at least 1."
            )
        super().__init__(flow.process, flow.denoise)
        self.flow, self.operator, self.measurement = flow, operator, measurement
        self.noise, self.data_scale = noise, data_scale
        self.iterations, self.tolerance = iterations, tolerance

    def denoise(self, t: Tensor, x: Tensor, args: Any = None) -> Tensor:
        """Return E[x_0 | x_t = x, y], (B, ...)."""
        recorded = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            start = x.clone() if x.is_inference() else x
            start = start.detach().requires_grad_() if not start.requires_grad else start
            clean = self.flow.denoise(t, start, args)
            seen = self.operator(clean)
            if seen.shape != self.measurement.shape:
                raise InputError(
                    f"the operator gives {tuple(seen.shape)} and the measurement is {tuple(self.measurement.shape)}."
                )
            alpha, sigma = self.process.alpha(t), self.process.sigma(t)
            v = (sigma / alpha).square()
            spread = lift(self.data_scale**2 * v / (self.data_scale**2 + v), seen)
            residual = self._solved((self.measurement - seen).detach(), spread.detach(), clean)
            (pull,) = torch.autograd.grad(seen, start, residual, create_graph=recorded)
        moved = clean + lift(sigma.square() / alpha, x) * pull
        return moved if recorded else moved.detach()

    def _solved(self, b: Tensor, spread: Tensor, like: Tensor) -> Tensor:
        """Solve (r^2 A A^T + s_y^2 I) w = b by conjugate gradients, all samples at once."""

        def applied(w: Tensor) -> Tensor:
            zero = torch.zeros_like(like, requires_grad=True)
            (back,) = torch.autograd.grad(self.operator(zero), zero, w)
            return spread * self.operator(back).detach() + self.noise**2 * w

        w, rest = torch.zeros_like(b), b
        direction, square = rest, _dot(rest, rest)
        first = square
        tiny = torch.finfo(b.dtype).tiny
        for i in range(self.iterations):
            if i and bool((square <= self.tolerance**2 * first).all()):
                break
            through = applied(direction)
            length = square / _dot(direction, through).clamp_min(tiny)
            w, rest = w + length * direction, rest - length * through
            before, square = square, _dot(rest, rest)
            direction = rest + square / before.clamp_min(tiny) * direction
        return w


def masked(known: Tensor) -> Operator:
    """Return the operator of inpainting: x where ``known`` is true, and 0 elsewhere.

    Args:
        known: bool, of a sample's shape or a batch's.
    """
    return lambda x: x * known.to(x.dtype)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    total = (a * b).flatten(1).sum(1)
    return total.view(-1, *[1] * (a.dim() - 1))
