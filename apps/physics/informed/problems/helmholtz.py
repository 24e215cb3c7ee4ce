"""The Helmholtz equation on a square."""

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import spsolve
from torch import Tensor

from integrand.apps.physics.informed.problems.problem import (
    Condition,
    Derivatives,
    GridSolution,
    Parameters,
    Problem,
)


class Helmholtz(Problem):
    """u_xx + u_yy + k^2 u = q on [-1, 1]^2, u = 0 on the walls, q such that u = sin(pi x) sin(4 pi y) where k = 1.

    Source: Wang, Teng and Perdikaris (2021), Understanding and mitigating gradient flow pathologies in physics-informed
    neural networks, Section 4.1.
    """

    name = "helmholtz"
    summary = "Helmholtz equation on a square: a standing wave under a given force"
    equation = "u_xx + u_yy + wavenumber^2 u = q(x, y)"
    source = "Wang, Teng and Perdikaris (2021), Section 4.1"
    inputs = ("x", "y")
    low, high, periodic = (-1.0, -1.0), (1.0, 1.0), (False, False)
    parameters: ClassVar = {"wavenumber": 1.0}
    derivatives = ("", "xx", "yy")
    solver = "five-point differences, sparse elimination"

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Four walls."""
        return tuple(
            Condition(name, axis, at, lambda p: torch.zeros_like(p[:, 0]))
            for name, axis, at in (
                ("left wall", 0, -1.0),
                ("right wall", 0, 1.0),
                ("lower wall", 1, -1.0),
                ("upper wall", 1, 1.0),
            )
        )

    def lift(self, points: Tensor) -> Tensor:
        """Return 0."""
        return torch.zeros_like(points[:, 0])

    def distance(self, points: Tensor) -> Tensor:
        """Return (1 - x^2) (1 - y^2)."""
        return (1 - points.square()).prod(-1)

    def residual(self, u: Derivatives, points: Tensor, parameters: Parameters) -> Tensor:
        """Return u_xx + u_yy + k^2 u - q."""
        return u["xx"] + u["yy"] + parameters["wavenumber"] ** 2 * u[""] - self.force(points)

    def force(self, points: Tensor) -> Tensor:
        """Return q, (N,)."""
        return (1 - 17 * math.pi**2) * _standing(points)

    def reference(self, points: Tensor, parameters: Mapping[str, float] | None = None) -> Tensor:
        """Evaluate the closed form: the force is a mode of the Laplacian."""
        k = self.given(parameters)["wavenumber"]
        return (1 - 17 * math.pi**2) / (k**2 - 17 * math.pi**2) * _standing(points.double())

    def finite_differences(self, cells: int, parameters: Mapping[str, float] | None = None) -> GridSolution:
        """Solve."""
        k = self.given(parameters)["wavenumber"]
        axis = np.linspace(-1, 1, cells + 1)
        inner, h = axis[1:-1], axis[1] - axis[0]
        ones = np.ones(len(inner))
        second = sp.diags_array([ones[1:], -2 * ones, ones[1:]], offsets=[-1, 0, 1]) / h**2
        eye = sp.identity(len(inner))
        x, y = np.meshgrid(inner, inner, indexing="ij")
        right = self.force(torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1))).numpy()
        matrix = sp.kron(second, eye) + sp.kron(eye, second) + k**2 * sp.identity(len(inner) ** 2)
        values = np.pad(np.asarray(spsolve(sp.csc_matrix(matrix), right)).reshape(x.shape), 1)
        return GridSolution((axis, axis), values)


def _standing(points: Tensor) -> Tensor:
    return (math.pi * points[:, 0]).sin() * (4 * math.pi * points[:, 1]).sin()
