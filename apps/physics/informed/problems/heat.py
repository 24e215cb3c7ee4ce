"""The heat equation on an interval."""

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

WAVES = ((1, 1.0), (3, 0.5))
"""Half waves of the start and their sizes."""


class Heat(Problem):
    """u_t = kappa u_xx on [0, 1], u(x, 0) = sin(pi x) + sin(3 pi x) / 2, u = 0 at both ends.

    Each wave decays by itself: u(x, t) = sum_k b_k exp(-kappa (k pi)^2 t) sin(k pi x).

    Source: Fourier (1822), Theorie analytique de la chaleur, Chapter III.
    """

    name = "heat_rod"
    summary = "heat equation: two waves decay, each at its own rate"
    equation = "u_t = diffusivity u_xx"
    source = "closed form, Fourier (1822)"
    inputs = ("x", "t")
    low, high, periodic = (0.0, 0.0), (1.0, 1.0), (False, False)
    parameters: ClassVar = {"diffusivity": 0.1}
    derivatives = ("xx", "t")
    solver = "central differences in space, LSODA in time"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Start and walls."""
        return (
            Condition("start", 1, 0.0, self.lift),
            Condition("left wall", 0, 0.0, lambda p: torch.zeros_like(p[:, 0])),
            Condition("right wall", 0, 1.0, lambda p: torch.zeros_like(p[:, 0])),
        )

    def lift(self, points: Tensor) -> Tensor:
        """Return the start, at all times."""
        return sum((b * (k * math.pi * points[:, 0]).sin() for k, b in WAVES), torch.zeros_like(points[:, 0]))

    def distance(self, points: Tensor) -> Tensor:
        """Return 4 t x (1 - x)."""
        x, t = points.unbind(-1)
        return 4 * t * x * (1 - x)

    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return u_t - kappa u_xx."""
        return u["t"] - parameters["diffusivity"] * u["xx"]

    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Evaluate the closed form."""
        kappa = self.given(parameters)["diffusivity"]
        x, t = points.double().unbind(-1)
        waves = [b * (-kappa * (k * math.pi) ** 2 * t).exp() * (k * math.pi * x).sin() for k, b in WAVES]
        return torch.stack(waves).sum(0)

    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve."""
        kappa = self.given(parameters)["diffusivity"]
        axis = np.linspace(0, 1, cells + 1)
        start = sum(b * np.sin(k * math.pi * axis) for k, b in WAVES)

        def rate(inner: np.ndarray) -> np.ndarray:
            u = np.pad(inner, 1)
            return kappa * cells**2 * (u[2:] - 2 * inner + u[:-2])

        return march(rate, np.asarray(start), axis, 1.0, cells=cells)
