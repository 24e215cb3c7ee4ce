"""What a network trained on an equation must be measured with: a solver, and what observations tell without a network.

Dimension letters: N points, d coordinates, M observations, Q sought parameters.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from scipy.optimize import least_squares

from integrand.apps.physics.informed.data import InformedData
from integrand.apps.physics.informed.problems.problem import Problem
from integrand.core.errors import InputError

Array = np.ndarray
FIRST_CELLS, MOST_CELLS = 16, 1024
MOST_SECONDS = 20.0
"""That a solver is ever given: it is better than any network long before."""
FITTED_CELLS = 512
NEIGHBOURS = 50
SMOOTHINGS = (0.0, 1e-4, 1e-2, 1.0)
NORMAL = 1.96


class Solved(NamedTuple):
    """One solution by finite differences.

    Attributes:
        cells: along each axis.
        seconds: that it took.
        values: (N,) at the points asked.
        error: relative L2.
    """

    cells: int
    seconds: float
    values: Array
    error: float


class Fitted(NamedTuple):
    """Parameters by least squares around a solver.

    Attributes:
        values: by name.
        intervals: of 95 %, from the curvature of the sum of squares.
        seconds: that it took.
        solution: (N,) at the points asked.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    seconds: float
    solution: Array


def solve_twice_as_fine(
    problem: Problem, parameters: Mapping[str, float], points: Array, exact: Array, *, seconds: float
) -> list[Solved]:
    """Solve on 16, 32, 64, ... cells along each axis, as long as a solution costs no more than ``seconds``."""
    solved: list[Solved] = []
    cells = FIRST_CELLS
    while cells <= MOST_CELLS:
        began = time.perf_counter()
        found = problem.finite_differences(cells, parameters)
        spent = time.perf_counter() - began
        if solved and spent > seconds:
            break
        values = found.at(points)
        solved.append(Solved(cells, spent, values, float(np.linalg.norm(values - exact) / np.linalg.norm(exact))))
        # The next has twice the cells along each axis and, of most solvers, as many more steps: about 4 times the cost.
        if sum(one.seconds for one in solved) + 4 * spent > MOST_SECONDS:
            break
        cells *= 2
    return solved


def fit_solver(data: InformedData, points: Array) -> Fitted:
    """Find the sought parameters by least squares between the training observations and a solver of 512 cells.

    The solver knows start and walls. Logarithms are fitted, from the same guesses as the network's.

    Raises:
        InputError: the search fails.
    """
    problem, task = data.problem, data.task
    places, values = (part.numpy() for part in data.observed)
    names = list(task.guesses)
    guesses = np.array([task.guesses[name] for name in names])

    def solve(logarithms: Array, where: Array) -> Array:
        sought = dict(zip(names, guesses * np.exp(logarithms), strict=True))
        return problem.finite_differences(FITTED_CELLS, {**task.parameters, **sought}).at(where)

    began = time.perf_counter()
    done = least_squares(
        lambda q: solve(q, places) - values, np.zeros(len(names)), diff_step=1e-4, bounds=(-5, 5), max_nfev=50
    )
    spent = time.perf_counter() - began
    if not done.success:
        raise InputError(f"least squares around the solver failed: {done.message}")
    variance = 2 * done.cost / max(1, len(values) - len(names))
    deviation = np.sqrt(np.diag(np.linalg.inv(done.jac.T @ done.jac)) * variance)
    found = guesses * np.exp(done.x)
    ends = [sorted((v * np.exp(-NORMAL * s), v * np.exp(NORMAL * s))) for v, s in zip(found, deviation, strict=True)]
    return Fitted(
        {name: float(v) for name, v in zip(names, found, strict=True)},
        {name: (float(low), float(high)) for name, (low, high) in zip(names, ends, strict=True)},
        spent,
        solve(done.x, points),
    )


def interpolate(data: InformedData, points: Array) -> Array:
    """Return what thin-plate splines through the observations give at points (N, d): no equation, no conditions.

    How much they smooth is chosen by the observations held out.
    """
    low, high = np.asarray(data.problem.low), np.asarray(data.problem.high)

    def scaled(where: Array) -> Array:
        return (where - low) / (high - low)

    places, values = (part.numpy() for part in data.observed)
    held, told = (part.numpy() for part in data.held_out)
    near = min(NEIGHBOURS, len(values))
    fits = [RBFInterpolator(scaled(places), values, neighbors=near, smoothing=each) for each in SMOOTHINGS]
    errors = [float(np.square(fit(scaled(held)) - told).mean()) for fit in fits]
    return fits[int(np.argmin(errors))](scaled(points))


def array(tensor: torch.Tensor) -> Array:
    """Return a tensor's numbers in float64 on the host."""
    return tensor.detach().cpu().double().numpy()
