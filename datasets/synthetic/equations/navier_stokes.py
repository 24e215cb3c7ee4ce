"""Incompressible flow in two dimensions: the Navier-Stokes equations by the vorticity."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid, Semilinear, solve_semilinear
from integrand.datasets.synthetic.equations.random_fields import gaussian_field
from integrand.datasets.synthetic.equations.spectral import SpectralEquation, coefficient, mean
from integrand.datasets.synthetic.equations.vorticity import BEARS, Advection, courant, velocity
from integrand.datasets.synthetic.simulator import Generator, Parameters, Start

CACHED, RESIDENT = 1 << 14, 1 << 22
"""Points solved at once, of all samples: as many as leave the stages of a step in a processor's cache, and as many as
keep an accelerator busy."""


class NavierStokes(SpectralEquation):
    """w_t + u . grad w = nu Laplacian(w) + f on the unit torus, div u = 0, for the vorticity w of the velocity u.

    Fourier coefficients in time by ETDRK4, products without aliases by the 2/3 rule; waves above it decay only. The
    force is the constant field

        f = 0.1 (sin(2 pi (x + y)) + cos(2 pi (x + y)))

    and starts are Gaussian with covariance 2 7^3 (-Laplacian + 49)^(-5/2) and mean zero. This is what the program that
    made the published data draws; the paper writes 7^(3/2) for the factor. A step is refused where its Courant number
    exceeds ``vorticity.BEARS``. Functions of the solution are in ``vorticity``: velocity, energy, enstrophy.

    Source: Li et al. (2021), Fourier neural operator for parametric partial differential equations, Section 5.3 and
    Appendix A.3; the method, Kassam and Trefethen (2005), Fourth-order time-stepping for stiff PDEs.
    """

    name = "navier_stokes"
    summary = "incompressible flow on a torus, driven by a constant force: its vorticity"
    source = "Li et al. (2021), Section 5.3"
    channels = ("vorticity",)
    constant_names = ("force",)
    parameters: ClassVar = {"viscosity": 1e-3}
    span, interval, step_size = 50.0, 1.0, 0.025
    solver = "pseudo-spectral, 2/3 dealiasing, ETDRK4"
    dims = 2
    points, lengths = (64, 64), (1.0, 1.0)
    bears = BEARS
    invariants: ClassVar = {"mean vorticity": mean}

    def force(self, points: tuple[int, ...], lengths: tuple[float, ...]) -> Tensor | None:
        """Return the curl of the force at the points, (X, Y), or None where there is none."""
        x, y = (torch.arange(n, dtype=torch.float64) / n for n in points)
        angle = 2 * math.pi * (x[:, None] + y)
        return 0.1 * (angle.sin() + angle.cos())

    def draw(self, generator: Generator, points: tuple[int, ...], lengths: tuple[float, ...]) -> Start:
        """Draw a Gaussian vorticity of mean zero, the same function on every grid."""
        vorticity = gaussian_field(generator, points, lengths, scale=math.sqrt(2) * 7**1.5, shift=7.0, decay=2.5)
        force = self.force(points, lengths)
        return Start((vorticity - vorticity.mean())[None], None if force is None else force[None])

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None,
    ) -> Tensor:
        """Solve by ETDRK4 in Fourier coefficients.

        Raises:
            InputError: the Courant number of a step is too large; the message names step, sample and number.
        """
        together = CACHED if start.states.device.type == "cpu" else RESIDENT
        size = max(1, together // start.states[0].numel())
        parts = []
        for first in range(0, len(start.states), size):
            here = slice(first, first + size)
            force = None if start.constants is None else start.constants[here, 0]
            own = {name: each[here] for name, each in parameters.items()}
            parts.append(self._solve(start.states[here, 0], force, times, own, lengths, step_size or 1.0, first))
        return torch.cat(parts)[:, :, None]

    def _solve(
        self,
        w: Tensor,
        force: Tensor | None,
        times: Tensor,
        parameters: Parameters,
        lengths: tuple[float, ...],
        step: float,
        first: int,
    ) -> Tensor:
        """Return (N, T, X, Y) of vorticities (N, X, Y)."""
        grid = PeriodicGrid(tuple(w.shape[-2:]), lengths)
        linear = self._linear(grid, w, parameters)
        advection = Advection(grid, w, label=self.name, step_size=step, stages=4, first=first)
        driven = None if force is None else grid.transform(force)
        # Where samples differ in L they are one sample of the solver, which has one L for all of a batch.
        alone = bool((linear == linear[:1]).all())
        state, linear = (grid.transform(w), linear[0]) if alone else (grid.transform(w)[None], linear)

        def nonlinear(t: Tensor, y: Tensor) -> Tensor:
            slope = advection(t, y)
            return slope if driven is None else slope.add_(driven)

        solved = solve_semilinear(Semilinear(linear, nonlinear), state, times.to(w), step_size=step).states
        later = solved[:, 1:] if alone else solved[0, 1:].transpose(0, 1)
        return torch.cat([w[:, None], grid.inverse(later)], dim=1)

    def _linear(self, grid: PeriodicGrid, like: Tensor, parameters: Parameters) -> Tensor:
        """Return L, (N, X, Y / 2 + 1): viscosity, and friction with the ground where there is one."""
        own = {name: coefficient(name, parameters, like) for name in self.parameters}  # (N, 1, 1)
        for name, each in own.items():
            if bool((each < 0).any()):
                sample = int((each.flatten() < 0).nonzero()[0])
                raise InputError(
                    f"{self.name}: {name}={float(each[sample]):g} of sample {sample} is out of range: it must "
                    "not be negative."
                )
        linear = own["viscosity"] * grid.laplacian_symbol(like)
        return linear - own["drag"] if "drag" in own else linear

    def rate(self, values: Tensor, times: Tensor, parameters: Parameters, *, lengths: tuple[float, ...]) -> Tensor:
        """Return -u . grad w + nu Laplacian(w) + f, the product by waves that are kept, the force the simulator's."""
        grid = PeriodicGrid(tuple(values.shape[3:]), lengths)
        force = self.force(grid.shape, lengths)
        spectrum, keep = grid.transform(values), grid.dealiasing_mask(values)
        kept = grid.inverse(keep * spectrum)
        carried = grid.transform((velocity(kept, lengths) * grid.gradient(kept)).sum(-3))
        rate = grid.inverse(spectrum * self._linear(grid, values, parameters)[:, None, None] - keep * carried)
        return rate if force is None else rate + force.to(values)

    def courant(self, states: Tensor, *, lengths: tuple[float, ...], step_size: float) -> Tensor:
        """Return h max(|u| k_x + |v| k_y), (N,), for the highest waves k that are kept."""
        return courant(velocity(states[:, 0], lengths), lengths, step_size)
