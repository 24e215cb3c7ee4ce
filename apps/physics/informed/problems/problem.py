"""What a problem is: an equation on a box, its conditions, the solution, and a solver to compare with.

Dimension letters: N points, d coordinates of a point, time the last where there is time.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.interpolate import CubicSpline, RectBivariateSpline
from torch import Tensor

from integrand.core.errors import InputError, unknown

Array = np.ndarray
Derivatives = Mapping[str, Tensor]
"""u and its derivatives (N,), each by the letters of its coordinates: ``u[""]``, ``u["t"]``, ``u["xx"]``."""
Parameters = Mapping[str, Tensor | float]
"""Parameters of the equation by name; those that are sought are tensors."""


class Condition(NamedTuple):
    """What holds on one face of the box.

    Attributes:
        name: such as ``"start"``.
        axis: the coordinate that is constant there.
        at: its value.
        value: from points (N, d) of the face to the value (N,).
        derivative: of what the value is, in letters of coordinates; of u itself where empty.
    """

    name: str
    axis: int
    at: float
    value: Callable[[Tensor], Tensor]
    derivative: str = ""


@dataclass(frozen=True)
class GridSolution:
    """A solution on a grid, as a solver of finite differences finds it.

    Attributes:
        axes: points along each coordinate, one or two.
        values: on the grid of them.
    """

    axes: tuple[Array, ...]
    values: Array

    def at(self, points: Array) -> Array:
        """Return the values (N,) at points (N, d), by cubic splines."""
        if len(self.axes) == 1:
            return CubicSpline(self.axes[0], self.values)(points[:, 0])
        return RectBivariateSpline(self.axes[0], self.axes[1], self.values).ev(points[:, 0], points[:, 1])


class Problem(ABC):
    """An equation R(u) = 0 for u(p) on a box, with conditions that make its solution unique.

    Class attributes that a subclass sets:

    Attributes:
        name: what options call it.
        summary: one line for lists.
        equation: it, in plain letters.
        source: where it is taken from.
        inputs: one letter for each coordinate; ``"t"`` is time and comes last.
        low: least value of each.
        high: greatest value.
        periodic: whether the box is closed to a ring along each.
        parameters: of the equation, with their values.
        derivatives: those that the residual takes, in letters.
        solver: the method of ``finite_differences``, in a few words.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    equation: ClassVar[str]
    source: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    low: ClassVar[tuple[float, ...]]
    high: ClassVar[tuple[float, ...]]
    periodic: ClassVar[tuple[bool, ...]]
    parameters: ClassVar[Mapping[str, float]]
    derivatives: ClassVar[tuple[str, ...]]
    solver: ClassVar[str]

    @property
    @abstractmethod
    def conditions(self) -> tuple[Condition, ...]:
        """What holds on the faces; periodic ones need nothing."""

    @abstractmethod
    def lift(self, points: Tensor) -> Tensor:
        """Return a smooth function (N,) that meets every condition."""

    @abstractmethod
    def distance(self, points: Tensor) -> Tensor:
        """Return a smooth function (N,) that is positive within, and zero with every condition's derivative on it."""

    @abstractmethod
    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return R(u), (N,), at points (N, d)."""

    @abstractmethod
    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Return the solution (N,) in float64, for other parameters where given."""

    @abstractmethod
    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve on so many cells along each axis by the method that ``solver`` names."""

    @property
    def timed(self) -> bool:
        """Whether the last coordinate is time."""
        return self.inputs[-1] == "t"

    def axes_of(self, derivative: str) -> tuple[int, ...]:
        """Return the coordinates that the letters of a derivative stand for."""
        return tuple(self.inputs.index(letter) for letter in derivative)

    def given(self, parameters: Mapping[str, float] | None) -> dict[str, float]:
        """Return all parameters, some of them replaced.

        Raises:
            InputError: one is unknown, or not a finite number.
        """
        for name, value in (parameters or {}).items():
            if name not in self.parameters:
                raise unknown(f"parameter of {self.name}", name, self.parameters)
            if not math.isfinite(value):
                raise InputError(f"{self.name}: {name}={value!r} must be a finite number.")
        return {**self.parameters, **(parameters or {})}

    def grid(self, points: int) -> tuple[Tensor, ...]:
        """Return the axes of a grid of the box with so many points along each, ends included, in float64."""
        return tuple(
            torch.linspace(low, high, points, dtype=torch.float64)
            for low, high in zip(self.low, self.high, strict=True)
        )

    def outside(self, points: Array) -> Array:
        """Return which of the points (N, d) lie outside the box; a periodic coordinate never does, (N, d)."""
        margin = 1e-9 * (np.asarray(self.high) - np.asarray(self.low))
        beyond = (points < np.asarray(self.low) - margin) | (points > np.asarray(self.high) + margin)
        return beyond & ~np.asarray(self.periodic)


def mesh(axes: tuple[Tensor, ...]) -> Tensor:
    """Return the points (N, d) of a grid, the last coordinate running fastest."""
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
