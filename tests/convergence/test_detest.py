"""Errors follow tolerances: the problems of DETEST and three stiff ones, against scipy in float64.

A step that the control accepts errs by no more than tol (floor + |y|) in the root mean square of its D components, with
floor = atol / rtol. What becomes of it by the end T is told by the variational equation: a small error e made at t is
W(t) e at T, where

    dW/dt = -W df/dy,    W(T) = I.

So the error of component i at the end is at most

    steps * tol * sqrt(D) * a_i,    a_i = max over t of |e_i^T W(t) diag(floor + |y(t)|)|,

to first order in tol. Reference y, Jacobian df/dy (by complex steps, exact to rounding) and W are numpy's and scipy's,
from a second writing of each right-hand side.

Sources: Hull, Enright, Fellen and Sedgwick (1972), Comparing numerical methods for ordinary differential equations,
for classes A to E; Hairer and Wanner (1996), Solving ODEs II, sections IV.10 and IV.1, for the stiff ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from integrand.core.numerics import solve_ode

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """An initial value problem from t = 0, written twice.

    Attributes:
        field: f(t, y) for torch, t a scalar or (B,), y (B, D).
        rhs: f(t, y) for numpy, y (D,).
        start: y(0).
        end: T.
        floor: atol / rtol, the size below which a component is as good as zero.
        stiff: whether it takes an implicit method.
    """

    field: Callable[[Tensor, Tensor], Tensor]
    rhs: Callable[[float, Any], Any]
    start: tuple[float, ...]
    end: float = 20.0
    floor: float = 1.0
    stiff: bool = False


def columns(*values: Tensor) -> Tensor:
    """Put components side by side."""
    return torch.stack(torch.broadcast_tensors(*values), dim=-1)


def row(t: Tensor) -> Tensor:
    """Return t so that it broadcasts with (B, D)."""
    return t if t.dim() == 0 else t.unsqueeze(-1)


def predators(t: Tensor, y: Tensor) -> Tensor:
    prey, hunters = y.unbind(-1)
    return columns(2 * (prey - prey * hunters), -(hunters - prey * hunters))


def chain(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return columns(b - a, a - 2 * b + c, b - c)


def torus(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    r = torch.sqrt(a**2 + b**2)
    return columns(-b - a * c / r, a - b * c / r, a / r)


def torus_rhs(t: float, y: Any) -> Any:
    r = np.sqrt(y[0] ** 2 + y[1] ** 2)
    return np.array([-y[1] - y[0] * y[2] / r, y[0] - y[1] * y[2] / r, y[0] / r])


def rigid_body(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return columns(b * c, -a * c, -0.51 * a * b)


def decays(t: Tensor, y: Tensor) -> Tensor:
    """Nine nuclides, each the daughter of the one before, and what is left in the end."""
    return torch.cat([-y[..., :1], y[..., :8] - y[..., 1:9], y[..., 8:9]], dim=-1)


def decays_rhs(t: float, y: Any) -> Any:
    return np.array([-y[0], *(y[i - 1] - y[i] for i in range(1, 9)), y[8]])


def orbit(t: Tensor, y: Tensor) -> Tensor:
    place, velocity = y[..., :2], y[..., 2:]
    return torch.cat([velocity, -place / place.square().sum(-1, keepdim=True) ** 1.5], dim=-1)


def orbit_rhs(t: float, y: Any) -> Any:
    cube = (y[0] ** 2 + y[1] ** 2) ** 1.5
    return np.array([y[2], y[3], -y[0] / cube, -y[1] / cube])


def perihelion(eccentricity: float) -> tuple[float, ...]:
    return (1 - eccentricity, 0.0, 0.0, ((1 + eccentricity) / (1 - eccentricity)) ** 0.5)


def bessel(t: Tensor, y: Tensor) -> Tensor:
    u, v = y.unbind(-1)
    return columns(v, -(v / (t + 1) + (1 - 0.25 / (t + 1) ** 2) * u))


def oscillator(stiffness: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Van der Pol's."""

    def field(t: Tensor, y: Tensor) -> Tensor:
        u, v = y.unbind(-1)
        return columns(v, stiffness * (1 - u**2) * v - u)

    return field


