"""The Brusselator, a chemical clock, seen at random times and one or both substances at a time.

Source: Prigogine and Lefever (1968), Symmetry breaking instabilities in dissipative systems II, J. Chem. Phys. 48; as
data, De Brouwer, Simm, Arany and Moreau (2019), GRU-ODE-Bayes: Continuous modeling of sporadically-observed time
series, Section 5.1, and the code published with it (https://github.com/edebrouwer/gru_ode_bayes), whose values these
are. That code takes Euler's steps of 0.1 and adds a little noise to the process; here the equation itself is solved.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from integrand.core.errors import InputError
from integrand.core.numerics import solve_ode
from integrand.datasets.synthetic.sampling import observe, streams, to_table, uniform_times
from integrand.datasets.tables import Table

UNITS = {"x": "", "y": ""}
TARGETS = tuple(UNITS)


def brusselator(
    series: int = 1000,
    *,
    points: int | tuple[int, int] = (20, 30),
    span: float = 50.0,
    a: float = 0.3,
    b: float = 1.4,
    displacement: float = 0.3,
    together: float = 0.8,
    noise: float = 0.0,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> Table:
    """Return series of the concentrations x and y of

        x' = 1 - (b + 1) x + a x^2 y,    y' = b x - a x^2 y,

    which start near the steady state (1, b / a). Beyond b = 1 + a that is unstable, and all run into one cycle.

    Args:
        series: how many, N.
        points: times a series, or the least and the greatest number.
        span: length of time; these times lie in [0, span), uniformly at random.
        a: rate of the reaction 2 x + y -> 3 x, positive.
        b: rate of the reaction x -> y, positive.
        displacement: standard deviation of the initial values about the steady state.
        together: share of the times at which both are seen; at the others it is one of them, each as often.
        noise: standard deviation of what is added to each value.
        tolerance: of the solver, relative and absolute, in float64.
        seed: of all that is drawn; a series of a seed is the same however many are asked for.

    Raises:
        InputError: an argument out of range.

    Example:
        >>> (one,) = brusselator(1, points=5, displacement=0.0, together=1.0, b=1.2).series
        >>> one.values[-1].round(4).tolist()
        [1.0, 4.0]
    """
    if not (a > 0 and b > 0 and displacement >= 0):
        raise InputError(
            f"a={a!r}, b={b!r}, displacement={displacement!r} is out of range: a and b must be positive, the "
            "displacement not negative."
        )
    generators = streams(series, seed)
    start_ND = np.stack([(1.0, b / a) + displacement * g.standard_normal(2) for g in generators])
    times = [uniform_times(g, points, span) for g in generators]
    solved = solve_brusselator(start_ND, times, a=a, b=b, tolerance=tolerance)
    values = [observe(g, x, noise=noise, together=together) for g, x in zip(generators, solved, strict=True)]
    return to_table(list(UNITS), times, values)


def solve_brusselator(
    start_ND: np.ndarray, times: Sequence[np.ndarray], *, a: float, b: float, tolerance: float
) -> list[np.ndarray]:
    """Return the states (L, 2), in float64, of each series at its own times (L,).

    Args:
        start_ND: states at time 0, (N, 2).
        times: of each series, increasing from 0 or later.
        a, b: the equation's rates, see ``brusselator``.
        tolerance: of the solver, relative and absolute; each series takes steps of its own.
    """

    def field(t: Tensor, y: Tensor) -> Tensor:
        x = y[:, 0]
        formed = a * x**2 * y[:, 1]
        return torch.stack([1 - (b + 1) * x + formed, b * x - formed], dim=1)

    longest = max(len(t) for t in times)
    # A shorter series waits at its last time.
    padded = np.stack([np.pad(t, (1, longest - len(t)), constant_values=((0.0, t[-1]),)) for t in times])
    solution = solve_ode(
        field,
        torch.from_numpy(start_ND),
        torch.from_numpy(padded),
        method="dopri5",
        rtol=tolerance,
        atol=tolerance,
        stepping="per_sample",
    )
    return [states[1 : 1 + len(t)] for states, t in zip(solution.states.numpy(), times, strict=True)]
