"""The viscous Burgers equation, solved exactly.

Dimension letters: N samples, T times, X grid.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.burgers_etd import BurgersETD
from integrand.datasets.synthetic.equations.random_fields import windowed_sines
from integrand.datasets.synthetic.equations.spectral import coefficient
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start

RESOLVED = 1e-14
"""Share of the largest coefficient below which the last ones of exp(-Phi / 2 nu) are rounding."""
FINEST = 8
"""Greatest refinement of the grid for the sake of the heat equation."""
LEAST = 1e-5
"""Least theta, of at most 1, that rounding leaves eleven digits of."""
NEGLIGIBLE = 40.0
"""Weights below exp(-40) of the greatest are left out."""
ENTRIES = 2**22
"""Weights held at a time."""


class Burgers(BurgersETD):
    """u_t + (u^2 / 2)_x = nu u_xx on a circle, exact for any viscosity by Cole and Hopf's change of variable.

    With the mean m of u, which stays, Phi' = u_0 - m, and theta that solves theta_t = nu theta_zz from
    theta_0 = exp(-Phi / (2 nu)), at the point x = z + m t

        u(x, t) - m = -2 nu theta_z / theta.

    The heat equation is solved by Fourier series where rounding leaves theta eleven digits; elsewhere, for small
    viscosities, by its kernel,

        u(x, t) - m = <u_0(y) - m>,    weights exp(-(z - y)^2 / (4 nu t) - Phi(y) / (2 nu)),

    the mean over y of the whole line by the trapezoidal rule, on a grid so fine that its error is rounding. Either way
    the start alone must be resolved by the grid, not the shocks that come of it. The Gaussian starts are rough: for the
    same solutions on several grids simulate on the finest and thin by ``Simulations.every``.

    Source: Cole (1951), On a quasi-linear parabolic equation occurring in aerodynamics; Hopf (1950), The partial
    differential equation u_t + u u_x = mu u_xx; starts and viscosity as in Li et al. (2021), Fourier neural operator
    for parametric partial differential equations, Section 5.1.
    """

    name = "burgers"
    summary = "viscous Burgers equation on a circle, exact"
    span, interval, step_size = 1.0, 1.0, None
    solver = "Cole-Hopf, closed form"

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None = None,
    ) -> Tensor:
        """Evaluate the exact solution."""
        heat = _HeatKernel(start.states[:, 0].double(), parameters, lengths[0])
        out = [heat.velocity(float(t)).to(start.states)[:, None] for t in times[1:] - times[0]]
        return torch.stack([start.states, *out], dim=1)

    def courant(self, states: Tensor, *, lengths: tuple[float, ...], step_size: float) -> None:
        """Return None: no step is taken."""


class PDEBenchBurgers(Burgers):
    """Burgers' equation with the starts and the box of PDEBench, where the viscosity is nu / pi, nu from 0.001 to 4.

    Their own solutions are by finite volumes of second order, these are exact.

    Source: Takamoto et al. (2022), PDEBench: an extensive benchmark for scientific machine learning, Appendix D.
    """

    name = "pdebench_burgers"
    summary = "viscous Burgers equation, exact, with the starts of PDEBench"
    source = "Takamoto et al. (2022), Appendix D"
    parameters: ClassVar = {"viscosity": 0.01 / math.pi}
    span, interval = 2.0, 0.05
    points, lengths = (1024,), (1.0,)

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw two sines of at most four waves."""
        return Start(windowed_sines(generator, points, lengths, terms=2, highest=4)[None])


class _HeatKernel:
    """The heat equation behind samples u (N, X) of Burgers' equation."""

    def __init__(self, u: Tensor, parameters: Parameters, length: float) -> None:
        self.nu = coefficient("viscosity", parameters, u, positive=True, dims=0)  # (N, 1)
        self.grid = PeriodicGrid((u.shape[-1],), length)
        self.mean = u.mean(-1, keepdim=True)
        k = self.grid.derivative_symbol(0, u)
        spectrum = torch.where(k == 0, 0, self.grid.transform(u))  # nor the wave that has no derivative here
        self.velocity_0 = self.grid.inverse(spectrum)
        self.potential = self.grid.inverse(spectrum / torch.where(k == 0, 1, k))
        self.fine, self.theta = self._resolved()

    def _resolved(self) -> tuple[PeriodicGrid, Tensor]:
        """Return a grid that resolves theta_0 of all samples, or the finest, and its coefficients, theta_0 <= 1."""
        refinement = 1
        while True:
            fine = PeriodicGrid((self.grid.shape[0] * refinement,), self.grid.lengths)
            phi = self.grid.resample(self.potential, fine.shape)
            theta = fine.transform(torch.exp(-(phi - phi.amin(-1, keepdim=True)) / (2 * self.nu)))
            last = theta[:, -(theta.shape[-1] // 8) :].abs().amax(-1)
            self.exact = last <= RESOLVED * theta.abs().amax(-1)
            if refinement == FINEST or bool(self.exact.all()):
                return fine, theta
            refinement *= 2

    def velocity(self, t: float) -> Tensor:
        """Return u (N, X) after the time t."""
        k, slope = self.fine.wavenumbers(self.nu)[0], self.fine.derivative_symbol(0, self.nu)
        theta = self.theta * torch.exp(-self.nu * t * k**2 - slope * self.mean * t)
        every = slice(None, None, self.fine.shape[0] // self.grid.shape[0])
        values, slopes = self.fine.inverse(theta)[:, every], self.fine.inverse(theta * slope)[:, every]
        u = self.mean - 2 * self.nu * slopes / values
        for i in (~self.exact | (values.amin(-1) < LEAST)).nonzero().flatten().tolist():
            u[i] = self._by_quadrature(i, t)
        return u

    def _by_quadrature(self, i: int, t: float) -> Tensor:
        """Return u (X,) of sample i after the time t."""
        n, h = self.grid.shape[0], self.grid.lengths[0] / self.grid.shape[0]  # pyright: ignore[reportIndexIssue]
        nu, mean = float(self.nu[i]), float(self.mean[i])
        # Near a maximum the weights are Gaussian, of this deviation or more; what they weigh has waves up to pi / h.
        # The rule's error is the transform of either at 2 pi / spacing: exp(-40) where that is this far beyond.
        steepest = max(0.0, float(self.grid.derivative(self.velocity_0[i], 0).max()))
        deviation = math.sqrt(2 * nu / (1 / t + steepest))
        refinement = math.ceil(h / (2 * math.pi) * (2 * math.pi / h + math.sqrt(2 * NEGLIGIBLE) / deviation))
        h = h / refinement
        phi, u = (self.grid.resample(each[i], (n * refinement,)) for each in (self.potential, self.velocity_0))
        reach = math.sqrt(4 * nu * t * (NEGLIGIBLE + float(phi.max() - phi.min()) / (2 * nu)))
        side = math.ceil(reach / h) + 1
        offsets = torch.arange(-side, side + 1, device=phi.device)
        # z = x - m t lies between points: y is taken from the points, z - y is not.
        whole = math.floor(mean * t / h)
        away = (offsets.to(phi) - (mean * t / h - whole)) * h  # z - y, the same for every x
        rows = torch.arange(n, device=phi.device)
        out = []
        for some in rows.split(max(1, ENTRIES // len(offsets))):
            index = (some[:, None] * refinement - whole - offsets) % len(phi)
            weight = torch.softmax(-(away**2) / (4 * nu * t) - phi[index] / (2 * nu), dim=-1)
            out.append((weight * u[index]).sum(-1))
        return mean + torch.cat(out)