def oscillator_rhs(stiffness: float) -> Callable[[float, Any], Any]:
    return lambda t, y: np.array([y[1], stiffness * (1 - y[0] ** 2) * y[1] - y[0]])


def duffing(t: Tensor, y: Tensor) -> Tensor:
    u, v = y.unbind(-1)
    return columns(v, u**3 / 6 - u + 2 * torch.sin(2.78535 * t))


def falling(t: Tensor, y: Tensor) -> Tensor:
    return columns(y[..., 1], 0.032 - 0.4 * y[..., 1] ** 2)


def pursuit(t: Tensor, y: Tensor) -> Tensor:
    return columns(y[..., 1], torch.sqrt(1 + y[..., 1] ** 2) / (25 - t))


def robertson(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    gone = 0.04 * a - 1e4 * b * c
    return columns(-gone, gone - 3e7 * b**2, 3e7 * b**2)


def robertson_rhs(t: float, y: Any) -> Any:
    first, second, third = 0.04 * y[0], 3e7 * y[1] * y[1], 1e4 * y[1] * y[2]
    return np.array([third - first, first - third - second, second])


def hires(t: Tensor, y: Tensor) -> Tensor:
    a, b, c, d, e, f, g, h = y.unbind(-1)
    complexed = 280 * f * h - 1.81 * g
    return columns(
        -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
        1.71 * a - 8.75 * b,
        -10.03 * c + 0.43 * d + 0.035 * e,
        8.32 * b + 1.71 * c - 1.12 * d,
        -1.745 * e + 0.43 * f + 0.43 * g,
        -280 * f * h + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
        complexed,
        -complexed,
    )


def hires_rhs(t: float, y: Any) -> Any:
    linear = np.zeros((8, 8))
    linear[0, :3] = -1.71, 0.43, 8.32
    linear[1, :2] = 1.71, -8.75
    linear[2, 2:5] = -10.03, 0.43, 0.035
    linear[3, 1:4] = 8.32, 1.71, -1.12
    linear[4, 4:7] = -1.745, 0.43, 0.43
    linear[5, 3:7] = 0.69, 1.71, -0.43, 0.69
    linear[6:, 6] = -1.81, 1.81
    pairing = 280 * y[5] * y[7]
    return linear @ y + np.array([0.0007, 0, 0, 0, 0, -pairing, pairing, -pairing])


PROBLEMS = {
    "A1": Problem(lambda t, y: -y, lambda t, y: -y, (1.0,)),
    "A2": Problem(lambda t, y: -(y**3) / 2, lambda t, y: -(y**3) / 2, (1.0,)),
    "A3": Problem(lambda t, y: y * torch.cos(row(t)), lambda t, y: y * np.cos(t), (1.0,)),
    "A4": Problem(lambda t, y: y / 4 * (1 - y / 20), lambda t, y: y / 4 - y**2 / 80, (1.0,)),
    "A5": Problem(lambda t, y: (y - row(t)) / (y + row(t)), lambda t, y: (y - t) / (y + t), (4.0,)),
    "B1": Problem(predators, lambda t, y: np.array([2 * y[0] * (1 - y[1]), y[1] * (y[0] - 1)]), (1.0, 3.0)),
    "B2": Problem(chain, lambda t, y: np.array([[-1, 1, 0], [1, -2, 1], [0, 1, -1]]) @ y, (2.0, 0.0, 1.0)),
    "B4": Problem(torus, torus_rhs, (3.0, 0.0, 0.0)),
    "B5": Problem(rigid_body, lambda t, y: np.array([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]]), (0.0, 1.0, 1.0)),
    "C1": Problem(decays, decays_rhs, (1.0, *[0.0] * 9)),
    **{f"D{i + 1}": Problem(orbit, orbit_rhs, perihelion(0.1 + 0.2 * i)) for i in range(5)},
    "E1": Problem(
        bessel,
        lambda t, y: np.array([y[1], -y[1] / (t + 1) - (1 - 1 / (2 * (t + 1)) ** 2) * y[0]]),
        (0.6713967071418030, 0.09540051444747446),
    ),
    "E2": Problem(oscillator(1.0), oscillator_rhs(1.0), (2.0, 0.0)),
    "E3": Problem(duffing, lambda t, y: np.array([y[1], y[0] ** 3 / 6 - y[0] + 2 * np.sin(2.78535 * t)]), (0.0, 0.0)),
    "E4": Problem(falling, lambda t, y: np.array([y[1], 0.032 - 0.4 * y[1] ** 2]), (30.0, 0.0)),
    "E5": Problem(pursuit, lambda t, y: np.array([y[1], np.sqrt(1 + y[1] ** 2) / (25 - t)]), (0.0, 0.0)),
    "robertson": Problem(robertson, robertson_rhs, (1.0, 0.0, 0.0), end=40.0, floor=1e-8, stiff=True),
    # Up to its first jump; whole periods come further down.
    "van_der_pol": Problem(oscillator(1e3), oscillator_rhs(1e3), (2.0, 0.0), end=500.0, floor=1e-2, stiff=True),
    "hires": Problem(hires, hires_rhs, (1.0, *[0.0] * 6, 0.0057), end=321.8122, floor=1e-3, stiff=True),
}


