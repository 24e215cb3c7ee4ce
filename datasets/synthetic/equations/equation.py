"""Partial differential equations on boxes as simulators.

Dimension letters: N samples, T times, C channels, X Y Z grid.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.datasets.synthetic.simulator import GridOf, Invariant, Parameters, Simulator


class Equation(Simulator):
    """A partial differential equation on a box of one or more dimensions, periodic unless it says otherwise.

    Class attributes beside those of ``Simulator``:

    Attributes:
        points: along each axis, by default.
        lengths: of the box along each axis, by default.
        periodic: whether the ends of the axes are joined.
        lyapunov: the largest exponent, per unit of time, with the defaults; 0 where it is not chaotic.
        steady: whether the solution does not depend on time: it then has one time, 0, and constants say which it is.
        galilean: whether u(x, t) = m + v(x - m t, t) solves the equation wherever v does, for every constant m.
        mirror: whether -u(-x, t) solves the equation wherever u does.
        square: whether reflections of a square, and the exchange of its axes, of u and the constants alike, solve the
            equation wherever they do; u is 0 on all walls.
    """

    points: ClassVar[tuple[int, ...]]
    lengths: ClassVar[tuple[float, ...]]
    periodic: ClassVar[bool] = True
    steady: ClassVar[bool] = False
    galilean: ClassVar[bool] = False
    mirror: ClassVar[bool] = False
    square: ClassVar[bool] = False
    lyapunov: ClassVar[float] = 0.0

    def grid(self, points: tuple[int, ...] | None, lengths: tuple[float, ...] | None) -> GridOf:
        """Return the points 0, h, ..., L - h along each axis."""
        points, lengths = tuple(points or self.points), tuple(lengths or self.lengths)
        for label, given in (("points", points), ("lengths", lengths)):
            if len(given) != self.dims or not all(each > 0 for each in given):
                raise InputError(f"{self.name}: {label}={given} is out of range: {self.dims} positive numbers.")
        if min(points) < 4:
            raise InputError(f"{self.name}: points={points} is out of range: at least 4 along each axis.")
        coordinates = tuple(
            torch.arange(n, dtype=torch.float64) * (length / n) for n, length in zip(points, lengths, strict=True)
        )
        return GridOf(points, lengths, (self.periodic,) * self.dims, coordinates)

    def invariants_on(self, lengths: tuple[float, ...]) -> dict[str, Invariant]:
        """Return all invariants on a box: those of ``invariants``, and those that need its lengths for derivatives."""
        return dict(self.invariants)

    @abstractmethod
    def residual(
        self,
        values: Tensor,
        times: Tensor,
        parameters: Parameters,
        *,
        lengths: tuple[float, ...],
        constants: Tensor | None = None,
    ) -> Tensor:
        """Return what is left of the equation, (N, T', C, *X), when evenly spaced states (N, T, C, *X) are put into it.

        Derivatives in space are spectral where the box is periodic, those in time of central differences: T' = T - 2.
        A steady equation has T' = T. ``constants`` (N, K, *X) are the constant fields, where the equation has any.
        """
