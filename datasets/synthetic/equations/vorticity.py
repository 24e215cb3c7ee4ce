"""Two-dimensional incompressible flow by its vorticity, on a periodic box.

The velocity (u, v) = (psi_y, -psi_x) has the stream function of -Laplacian psi = w, so that w = v_x - u_y. Vorticity of
mean other than zero belongs to no periodic flow; its mean is left out of the velocity.

Dimension letters: X Y grid; leading dimensions are free.
"""

import math

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid

COURANT_LIMIT = 3 * math.sqrt(2) / math.pi
"""Largest Courant number h max(|u| / dx + |v| / dy) that a fourth-order Runge-Kutta method bears.

Its stability region reaches 2 sqrt(2) up the imaginary axis, and the fastest wave kept has 2 pi / (3 dx) radians a unit.
"""


def velocity(vorticity: Tensor, lengths: tuple[float, ...] = (1.0, 1.0)) -> Tensor:
    """Return the velocity (..., 2, X, Y) of a vorticity (..., X, Y); its divergence is zero to rounding.

    Example:
        >>> y = torch.arange(8, dtype=torch.float64) / 8
        >>> shear = (2 * math.pi * y).cos().expand(8, 8)
        >>> u, v = velocity(-2 * math.pi * shear)
        >>> torch.allclose(u, (2 * math.pi * y).sin()), float(v.abs().max())
        (True, 0.0)
    """
    grid = PeriodicGrid(tuple(vorticity.shape[-2:]), lengths)
    return grid.inverse(grid.transform(vorticity).unsqueeze(-3) * _velocity_symbol(grid, vorticity))


def energy(vorticity: Tensor, lengths: tuple[float, ...] = (1.0, 1.0)) -> Tensor:
    """Return the mean kinetic energy <|u|^2> / 2, (...): without a force it falls as dE/dt = -2 nu Z.

    Example:
        >>> x = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
        >>> vortices = 2 * x.cos()[:, None] * x.cos()
        >>> round(float(energy(vortices, (2 * math.pi, 2 * math.pi))), 12)
        0.25
    """
    return velocity(vorticity, lengths).square().sum(-3).mean((-2, -1)) / 2


def enstrophy(vorticity: Tensor) -> Tensor:
    """Return the mean enstrophy Z = <w^2> / 2, (...): without a force it falls as dZ/dt = -2 nu P."""
    return vorticity.square().mean((-2, -1)) / 2


def palinstrophy(vorticity: Tensor, lengths: tuple[float, ...] = (1.0, 1.0)) -> Tensor:
    """Return the mean palinstrophy P = <|grad w|^2> / 2, (...)."""
    grid = PeriodicGrid(tuple(vorticity.shape[-2:]), lengths)
    return grid.gradient(vorticity).square().sum(-3).mean((-2, -1)) / 2


class Advection:
    """-u . grad w in Fourier coefficients (..., X, Y / 2 + 1), by the waves below 2/3 of the Nyquist numbers.

    As the curl of the momentum that the flow carries,

        -u . grad w = (d_yy - d_xx)(u v) - d_xy (v^2 - u^2),

    it takes two transforms to the grid and two from it. Waves above are as good as zero and receive nothing, so that
    energy and enstrophy are kept to rounding.

    Every ``stages``-th evaluation, the first of a step, checks the Courant number of each sample.

    Args:
        grid: of the vorticity.
        like: a tensor of its type and device.
        label: of the simulator, for errors.
        step: length of a time step.
        stages: evaluations a step.
        first: number of the first sample, for errors.

    Source: Basdevant (1983), Technical improvements for direct numerical simulation of homogeneous three-dimensional
    turbulence; Orszag (1971) for the 2/3 rule.
    """

    def __init__(
        self, grid: PeriodicGrid, like: Tensor, *, label: str, step: float, stages: int, first: int = 0
    ) -> None:
        self.grid, self.label, self.step, self.stages, self.first = grid, label, step, stages, first
        keep = grid.dealiasing_mask(like)
        k_x, k_y = grid.wavenumbers(like)
        self.to_velocity = keep * _velocity_symbol(grid, like)
        # Real factors multiply coefficients faster where these are held as pairs of reals.
        self.of_product, self.of_squares = (keep * (k_x**2 - k_y**2))[..., None], (keep * k_x * k_y)[..., None]
        self.inverse_spacing = [n / length for n, length in zip(grid.shape, grid._lengths, strict=True)]
        self.calls = 0

    def __call__(self, t: Tensor, w: Tensor) -> Tensor:
        """Evaluate at time t."""
        flow = torch.fft.irfft2(w.unsqueeze(-3) * self.to_velocity, s=self.grid.shape)
        u, v = flow.unbind(-3)
        if self.calls % self.stages == 0:
            self._check(t, u, v)
        self.calls += 1
        products = torch.empty_like(flow)
        torch.mul(u, v, out=products[..., 0, :, :])
        torch.mul(v + u, v - u, out=products[..., 1, :, :])
        product, squares = torch.view_as_real(torch.fft.rfft2(products)).unbind(-4)
        return torch.view_as_complex((product * self.of_product).addcmul_(squares, self.of_squares))

    def _check(self, t: Tensor, u: Tensor, v: Tensor) -> None:
        speed = (self.inverse_spacing[0] * u.abs()).add_(v.abs(), alpha=self.inverse_spacing[1])
        numbers = self.step * speed.flatten(-2).amax(-1).flatten()
        largest, sample = (float(each) for each in numbers.max(0))
        if not largest <= COURANT_LIMIT:
            cure = self.step * COURANT_LIMIT / largest
            advice = f"take step_size={cure:.1g} or smaller" if math.isfinite(cure) and cure > 0 else "take a smaller step_size"
            raise InputError(
                f"{self.label}: in step {self.calls // self.stages + 1}, at t = {float(t.max()):g}, sample "
                f"{self.first + int(sample)} has Courant number {largest:.3g} with step_size={self.step:g}; the method "
                f"bears {COURANT_LIMIT:.3g}: {advice}, or fewer points. Nothing was written."
            )


def _velocity_symbol(grid: PeriodicGrid, like: Tensor) -> Tensor:
    """Return what multiplies vorticity to give (u, v), (2, X, Y / 2 + 1): (i k_y, -i k_x) / |k|^2."""
    square = -grid.laplacian_symbol(like)
    inverse = torch.where(square == 0, 0, 1 / torch.where(square == 0, 1, square))
    return torch.stack([grid.derivative_symbol(1, like) * inverse, -grid.derivative_symbol(0, like) * inverse])
