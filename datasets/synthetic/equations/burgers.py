"""The viscous Burgers equation, solved exactly."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start

HIGHEST_WAVE = 1024


class Burgers(Equation):
    """u_t + (u^2 / 2)_x = nu u_xx on a circle, through Cole and Hopf's change of variable to the heat equation.

    With the mean m of u, which stays, and Phi' = u_0 - m, at the point x = z + m t

        u(x, t) - m = <(z - y) / t>,    weights exp(-(z - y)^2 / (4 nu t) - Phi(y) / (2 nu)),

    the mean over y of the whole line by the trapezoidal rule, whose error falls faster than any power of the spacing.
    Starts are Gaussian, with covariance 625 (-d^2/dx^2 + 25)^-2.

    Source: Cole (1951), On a quasi-linear parabolic equation occurring in aerodynamics; starts and viscosity as in Li
    et al. (2021), Fourier neural operator for parametric partial differential equations, Section 5.1.
    """

    name = "burgers"
    summary = "viscous Burgers equation on a circle"
    source = "Li et al. (2021), Section 5.1"
    channels = ("u",)
    parameters: ClassVar = {"viscosity": 0.1}
    span, interval, step_size = 1.0, 1.0, None
    solver = "Cole-Hopf, closed form"
    dims = 1
    points, lengths = (256,), (2 * math.pi,)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian field of covariance 625 (-d^2/dx^2 + 25)^-2, the same function on every grid."""
        (n,), (length,) = points, lengths
        coefficients = torch.from_numpy(generator.standard_normal((HIGHEST_WAVE + 1, 2)))
        wave = 2 * math.pi / length * torch.arange(HIGHEST_WAVE + 1, dtype=torch.float64)
        size = 25 / (wave**2 + 25) / math.sqrt(length)
        size[1:] *= math.sqrt(2)
        waves = torch.complex(size * coefficients[:, 0], size * coefficients[:, 1])
        waves.imag[0] = 0
        # sum_k Re(c_k exp(2 pi i k j / n)): waves beyond the grid's own fall on others, as they do in any sample of it
        folded = torch.zeros(n, dtype=torch.complex128)
        folded.index_add_(0, torch.arange(HIGHEST_WAVE + 1) % n, waves)
        return Start((torch.fft.ifft(folded) * n).real[None])

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None,
    ) -> Tensor:
        """Evaluate the exact solution."""
        u, (length,) = start.states[:, 0], lengths
        n = u.shape[-1]
        grid = torch.arange(n, dtype=u.dtype, device=u.device) * (length / n)
        mean = u.mean(-1)
        wave = 2 * math.pi / length * torch.arange(n // 2 + 1, dtype=u.dtype, device=u.device)
        spectrum = torch.fft.rfft(u)
        spectrum[:, 0] = 0
        if n % 2 == 0:
            spectrum[:, -1] = 0
        potential = torch.fft.irfft(spectrum / torch.where(wave > 0, 1j * wave, 1), n=n)
        out = [start.states]
        for t in times[1:] - times[0]:
            rows = [
                self._exact(potential[i], grid, float(t), float(mean[i]), float(parameters["viscosity"][i]), length)
                for i in range(len(u))
            ]
            out.append(torch.stack(rows)[:, None])
        return torch.stack(out, dim=1)

    def _exact(self, potential: Tensor, grid: Tensor, t: float, mean: float, nu: float, length: float) -> Tensor:
        if not nu > 0:
            raise InputError(f"burgers: viscosity={nu:g} is out of range: it must be positive.")
        n, h = len(grid), length / len(grid)
        if math.sqrt(2 * nu * t) < 3 * h:
            raise InputError(
                f"burgers: {n} points are too few for the kernel of width {math.sqrt(2 * nu * t):.2g} at t = {t:g}: "
                f"take {math.ceil(3 * length / math.sqrt(2 * nu * t))} or more, or later times."
            )
        # Beyond this distance the weights are below exp(-40) of the greatest.
        reach = math.sqrt(4 * nu * t * (40 + float(potential.max() - potential.min()) / (2 * nu)))
        side = math.ceil(reach / h)
        offsets = torch.arange(-side, side + 1, device=grid.device, dtype=torch.long)
        shift = mean * t / h  # z = x - m t lies between points: y is taken from the points, z - y not on them
        whole = math.floor(shift)
        distance = (offsets.to(grid) - (shift - whole)) * h  # z - y, the same for every x
        index = (torch.arange(n, device=grid.device)[:, None] - whole - offsets) % n
        weight = torch.softmax(-(distance**2) / (4 * nu * t) - potential[index] / (2 * nu), dim=-1)
        return mean + weight @ distance / t

    def residual(
        self,
        values: Tensor,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        constants: Tensor | None = None,
    ) -> Tensor:
        """Return u_t + (u^2 / 2)_x - nu u_xx."""
        n = values.shape[-1]
        wave = 2j * math.pi / lengths[0] * torch.arange(n // 2 + 1, device=values.device)

        def spectral(u: Tensor, order: int) -> Tensor:
            factor = wave**order
            if order % 2 and n % 2 == 0:
                factor = torch.cat([factor[:-1], torch.zeros_like(factor[-1:])])
            return torch.fft.irfft(torch.fft.rfft(u) * factor.to(torch.fft.rfft(u[:1]).dtype), n=n)

        nu = parameters["viscosity"].to(values)[:, None, None, None]
        rate = (values[:, 2:] - values[:, :-2]) / (times[2:] - times[:-2]).to(values)[:, None, None]
        u = values[:, 1:-1]
        return rate + spectral(u.square() / 2, 1) - nu * spectral(u, 2)

    @staticmethod
    def _mass(values: Tensor, parameters: Parameters) -> Tensor:
        return values.mean((-1, -2))

    invariants: ClassVar = {"mass": _mass}
