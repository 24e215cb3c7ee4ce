"""Measured orders of controlled equations: of the methods along smooth and kinked paths, and of the log-ODE method."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from torch import Tensor

from integrand.core.numerics.methods.tableau import DOPRI5, EULER, HEUN, MIDPOINT, RALSTON, RK4, Tableau
from integrand.core.numerics.solve_cde import solve_cde
from integrand.core.numerics.solve_log_ode import solve_log_ode
from integrand.core.paths import (
    LinearPath,
    LogSignaturePath,
    NaturalCubicPath,
    log_signatures,
    natural_cubic_coefficients,
    window_edges,
)

torch64 = torch.float64
VALUES = np.array([[0.0, 1.0], [0.8, 0.4], [0.3, -0.5], [-0.6, 0.2], [0.1, 0.9]])
TIMES = np.arange(5.0)


def field(t: Tensor, z: Tensor) -> Tensor:
    """Nonlinear, with time in it, and columns that do not commute."""
    u, v = z.unbind(-1)
    first = torch.stack([torch.sin(u * v) + torch.cos(t), u - v**2 / 2], dim=-1)
    return torch.stack([first, torch.stack([torch.cos(v) * u, torch.sin(t + u)], dim=-1)], dim=-1)


def reference(slope) -> np.ndarray:
    """Solve from knot to knot by scipy's eighth-order method, to 1e-13."""
    z = np.array([0.5, -0.2])
    for i in range(4):

        def right(t: float, z: np.ndarray, i: int = i) -> np.ndarray:
            matrix = field(torch.tensor(t, dtype=torch64), torch.from_numpy(z)[None])[0].numpy()
            return matrix @ slope(t, i)

        z = solve_ivp(right, (i, i + 1), z, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return z


def slopes(sizes: list[float], errors: list[float]) -> float:
    return float(np.log(errors[-2] / errors[-1]) / np.log(sizes[-2] / sizes[-1]))


@pytest.mark.parametrize(
    ("tableau", "kinked"),
    # Along the straight lines the fifth order's error changes its sign among steps of 1/5 to 1/40.
    [(t, kinked) for t in (EULER, MIDPOINT, HEUN, RALSTON, RK4) for kinked in (False, True)] + [(DOPRI5, False)],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_methods_keep_their_order_along_paths(tableau: Tableau, kinked: bool):
    """A natural cubic spline, and straight lines, whose kinks cost no order since steps land on them."""
    values, times = torch.from_numpy(VALUES)[None], torch.from_numpy(TIMES)
    spline = CubicSpline(TIMES, VALUES, bc_type="natural")
    if kinked:
        path, exact = LinearPath(values, times), reference(lambda t, i: VALUES[i + 1] - VALUES[i])
    else:
        path = NaturalCubicPath(natural_cubic_coefficients(values, times), times)
        exact = reference(lambda t, i: spline(t, 1))
    z0 = torch.tensor([[0.5, -0.2]], dtype=torch64)
    steps = {4: [20, 40], 5: [10, 20]}.get(tableau.order, [160, 320])
    errors = []
    for n in steps:
        found = solve_cde(field, path, z0, times[[0, -1]], method=tableau.name, step_size=1 / n).states[0, -1]
        errors.append(float(np.abs(found.numpy() - exact).max()))
    assert errors[-1] > 1e-11  # two digits above the reference's own error
    assert slopes([1 / n for n in steps], errors) == pytest.approx(tableau.order, abs=0.1)


A = torch.randn(2, 3, 3, dtype=torch64, generator=torch.Generator().manual_seed(0)) / 2


def linear(t: Tensor, z: Tensor) -> Tensor:
    return torch.einsum("chk,bk->bhc", A, z)


def exact(points: Tensor, z0: Tensor) -> Tensor:
    """Solve dz = A_1 z dX^1 + A_2 z dX^2 along straight lines (n, 2), by an exponential each."""
    exponentials = torch.linalg.matrix_exp(torch.einsum("chk,nc->nhk", A, points.diff(dim=0)))
    for each in exponentials:
        z0 = z0 @ each.T
    return z0


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_window_leaves_an_error_of_one_order_more_than_its_depth(depth: int):
    """One window over four straight lines, shrunk by e: brackets of depth + 1 letters are left out, e^(depth + 1).

    Sixteen rk4 steps a window err by e^5 16^-4 / 120, three digits below the least error measured.
    """
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [-0.5, 1.0], [0.2, 0.1]]], dtype=torch64)
    times = torch.arange(5.0, dtype=torch64)
    whole, z0 = times[[0, -1]], torch.tensor([[1.0, -0.5, 0.3]], dtype=torch64)
    sizes, errors = [0.02, 0.01], []
    for e in sizes:
        path = LogSignaturePath(log_signatures(LinearPath(e * points, times), whole, depth), whole)
        found = solve_log_ode(linear, path, z0, whole, depth=depth, step_size=4 / 16).states[:, -1]
        errors.append((found - exact(e * points[0], z0)).abs().max().item())
    assert errors[-1] > 1e-12
    assert slopes(sizes, errors) == pytest.approx(depth + 1, abs=0.1)


@pytest.mark.parametrize(("depth", "order"), [(1, 2), (2, 4), (3, 4)])
def test_the_log_ode_method_converges_in_the_length_of_its_windows(depth: int, order: int):
    """Along a smooth curve, drawn with 4096 straight lines and solved along these by their exponentials.

    By the Magnus expansion a window of length h has brackets of 2 letters of size h^3, and of 3 and of 4 of size h^5:
    so the orders are 2, 4 and again 4 (Blanes et al. 2009, The Magnus expansion and some of its applications, Sec. 4).
    """
    t = torch.linspace(0, 1, 4097, dtype=torch64)
    points = torch.stack([torch.sin(3 * t), t**2 + torch.cos(2 * t)], dim=-1)
    z0 = torch.tensor([[1.0, -0.5, 0.3]], dtype=torch64)
    expected = exact(points, z0)
    counts, errors = [8, 16] if order == 4 else [32, 64], []
    for windows in counts:
        edges = window_edges(t, 4096 // windows)
        path = LogSignaturePath(log_signatures(LinearPath(points[None], t), edges, depth), edges)
        found = solve_log_ode(linear, path, z0, edges[[0, -1]], depth=depth, step_size=1 / windows / 4).states[:, -1]
        errors.append((found - expected).abs().max().item())
    assert slopes([1 / n for n in counts], errors) == pytest.approx(order, abs=0.1)