class Reference(NamedTuple):
    """What scipy knows of a problem.

    Attributes:
        last: y(T), (D,).
        sensitivity: a_i of the module's docstring, (D,).
    """

    last: Array
    sensitivity: Array


def jacobian(problem: Problem, t: float, y: Array) -> Array:
    """Return df/dy by complex steps (Squire and Trapp, 1998), exact to rounding."""
    return np.stack([problem.rhs(t, y + 1e-40j * unit).imag / 1e-40 for unit in np.eye(len(y))], axis=-1)


@cache
def reference(name: str) -> Reference:
    """Solve a problem with DOP853, or Radau where it is stiff, and its variational equation back from the end."""
    problem = PROBLEMS[name]
    dim = len(problem.start)
    options: dict[str, Any] = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-14 * problem.floor}
    if problem.stiff:
        options |= {"method": "Radau", "rtol": 1e-12, "jac": lambda t, y: jacobian(problem, t, y)}
    solved = solve_ivp(problem.rhs, (0, problem.end), problem.start, dense_output=True, **options)
    assert solved.success

    def back(t: float, w: Array) -> Array:
        return -(w.reshape(dim, dim) @ jacobian(problem, t, solved.sol(t))).ravel()

    options |= {"rtol": 1e-4, "atol": 1e-7}  # a bound needs no more digits
    if problem.stiff:
        options["jac"] = lambda t, w: -np.kron(np.eye(dim), jacobian(problem, t, solved.sol(t)).T)
    turned = solve_ivp(back, (problem.end, 0), np.eye(dim).ravel(), dense_output=True, **options)
    assert turned.success
    scale = problem.floor + np.abs(solved.y)
    reach = np.linalg.norm(turned.sol(solved.t).reshape(dim, dim, -1) * scale, axis=1)
    return Reference(solved.y[:, -1], reach.max(axis=-1))


def check_bounds(names: list[str], method: str, tolerances: tuple[float, ...], **options: Any) -> list[float]:
    """Solve problems that share a field at falling tolerances, and hold every error below its bound.

    Returns:
        Of each problem the power of the tolerance with which its error fell from the first to the last.
    """
    problem = PROBLEMS[names[0]]
    y0 = torch.tensor([PROBLEMS[name].start for name in names], dtype=torch.float64)
    known = [reference(name) for name in names]
    last = np.stack([one.last for one in known])
    reach = np.sqrt(y0.shape[1]) * np.stack([one.sensitivity for one in known])
    relative = []
    for tolerance in tolerances:
        options |= {"rtol": tolerance, "atol": tolerance * problem.floor}
        solved = solve_ode(problem.field, y0, [0.0, problem.end], method=method, **options)
        error = np.abs(solved.states[:, -1].numpy() - last)
        assert (error < solved.stats.accepted.numpy()[:, None] * tolerance * reach).all(), (names, tolerance)
        relative.append((error / (problem.floor + np.abs(last))).max(axis=1))
    return list(np.log(relative[0] / relative[-1]) / np.log(tolerances[0] / tolerances[-1]))


ORBITS = ["D1", "D2", "D3", "D4", "D5"]
TOLERANCES = {
    "bosh3": (1e-4, 1e-5, 1e-6),
    "dopri5": (1e-4, 1e-6, 1e-8),
    "tsit5": (1e-4, 1e-6, 1e-8),
    "dopri8": (1e-6, 1e-8, 1e-10),
}
"""At which a method takes more than a few steps, and errs by more than the reference does."""


