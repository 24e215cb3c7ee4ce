"""The wave equation on an interval."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from integrand.apps.physics.informed.problems.problem import (
    Condition,
    Derivatives,
    GridSolution,
    Parameters,
    Problem,
)

COURANT = 0.5


class Wave(Problem):
    """u_tt = c^2 u_xx on [0, 1], u(x, 0) = f(x) = sin(pi x) + sin(4 pi x) / 2, u_t(x, 0) = 0, u = 0 at both ends.

    By d'Alembert, f being odd about both ends: u(x, t) = (f(x - c t) + f(x + c t)) / 2.

    Source: d'Alembert (1747); as a problem for networks, with c = 2, Wang, Yu and Perdikaris (2022), When and why PINNs
    fail to train, Section 7.3.
    """

    name = "vibrating_string"
    summary = "wave equation: a plucked string swings"
    equation = "u_tt = speed^2 u_xx"
    source = "d'Alembert (1747); start of Wang et al. (2022), Section 7.3"
    inputs = ("x", "t")
    low, high, periodic = (0.0, 0.0), (1.0, 1.0), (False, False)
    parameters: ClassVar = {"speed": 1.0}
    derivatives = ("xx", "tt")
    solver = "leapfrog with steps of half a cell"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Start, its rate, and walls."""
        return (
            Condition("start", 1, 0.0, self.lift),
            Condition("rate at the start", 1, 0.0, lambda p: torch.zeros_like(p[:, 0]), "t"),
            Condition("left wall", 0, 0.0, lambda p: torch.zeros_like(p[:, 0])),
            Condition("right wall", 0, 1.0, lambda p: torch.zeros_like(p[:, 0])),
        )

    def lift(self, points: Tensor) -> Tensor:
        """Return the start, at all times."""
        return _start(points[:, 0])

    def distance(self, points: Tensor) -> Tensor:
        """Return 4 t^2 x (1 - x)."""
        x, t = points.unbind(-1)
        return 4 * t.square() * x * (1 - x)

    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return u_tt - c^2 u_xx."""
        return u["tt"] - parameters["speed"] ** 2 * u["xx"]

    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Evaluate d'Alembert's solution."""
        c = self.given(parameters)["speed"]
        x, t = points.double().unbind(-1)
        return (_start(x - c * t) + _start(x + c * t)) / 2

    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve; the first step is that of Taylor."""
        c = self.given(parameters)["speed"]
        axis = np.linspace(0, 1, cells + 1)
        steps = max(1, math.ceil(abs(c) * cells / COURANT))
        factor = (c * cells / steps) ** 2
        u = _start(torch.from_numpy(axis)).numpy()
        u[[0, -1]] = 0
        kept = [u]
        before, now = u, u + factor / 2 * _bend(u)
        for _ in range(steps):
            kept.append(now)
            before, now = now, 2 * now - before + factor * _bend(now)
        return GridSolution((axis, np.linspace(0, 1, steps + 1)), np.stack(kept, axis=1))


def _start(x: Tensor) -> Tensor:
    return (math.pi * x).sin() + (4 * math.pi * x).sin() / 2


def _bend(u: np.ndarray) -> np.ndarray:
    return np.pad(u[2:] - 2 * u[1:-1] + u[:-2], 1)
