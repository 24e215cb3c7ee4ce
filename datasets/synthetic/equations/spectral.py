"""Equations on periodic boxes whose space derivatives are taken in Fourier coordinates.

Dimension letters: N samples, T times, C channels, X Y Z grid, M Fourier coefficients of a grid.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import PeriodicGrid
from integrand.datasets.synthetic.equations.equation import Equation
from integrand.datasets.synthetic.simulator import Parameters, Start


class SpectralEquation(Equation):
    """u_t = R(u) on a periodic box, R evaluated by Fourier series."""

    @abstractmethod
    def rate(self, values: Tensor, times: Tensor, parameters: Parameters, *, lengths: tuple[float, ...]) -> Tensor:
        """Return R(u), in the shape of states (N, T, C, *X) at times (T,)."""

    def residual(
        self,
        values: Tensor,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        constants: Tensor | None = None,
    ) -> Tensor:
        """Return u_t - R(u), (N, T - 2, C, *X), with u_t by central differences: of second order in the interval."""
        apart = (times[2:] - times[:-2]).to(values)
        found = (values[:, 2:] - values[:, :-2]) / apart.view(-1, *[1] * (values.dim() - 2))
        return found - self.rate(values[:, 1:-1], times[1:-1], parameters, lengths=lengths)


class LinearEquation(SpectralEquation):
    """u_t = L u with constant coefficients, solved exactly: each wave is multiplied by exp(L(k) t)."""

    step_size = None
    solver = "Fourier series, closed form"

    @abstractmethod
    def linear(self, grid: PeriodicGrid, parameters: Parameters, like: Tensor) -> Tensor:
        """Return L(k), (N, C, *M) or what broadcasts to it, in the precision and of the device of ``like``."""

    def advance(
        self,
        start: Start,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        step_size: float | None = None,
    ) -> Tensor:
        """Evaluate the exact solution of the grid's Fourier series."""
        u = start.states
        if len(times) == 1:
            return u.unsqueeze(1)
        grid = PeriodicGrid(tuple(u.shape[2:]), lengths)
        symbol = self.linear(grid, parameters, u).unsqueeze(1)
        elapsed = (times[1:] - times[0]).to(u).view(-1, *[1] * (u.dim() - 1))
        later = grid.inverse(grid.transform(u).unsqueeze(1) * torch.exp(symbol * elapsed))
        return torch.cat([u.unsqueeze(1), later], dim=1)

    def rate(self, values: Tensor, times: Tensor, parameters: Parameters, *, lengths: tuple[float, ...]) -> Tensor:
        """Return L u."""
        grid = PeriodicGrid(tuple(values.shape[3:]), lengths)
        return grid.inverse(grid.transform(values) * self.linear(grid, parameters, values).unsqueeze(1))


def coefficient(name: str, parameters: Parameters, like: Tensor, *, positive: bool = False, dims: int = 1) -> Tensor:
    """Return a parameter (N,) as (N, 1, ...), to multiply states (N, C, *X) or their coefficients.

    Raises:
        InputError: it is not finite, or not positive where it must be; the message names the sample.
    """
    values = parameters[name]
    bad = ~torch.isfinite(values) | (values <= 0 if positive else False)
    if bool(bad.any()):
        sample = int(bad.nonzero()[0])
        demand = "it must be positive" if positive else "it must be finite"
        raise InputError(f"{name}={float(values[sample]):g} of sample {sample} is out of range: {demand}.")
    return values.to(like).view(-1, *[1] * (dims + 1))


def mean(values: Tensor, parameters: Parameters) -> Tensor:
    """Return the mean over channels and space, (N, T): the mass by the volume of the box."""
    return values.flatten(2).mean(-1)


def half_mean_square(values: Tensor, parameters: Parameters) -> Tensor:
    """Return half the mean square over channels and space, (N, T)."""
    return values.flatten(2).square().mean(-1) / 2
