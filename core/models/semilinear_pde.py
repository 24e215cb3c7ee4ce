"""A learned partial differential equation whose linear part is solved exactly."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from integrand.core.errors import InputError, unknown
from integrand.core.fields.mlp import ACTIVATIONS
from integrand.core.numerics.exponential.semilinear import SEMILINEAR, solve_semilinear
from integrand.core.numerics.solution import Solution
from integrand.core.numerics.spectral import PeriodicGrid


class LearnedSymbol(nn.Module):
    """The symbol of a linear operator with constant coefficients, a polynomial in the wave vector k,

        L(k) = (1 / tau) sum_p (b_p + i a_p . ell k) (-|ell k|^2)^p,    p = 0, ..., P,

    for each channel: b_0 is growth, b_1 diffusion, b_2 that of fourth order, a_0 a velocity, a_1 dispersion. The
    highest power only damps, b_P (-1)^P < 0 and a_P = 0, so that no learned equation is ill-posed.

    Its place on the map: a part of fields; the linear half of a semilinear PDE, known or learned.

    Args:
        channels: fields C.
        dims: axes d.
        order: of the highest derivatives, 2 P, even.
        length_scale: ell.
        time_scale: tau.

    Shapes:
        ``symbol(grid, like)``: (C, *K) complex, over the coefficients of the grid.

    Raises:
        InputError: an option out of range.

    Example:
        >>> LearnedSymbol(1, 1)(PeriodicGrid((8,)), torch.zeros(1)).shape
        torch.Size([1, 5])

    Source: Hoermander (1983), The analysis of linear partial differential operators, for symbols; that short waves are
    damped whatever is learned is ours.
    """

    def __init__(
        self, channels: int, dims: int, *, order: int = 4, length_scale: float = 1.0, time_scale: float = 1.0
    ) -> None:
        super().__init__()
        if min(channels, dims) < 1 or dims > 3 or order < 2 or order % 2:
            raise InputError(
                f"channels={channels}, dims={dims}, order={order}: give 1 channel or more, 1 to 3 dims, an even order."
            )
        if not 0 < length_scale < math.inf or not 0 < time_scale < math.inf:
            raise InputError(f"length_scale={length_scale}, time_scale={time_scale}: both must be positive and finite.")
        self.dims, self.length_scale, self.time_scale = dims, length_scale, time_scale
        powers = order // 2
        self.growth = nn.Parameter(torch.zeros(channels, powers))
        self.drift = nn.Parameter(torch.zeros(channels, powers, dims))
        self.damping = nn.Parameter(torch.full((channels,), -3.0))

    def forward(self, grid: PeriodicGrid, like: Tensor) -> Tensor:
        """Evaluate the symbol in double precision, as powers of k need it, and return it in that of ``like``."""
        wide = torch.float32 if like.device.type == "mps" else torch.float64
        of = torch.zeros((), dtype=wide, device=like.device)
        square = grid.laplacian_symbol(of) * self.length_scale**2
        powers = self.growth.shape[1]
        shape = (-1, *[1] * self.dims)
        damping = nn.functional.softplus(self.damping.to(wide)).view(shape)
        real = -damping * square.abs() ** powers
        imaginary = torch.zeros_like(real)
        waves = [grid.derivative_symbol(axis, of).imag * self.length_scale for axis in range(self.dims)]
        for p in range(powers):
            real = real + self.growth[:, p].to(wide).view(shape) * square**p
            for axis, wave in enumerate(waves):
                imaginary = imaginary + self.drift[:, p, axis].to(wide).view(shape) * wave * square**p
        return torch.complex(real, imaginary) / self.time_scale


class SemilinearPDE(nn.Module):
    """A PDE on a periodic box, linear in its highest derivatives, learned as an equation and solved as one:

        u_t = L u - div F(u, grad u) + S(u, grad u),

    L with a ``LearnedSymbol``, F and S a network at each point. In Fourier coordinates L is diagonal, so exponential
    integrators solve it exactly, however stiff, and steps are as long as F and S allow. Waves beyond two thirds of the
    grid's are kept out of products. Without S the mean of u stays what it is, exactly.

    Its place on the map: model level; the whole network is one PDE, the same on a grid of any resolution, where
    ``NeuralPDE`` learns what finite differences see. Kuramoto-Sivashinsky's, Korteweg-de Vries', Burgers' and
    reaction-diffusion equations are of this form.

    Args:
        channels: fields C.
        lengths: of the box along each of its d axes.
        hidden: widths of the hidden layers of F and S.
        activation: one of ``core.fields.mlp.ACTIVATIONS``.
        order: of the highest derivatives of L, even.
        source: whether there is an S.
        length_scale: unit of length ell, the size of typical structures, so that all numbers are of one size.
        time_scale: unit of time tau, in which they change.
        method: of ``solve_semilinear``.
        step_size: longest step.

    Shapes:
        ``model(u, times)``: u (B, C, X[, Y[, Z]]); returns a ``Solution`` with states (B, T, C, X[, Y[, Z]]).

    Raises:
        InputError: an option out of range, fields of another rank or number of channels.

    Example:
        >>> model = SemilinearPDE(1, (64.0,), step_size=0.1)
        >>> model(torch.randn(3, 1, 32), [0.0, 0.5, 1.0]).states.shape
        torch.Size([3, 3, 1, 32])

    Source: Kassam and Trefethen (2005), Fourth-order time-stepping for stiff PDEs, for the solver; the learned terms
    are ours.
    """

    def __init__(
        self,
        channels: int,
        lengths: Sequence[float],
        *,
        hidden: Sequence[int] = (32, 32),
        activation: str = "gelu",
        order: int = 4,
        source: bool = False,
        length_scale: float = 1.0,
        time_scale: float = 1.0,
        method: str = "etdrk4",
        step_size: float | None = None,
    ) -> None:
        super().__init__()
        if method not in SEMILINEAR:
            raise unknown("method", method, SEMILINEAR)
        if activation not in ACTIVATIONS:
            raise unknown("activation", activation, ACTIVATIONS)
        self.lengths = tuple(float(length) for length in lengths)
        dims = len(self.lengths)
        self.symbol = LearnedSymbol(channels, dims, order=order, length_scale=length_scale, time_scale=time_scale)
        self.channels, self.source = channels, source
        self.length_scale, self.time_scale = length_scale, time_scale
        self.method, self.step_size = method, step_size
        widths = [channels * (1 + dims), *hidden, channels * (dims + int(source))]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
        self.local = nn.Sequential(*layers[:-1])

    def forward(self, u: Tensor, times: Tensor | Sequence[float]) -> Solution:
        """Solve from fields u over times (T,) or (B, T)."""
        dims = len(self.lengths)
        if u.dim() != 2 + dims or u.shape[1] != self.channels:
            raise InputError(
                f"u must have shape (B, {self.channels}, {', '.join('XYZ'[:dims])}), got {tuple(u.shape)}."
            )
        grid = PeriodicGrid(tuple(u.shape[2:]), self.lengths)
        equation = _OnGrid(self, grid, u)
        solution = solve_semilinear(equation, grid.transform(u), times, method=self.method, step_size=self.step_size)
        return replace(
            solution,
            states=grid.inverse(solution.states),
            _slope=lambda t, y: grid.inverse(equation(t, grid.transform(y))),
        )

    def nonlinear(self, grid: PeriodicGrid, mask: Tensor, slopes: Sequence[Tensor], coefficients: Tensor) -> Tensor:
        """Return the coefficients of -div F + S for those of u, (B, C, *K)."""
        dims = grid.dims
        kept = coefficients * mask
        seen = torch.stack([kept, *(kept * slope for slope in slopes)], dim=1)  # (B, 1 + d, C, *K)
        features = grid.inverse(seen).flatten(1, 2).movedim(1, -1)
        made = grid.transform(self.local(features).movedim(-1, 1).contiguous()) * (mask / self.time_scale)
        flux = made[:, : self.channels * dims].unflatten(1, (dims, self.channels))
        total = -sum(flux[:, axis] * slope for axis, slope in enumerate(slopes))
        return total + made[:, self.channels * dims :] if self.source else total  # pyright: ignore[reportReturnType]


class _OnGrid:
    """The equation on one grid, as ``solve_semilinear`` takes it."""

    def __init__(self, model: SemilinearPDE, grid: PeriodicGrid, u: Tensor) -> None:
        self.linear = model.symbol(grid, u)
        mask = grid.dealiasing_mask(u)
        slopes = [grid.derivative_symbol(axis, u) * model.length_scale for axis in range(grid.dims)]
        self.nonlinear = lambda t, y: model.nonlinear(grid, mask, slopes, y)

    def __call__(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        """Return L y + N(t, y)."""
        return self.linear.to(y.dtype) * y + self.nonlinear(t, y)
