"""A damped oscillator."""

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
from integrand.core.errors import InputError


class Oscillator(Problem):
    """u'' + 2 delta u' + omega^2 u = 0 on [0, 1], u(0) = 1, u'(0) = 0, under-damped.

    With w^2 = omega^2 - delta^2: u(t) = exp(-delta t) (cos(w t) + delta / w sin(w t)).

    Source: a textbook example; as a problem for networks with these numbers in Moseley (2021), So, what is a
    physics-informed neural network?
    """

    name = "oscillator"
    summary = "damped oscillator: three swings of a mass on a spring"
    equation = "u_tt + 2 damping u_t + frequency^2 u = 0"
    source = "closed form; numbers of Moseley (2021)"
    inputs = ("t",)
    low, high, periodic = (0.0,), (1.0,), (False,)
    parameters: ClassVar = {"damping": 2.0, "frequency": 20.0}
    derivatives = ("", "t", "tt")
    solver = "central differences"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Start, and its rate."""
        return (
            Condition("start", 0, 0.0, self.lift),
            Condition("rate at the start", 0, 0.0, lambda p: torch.zeros_like(p[:, 0]), "t"),
        )

    def lift(self, points: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(points[:, 0])

    def distance(self, points: Tensor) -> Tensor:
        """Return t^2."""
        return points[:, 0].square()

    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return (u'' + 2 delta u' + omega^2 u) / 20: of the size of the swing's velocity."""
        damping, frequency = parameters["damping"], parameters["frequency"]
        return (u["tt"] + 2 * damping * u["t"] + frequency**2 * u[""]) / 20

    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Evaluate the closed form."""
        values = self.given(parameters)
        damping, frequency = values["damping"], values["frequency"]
        if not frequency > damping:
            raise InputError(f"oscillator: frequency={frequency:g} must exceed damping={damping:g}.")
        w, t = math.sqrt(frequency**2 - damping**2), points.double()[:, 0]
        return (-damping * t).exp() * ((w * t).cos() + damping / w * (w * t).sin())

    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve."""
        values = self.given(parameters)
        damping, square, h = values["damping"], values["frequency"] ** 2, 1 / cells
        u = np.empty(cells + 1)
        u[0], u[1] = 1.0, 1 - square * h**2 / 2 + damping * square * h**3 / 3
        for i in range(1, cells):
            u[i + 1] = ((2 - square * h**2) * u[i] - (1 - damping * h) * u[i - 1]) / (1 + damping * h)
        return GridSolution((np.linspace(0, 1, cells + 1),), u)