@pytest.mark.parametrize("method", TOLERANCES)
def test_errors_of_explicit_methods_follow_the_tolerance(method: str):
    """Every error is below its bound, the orbits' with steps of their own; and errors fall as the tolerance does.

    The methods go on with the result of higher order, p, and choose h by an estimate that falls as h^p: so the errors
    fall as the first power of the tolerance. Single solves scatter about it, for errors of either sign cancel here and
    there; the median of twenty is held to 0.1, as orders are.
    """
    powers = check_bounds(ORBITS, method, TOLERANCES[method], stepping="per_sample")
    for name, problem in PROBLEMS.items():
        if not (problem.stiff or name in ORBITS):
            powers += check_bounds([name], method, TOLERANCES[method])
    assert np.median(powers) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("method", "tolerances", "order"), [("kvaerno3", (1e-3, 1e-4, 1e-5), 2), ("kencarp4", (1e-5, 1e-6, 1e-7), 3)]
)
@pytest.mark.parametrize("name", [name for name, problem in PROBLEMS.items() if problem.stiff])
def test_errors_of_implicit_methods_follow_the_tolerance(name: str, method: str, tolerances: Any, order: int):
    """Every error is below its bound; and errors fall at least as fast as the order that stiffness leaves allows.

    An estimate of the given order q makes h fall as tol^(1 / (q + 1)) or faster, and however stiff the problem, errors
    fall at least as h^2, two being the order of the stages (Hairer and Wanner, 1996, section IV.15).
    """
    (power,) = check_bounds([name], method, tolerances)
    assert power > 2 / (order + 1)


@pytest.mark.parametrize("name", ["robertson", "van_der_pol"])
def test_stiff_problems_are_solved_to_six_digits_in_under_two_thousand_steps(name: str):
    """Robertson's kinetics over eleven decades, Van der Pol's oscillator over more than a period, with two jumps.

    Errors are relative to each component, the smallest of which is 8e-14; atol = 1e-16 and 1e-10.
    """
    problem, end = PROBLEMS[name], {"robertson": 1e11, "van_der_pol": 2000.0}[name]
    exact = solve_ivp(problem.rhs, (0, end), problem.start, method="Radau", rtol=1e-12, atol=1e-16 * problem.floor)
    y0 = torch.tensor([problem.start], dtype=torch.float64)
    solved = solve_ode(problem.field, y0, [0.0, end], method="kencarp4", rtol=1e-8, atol=1e-8 * problem.floor)
    assert int(solved.stats.accepted + solved.stats.rejected) < 2000
    np.testing.assert_allclose(solved.states[0, -1].numpy(), exact.y[:, -1], rtol=1e-6, atol=0)


def kepler(eccentricity: float, t: float) -> Array:
    """Solve Kepler's equation u - e sin u = t by Newton's method, and return place and velocity."""
    e, u = eccentricity, t
    for _ in range(50):
        u -= (u - e * np.sin(u) - t) / (1 - e * np.cos(u))
    rate, minor = 1 / (1 - e * np.cos(u)), np.sqrt(1 - e**2)
    return np.array([np.cos(u) - e, minor * np.sin(u), -rate * np.sin(u), rate * minor * np.cos(u)])


def test_references_agree_with_closed_forms():
    """The reference errs by far less than any solve here, and its amplification is that of the exact flow."""
    end = 20.0
    closed = {
        "A1": [np.exp(-end)],
        "A2": [(1 + end) ** -0.5],
        "A3": [np.exp(np.sin(end))],
        "A4": [20 / (1 + 19 * np.exp(-end / 4))],
        **{name: kepler(0.1 + 0.2 * i, end) for i, name in enumerate(ORBITS)},
    }
    for name, exact in closed.items():
        # In units of the reference's own tolerance 1e-13, grown by a_i in each of its some hundred steps.
        known = reference(name)
        assert (np.abs(known.last - exact) < 100 * 1e-13 * known.sensitivity).all(), name
    # dy/dy(t) = exp(sin T - sin t) for y' = y cos t, times 1 + exp(sin t): largest where sin t = -1.
    grown = np.exp(np.sin(end)) * (1 + np.e)
    assert reference("A3").sensitivity == pytest.approx(grown, rel=0.01)
