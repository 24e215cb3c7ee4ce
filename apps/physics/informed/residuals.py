"""The residual of a problem's equation, by automatic differentiation at any points or by stencils on a grid.

Dimension letters: N points, d coordinates, X points of the grid along each axis.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from integrand.apps.physics.informed.problems.problem import Parameters, Problem, mesh
from integrand.core.numerics.partials import partials
from integrand.core.operators import FiniteDifferences, Grid
from integrand.core.operators.boundary import Open, Periodic

ACCURACY = 4
"""Order of the stencils."""

Function = Callable[[Tensor], Tensor]


def residual(problem: Problem, function: Function, points: Tensor, parameters: Parameters) -> Tensor:
    """Return R(u), (N,), of a function u at points (N, d), its derivatives by automatic differentiation.

    Args:
        problem: whose equation it is.
        function: u, from points (N, d) to values (N,).
        points: where.
        parameters: of the equation.
    """
    axes = {letters: problem.axes_of(letters) for letters in problem.derivatives}
    found = partials(function, points, axes.values())
    return problem.residual({letters: found[a] for letters, a in axes.items()}, points, parameters)


def stencil_residual(problem: Problem, function: Function, size: int, parameters: Parameters, like: Tensor) -> Tensor:
    """Return R(u), (N,), at all points of a grid of the box, its derivatives by differences of order 4.

    The function is evaluated once a point, whatever the order of the equation. What is finer than the grid, its
    residual does not see.

    Args:
        problem: whose equation it is.
        function: u, from points (N, d) to values (N,).
        size: points along each axis.
        parameters: of the equation.
        like: a tensor of the type and on the device that the points are to have.
    """
    walls = tuple((Periodic() if joined else Open()) for joined in problem.periodic)
    lengths = tuple(high - low for low, high in zip(problem.low, problem.high, strict=True))
    grid = Grid((size,) * len(walls), lengths, walls)
    axes = tuple(x.flatten() + low for x, low in zip(grid.coordinates(like), problem.low, strict=True))
    points = mesh(axes)
    values = function(points).view(grid.shape)
    differences = FiniteDifferences(grid, ACCURACY)
    found = {letters: _difference(differences, values, problem.axes_of(letters)) for letters in problem.derivatives}
    return problem.residual({letters: each.flatten() for letters, each in found.items()}, points, parameters)


def _difference(differences: FiniteDifferences, values: Tensor, axes: tuple[int, ...]) -> Tensor:
    for axis in sorted(set(axes)):
        values = differences.derivative(values, axis, axes.count(axis))
    return values


def mean_by_slice(squares: Tensor, times: Tensor, first: float, last: float, slices: int) -> Tensor:
    """Return the mean (T,) of squared residuals (N,) in slices of time of equal length, 0 where no point lies.

    Args:
        squares: what is averaged.
        times: of the points, (N,).
        first: start of the first slice.
        last: end of the last.
        slices: how many, T.
    """
    index = ((times - first) / (last - first) * slices).long().clamp(0, slices - 1)
    empty = squares.new_zeros(slices)
    sums = empty.index_add(0, index, squares)
    return sums / empty.index_add(0, index, torch.ones_like(squares)).clamp(min=1)
