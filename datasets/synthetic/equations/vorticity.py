"""Two-dimensional incompressible flow by its vorticity, on a periodic box.

The velocity (u, v) = (psi_y, -psi_x) has the stream function of -Laplacian psi = w, so that w = v_x - u_y. Vorticity of
mean other than zero belongs to no periodic flow; its mean is left out of the velocity.

Dimension letters: X Y grid; leading dimensions are free.
"""

import math

import torch
from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.simulator import StepTooLong

BEARS = 2.8
"""Courant number up to which steps are stable: the reach of fourth-order Runge-Kutta methods up the imaginary axis."""


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


def courant(flow: Tensor, lengths: tuple[float, ...], step_size: float) -> Tensor:
    """Return h max(|u| k_x + |v| k_y), (...), of velocities (..., 2, X, Y), for the highest waves k that are kept.

    They are two thirds of the Nyquist numbers.
    """
    k_x, k_y = (2 * math.pi / length * n / 3 for n, length in zip(flow.shape[-2:], lengths, strict=True))
    u, v = flow.unbind(-3)
    return step_size * (k_x * u.abs()).add_(v.abs(), alpha=k_y).flatten(-2).amax(-1)


class Advection:
    """-u . grad w in Fourier coefficients (..., X, Y / 2 + 1), by the waves below 2/3 of the Nyquist numbers.

    As the curl of the momentum that the flow carries,

        -u . grad w = (d_yy - d_xx)(u v) - d_xy (v^2 - u^2),

    it takes two transforms to the grid and two from it. Waves above take no part, so that energy and enstrophy are kept
    to rounding. The first evaluation of each step checks the Courant numbers.

    Args:
        grid: of the vorticity.
        like: a tensor of its type and device.
        label: of the simulator, for errors.
        step_size: of a time step.
        stages: evaluations a step.
        first: number of the first sample, for errors.

    Raises:
        StepTooLong: when called, a Courant number is above ``BEARS``.

    Source: Basdevant (1983), Technical improvements for direct numerical simulation of homogeneous three-dimensional
    turbulence, for the form; Orszag (1971) for the 2/3 rule.
    """

    def __init__(
        self, grid: PeriodicGrid, like: Tensor, *, label: str, step_size: float, stages: int, first: int = 0
    ) -> None:
        self.grid, self.label, self.step_size, self.stages, self.first = grid, label, step_size, stages, first
        keep = grid.dealiasing_mask(like)
        k_x, k_y = grid.wavenumbers(like)
        self.to_velocity = keep * _velocity_symbol(grid, like)
        # Real factors multiply coefficients faster where these are held as pairs of reals.
        self.of_product, self.of_squares = (keep * (k_x**2 - k_y**2))[..., None], (keep * k_x * k_y)[..., None]
        self.calls = 0

    def __call__(self, t: Tensor, w: Tensor) -> Tensor:
        """Evaluate at time t."""
        flow = torch.fft.irfft2(w.unsqueeze(-3) * self.to_velocity, s=self.grid.shape)
        if self.calls % self.stages == 0:
            self._check(t, flow)
        self.calls += 1
        u, v = flow.unbind(-3)
        products = torch.empty_like(flow)
        torch.mul(u, v, out=products[..., 0, :, :])
        torch.mul(v + u, v - u, out=products[..., 1, :, :])
        product, squares = torch.view_as_real(torch.fft.rfft2(products)).unbind(-4)
        return torch.view_as_complex((product * self.of_product).addcmul_(squares, self.of_squares))

    def _check(self, t: Tensor, flow: Tensor) -> None:
        numbers = courant(flow, self.grid.lengths, self.step_size).flatten()  # pyright: ignore[reportArgumentType]
        largest, sample = (each.item() for each in numbers.max(0))
        if not largest <= BEARS:
            raise StepTooLong(
                self.label,
                sample=self.first + int(sample),
                step=self.calls // self.stages + 1,
                t=float(t.max()),
                courant=largest,
                bears=BEARS,
                size=self.step_size,
            )


def _velocity_symbol(grid: PeriodicGrid, like: Tensor) -> Tensor:
    """Return what multiplies vorticity to give (u, v), (2, X, Y / 2 + 1): (i k_y, -i k_x) / |k|^2."""
    square = -grid.laplacian_symbol(like)
    inverse = torch.where(square == 0, 0, 1 / torch.where(square == 0, 1, square))
    return torch.stack([grid.derivative_symbol(1, like) * inverse, -grid.derivative_symbol(0, like) * inverse])
