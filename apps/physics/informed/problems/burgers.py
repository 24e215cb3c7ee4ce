"""The viscous Burgers equation on an interval, with the shock that everyone measures on."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.informed.problems.marching import march
from integrand.apps.physics.informed.problems.problem import (
    Condition,
    Derivatives,
    GridSolution,
    Parameters,
    Problem,
)

NODES = 4001
"""Of the quadrature; its error falls faster than any power of their distance."""
AT_ONCE = 500


class Burgers(Problem):
    """u_t + a u u_x = nu u_xx on [-1, 1], u(x, 0) = -sin(pi x), u = 0 at both ends.

    By Cole and Hopf, with z the distance that heat has come and all integrals over the whole line,

        u(x, t) = -int sin(pi (x - z)) w dz / int w dz,    w = exp(-a cos(pi (x - z)) / (2 pi nu) - z^2 / (4 nu t)).

    Source: Basdevant et al. (1986), Spectral and finite difference solutions of the Burgers equation; as a problem for
    networks Raissi, Perdikaris and Karniadakis (2019), Physics-informed neural networks, Appendix A.1.
    """

    name = "burgers_shock"
    summary = "viscous Burgers equation: a sine steepens to a shock"
    equation = "u_t + advection u u_x = viscosity u_xx"
    source = "Raissi et al. (2019), Appendix A.1"
    inputs = ("x", "t")
    low, high, periodic = (-1.0, 0.0), (1.0, 1.0), (False, False)
    parameters: ClassVar = {"advection": 1.0, "viscosity": 0.01 / math.pi}
    derivatives = ("", "x", "xx", "t")
    solver = "central differences in space, LSODA in time"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Start and walls."""
        return (
            Condition("start", 1, 0.0, self.lift),
            Condition("left wall", 0, -1.0, lambda p: torch.zeros_like(p[:, 0])),
            Condition("right wall", 0, 1.0, lambda p: torch.zeros_like(p[:, 0])),
        )

    def lift(self, points: Tensor) -> Tensor:
        """Return the start, at all times."""
        return -(math.pi * points[:, 0]).sin()

    def distance(self, points: Tensor) -> Tensor:
        """Return t (1 - x^2)."""
        return points[:, 1] * (1 - points[:, 0].square())

    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return u_t + a u u_x - nu u_xx."""
        return u["t"] + parameters["advection"] * u[""] * u["x"] - parameters["viscosity"] * u["xx"]

    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Evaluate the integrals by the trapezoidal rule."""
        values = self.given(parameters)
        a, nu = values["advection"], values["viscosity"]
        steps = torch.linspace(-1, 1, NODES, dtype=torch.float64, device=points.device)
        reach = math.sqrt(4 * nu * (40 + abs(a) / (math.pi * nu)))  # beyond it all weights are below exp(-40)
        found = []
        for part in points.double().split(AT_ONCE):
            x, t = part[:, :1], part[:, 1:]
            began = t > 0
            width = torch.where(began, t, 1).sqrt()
            z = reach * width * steps
            angle = math.pi * (x - z)
            weight = (-a * angle.cos() / (2 * math.pi * nu) - (z / width).square() / (4 * nu)).softmax(-1)
            later = -(angle.sin() * weight).sum(-1)
            found.append(torch.where(began[:, 0], later, self.lift(part)))
        return torch.cat(found)

    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve with the advection in the form (u^2 / 2)_x."""
        values = self.given(parameters)
        axis = np.linspace(-1, 1, cells + 1)
        h = axis[1] - axis[0]

        def rate(inner: np.ndarray) -> np.ndarray:
            u = np.pad(inner, 1)
            flow = values["advection"] * (u[2:] ** 2 - u[:-2] ** 2) / (4 * h)
            return values["viscosity"] * (u[2:] - 2 * inner + u[:-2]) / h**2 - flow

        return march(rate, -np.sin(math.pi * axis), axis, 1.0, cells=cells)
