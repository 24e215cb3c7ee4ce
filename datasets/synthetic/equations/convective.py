"""Equations u_t + (u^2 / 2)_x = L u + f on a circle, solved by exponential time differencing.

Dimension letters: N samples, T times, X grid, M Fourier coefficients of it.
"""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from integrand.core.numerics import PeriodicGrid, Semilinear, solve_semilinear
from integrand.datasets.synthetic.equations.spectral import SpectralEquation
from integrand.datasets.synthetic.simulator import Parameters, Start


class ConvectiveEquation(SpectralEquation):
    """u_t + (u^2 / 2)_x = L u + f(x, t) on a circle, L with constant coefficients.

    L is solved exactly, convection by ETDRK4 and Fourier series without aliases: waves from 2/3 of the Nyquist number
    on are left out, which a start that holds any loses in the first step. The order in time is 4. The precision is
    that of the start; the coefficients of the method are evaluated in float64.

    Source: Cox and Matthews (2002), Exponential time differencing for stiff systems; Kassam and Trefethen (2005),
    Fourth-order time-stepping for stiff PDEs.
    """

    channels = ("u",)
    solver = "Fourier series, ETDRK4"
    dims = 1
    galilean = True
    bears = 2.8

    @abstractmethod
    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return L(k), (N, 1, M) or (1, M), real or complex, in the precision and of the device of ``like``."""

    def forcing(self, t: Tensor, x: Tensor, parameters: Parameters) -> Tensor | None:
        """Return f, (N, 1, X) or what broadcasts to it, at a time and the points (X,); None for none, the default."""
        return None

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None,
    ) -> Tensor:
        """Solve by ETDRK4; see ``Simulator``."""
        u = start.states
        if len(times) == 1:
            return u.unsqueeze(1)
        grid = PeriodicGrid(tuple(u.shape[2:]), lengths)
        wide = u.new_empty(0, dtype=torch.float64)
        alike = {name: each[:1] if bool((each == each[0]).all()) else each for name, each in parameters.items()}
        kept = _kept(grid)
        linear = self.linear(grid, alike, wide)[..., :kept]
        begin = grid.transform(u)[..., :kept]
        nonlinear = self._nonlinear(grid, kept, u, parameters)
        # solve_semilinear takes one L for a batch: samples with an L each are one sample of a larger state.
        own = linear.dim() == 3 and len(linear) > 1
        field = Semilinear(linear if own or linear.dim() < 3 else linear[0], nonlinear)
        solution = solve_semilinear(field, begin[None] if own else begin, times.to(wide), step_size=step_size)
        spectra = solution.states[0].transpose(0, 1) if own else solution.states
        return torch.cat([u.unsqueeze(1), torch.fft.irfft(spectra[:, 1:], n=u.shape[-1])], dim=1)

    def _nonlinear(
        self, grid: PeriodicGrid, kept: int, u: Tensor, parameters: Parameters
    ) -> Callable[[Tensor, Tensor], Tensor]:
        (n,), (x,) = grid.shape, grid.coordinates(u)
        slope = (-0.5 * grid.derivative_symbol(0, u)[..., :kept]).to(u.dtype.to_complex())

        def nonlinear(t: Tensor, y: Tensor) -> Tensor:
            out = torch.fft.rfft(torch.fft.irfft(y, n=n).square_())[..., :kept] * slope
            force = self.forcing(t, x, parameters)
            return out if force is None else out + torch.fft.rfft(force.to(u))[..., :kept]

        return nonlinear

    def rate(self, values: Tensor, times: Tensor, parameters: Parameters, *, lengths: tuple[float, ...]) -> Tensor:
        """Return -(u^2 / 2)_x + L u + f, the square without aliases."""
        grid = PeriodicGrid(tuple(values.shape[3:]), lengths)
        linear = self.linear(grid, parameters, values)
        linear = linear.unsqueeze(1) if linear.dim() == 3 else linear
        out = grid.inverse(grid.transform(values) * linear) - grid.derivative(grid.product(values, values) / 2, 0)
        (x,) = grid.coordinates(values)
        forces = [self.forcing(t, x, parameters) for t in times]
        return out if not forces or forces[0] is None else out + torch.stack(forces, dim=1).to(values)  # pyright: ignore[reportArgumentType, reportCallIssue]

    def courant(self, states: Tensor, *, lengths: tuple[float, ...], step_size: float) -> Tensor | None:
        """Return max |u| k h, (N,), with the highest wave k that is kept."""
        n = states.shape[-1]
        highest = 2 * torch.pi / lengths[0] * (n / 3)
        return states.abs().flatten(1).amax(-1) * highest * step_size


def _kept(grid: PeriodicGrid) -> int:
    """Return how many waves the 2/3 rule keeps: those above stay 0, and are not computed with."""
    return int(grid.dealiasing_mask(torch.empty(0)).count_nonzero())
