"""The method of lines: an equation in time, differenced in space, to a solver of ordinary differential equations."""

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from integrand.apps.physics.informed.problems.problem import GridSolution
from integrand.core.errors import InputError

Array = np.ndarray


def march(rate: Callable[[Array], Array], start: Array, axis: Array, end: float, *, cells: int) -> GridSolution:
    """Solve du/dt = rate(u) for values at the inner points of an axis, zero at both ends, up to a time.

    Args:
        rate: of the inner values, coupling neighbours alone.
        start: values at all points.
        axis: points.
        end: last time.
        cells: steps between times that are kept.
    """
    times = np.linspace(0, end, cells + 1)
    done = solve_ivp(
        lambda _, u: rate(u),
        (0, end),
        start[1:-1],
        method="LSODA",
        t_eval=times,
        rtol=1e-8,
        atol=1e-10,
        lband=1,
        uband=1,
    )
    if not done.success:
        raise InputError(f"the finite-difference solver failed on {cells} cells: {done.message}")
    values = np.zeros((len(axis), len(times)))
    values[1:-1] = done.y
    values[:, 0] = start
    return GridSolution((axis, times), values)
