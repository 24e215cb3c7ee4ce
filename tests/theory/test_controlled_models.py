"""Models of controlled equations dz = f(z) dX: recurrent networks and products of matrix exponentials."""

from itertools import combinations, pairwise

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers, order_of
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicHermiteSpline
from scipy.linalg import expm
from torch import Tensor, nn

from integrand.core.models import ControlledModel, LogNCDE, NeuralCDE, NeuralRDE, OnlineCDE

KIDGER = "Kidger, Morrill, Foster and Lyons (2020), Neural controlled differential equations for irregular time series"
MORRILL = "Morrill, Kidger, Yang and Lyons (2021), Neural controlled differential equations for online prediction tasks"


class LinearControl(nn.Module):
    """The field f(z) whose column i is A_i z."""

    def __init__(self, matrices: Array) -> None:
        super().__init__()
        self.matrices = nn.Buffer(torch.from_numpy(matrices))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("kij,bj->bik", self.matrices, z)


class TanhControl(nn.Module):
    """The field tanh(W z) reshaped to a matrix, as a recurrent network has it."""

    def __init__(self, weight: Array, channels: int) -> None:
        super().__init__()
        self.weight, self.channels = nn.Buffer(torch.from_numpy(weight)), channels

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(z @ self.weight.T).unflatten(-1, (-1, self.channels))


def series(length: int, channels: int) -> tuple[Array, Array]:
    """Values (L, C) and their times."""
    random = np.random.default_rng(0)
    return random.normal(size=(length, channels)), random.exponential(size=length).cumsum()


def with_time(values: Array, times: Array) -> Array:
    return np.concatenate([times[:, None], values], axis=1)


def upper(count: int, size: int) -> Array:
    """Strictly upper triangular matrices, of which any product of ``size`` vanishes."""
    return np.triu(np.random.default_rng(1).normal(size=(count, size, size)), 1)


def first_state(model: ControlledModel | LogNCDE, x: Array) -> Array:
    return numbers(model.initial.weight) @ x + numbers(model.initial.bias)


def final_state(model: ControlledModel, values: Array, times: Array) -> Tensor:
    return model(torch.from_numpy(values)[None], torch.from_numpy(times)).states[0, -1]


def along_lines(matrices: Array, z: Array, points: Array) -> Array:
    """The exact end of dz = sum_i A_i z dX^i along straight lines: a product of matrix exponentials."""
    for before, after in pairwise(points):
        z = expm(np.tensordot(after - before, matrices, 1)) @ z
    return z


@correspondence(
    architecture="recurrent network z_l = z_(l-1) + f(z_(l-1)) (X_l - X_(l-1))",
    explains=("NeuralCDE", "ControlledModel"),
    level="model",
    equation="dz = f(z) dX, X the straight lines through the data",
    discretisation="forward Euler, one step from element to element",
    follows="a recurrent network is a coarse solution of a controlled equation: elements may come at any times",
    source=KIDGER + ", Section 3",
    tolerance=1e-13,
)
def test_euler_steps_along_lines_are_a_recurrent_network() -> float:
    values, times = series(9, 2)
    weight = np.random.default_rng(1).normal(size=(12, 4))
    torch.manual_seed(0)
    model = NeuralCDE(2, 4, field=TanhControl(weight, 3), interpolation="linear", method="euler").double()
    found = model(torch.from_numpy(values)[None], torch.from_numpy(times), query_times=torch.from_numpy(times[1:]))
    points = with_time(values, times)
    z, states = first_state(model, points[0]), []
    for before, after in pairwise(points):
        z = z + np.tanh(weight @ z).reshape(4, 3) @ (after - before)
        states.append(z)
    return deviation(found.states[0], np.stack(states))


@correspondence(
    architecture="neural CDE along straight lines",
    explains=("NeuralCDE", "ControlledModel"),
    level="model",
    equation="dz = sum_i A_i z dX^i",
    discretisation="an adaptive method from knot to knot",
    follows="the order of events counts as matrices do not commute: the state is a summary of the path's signature",
    source=KIDGER
    + "; Chen (1957), Integration of paths, geometric invariants and a generalized Baker-Hausdorff formula",
    tolerance=1e-10,
)
def test_a_linear_cde_along_lines_is_a_product_of_matrix_exponentials() -> float:
    values, times = series(7, 2)
    matrices = 0.5 * np.random.default_rng(1).normal(size=(3, 4, 4))
    torch.manual_seed(0)
    options = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}
    model = NeuralCDE(2, 4, field=LinearControl(matrices), interpolation="linear", **options).double()
    points = with_time(values, times)
    return deviation(final_state(model, values, times), along_lines(matrices, first_state(model, points[0]), points))


@correspondence(
    architecture="neural CDE along a smooth path",
    explains=("NeuralCDE",),
    level="model",
    equation="dz/dt = f(z) dX/dt, X the Hermite cubic with backward differences for slopes",
    discretisation="an adaptive method",
    follows="along a path that has a derivative it is a neural ODE driven by it, and every ODE solver will do",
    source=KIDGER + ", Section 3; " + MORRILL,
    tolerance=1e-9,
)
def test_a_cde_along_a_smooth_path_is_a_driven_ode() -> float:
    values, times = series(5, 2)
    times = 0.3 * times
    weight = 0.5 * np.random.default_rng(1).normal(size=(12, 4))
    torch.manual_seed(0)
    options = {"method": "dopri8", "rtol": 1e-11, "atol": 1e-11}
    model = NeuralCDE(2, 4, field=TanhControl(weight, 3), **options).double()
    points = with_time(values, times)
    slopes = np.diff(points, axis=0) / np.diff(times)[:, None]
    path = CubicHermiteSpline(times, points, np.concatenate([slopes[:1], slopes])).derivative()

    def slope(t: float, z: Array) -> Array:
        return np.tanh(weight @ z).reshape(4, 3) @ path(t)

    z = first_state(model, points[0])
    for start, end in pairwise(times):  # the second derivative jumps at knots
        z = solve_ivp(slope, (start, end), z, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return deviation(final_state(model, values, times), z)


@correspondence(
    architecture="online neural CDE",
    explains=("OnlineCDE", "NeuralCDE"),
    level="model",
    equation="dz = A_0 z dt, then dz = sum_i A_i z dx^i with time at rest",
    discretisation="Runge-Kutta of order 4 on each side, exact for these matrices, whose fourth products vanish",
    follows="first time passes, then the values move: the state never looks ahead, and predicts as data come",
    source=MORRILL + ", on rectilinear control",
    tolerance=1e-12,
)
def test_an_online_cde_goes_round_the_corners_of_its_path() -> float:
    values, times = series(7, 2)
    matrices = upper(3, 4)
    torch.manual_seed(0)
    layer = OnlineCDE(2, d_state=4, field=LinearControl(matrices)).double()
    intervals = np.diff(times, prepend=0.0)
    z, before, states = numbers(layer.initial), np.zeros(2), []
    for interval, x in zip(intervals, values, strict=True):
        z = expm(interval * matrices[0]) @ z
        z = expm(np.tensordot(x - before, matrices[1:], 1)) @ z
        before = x
        states.append(numbers(layer.readout.weight) @ z + numbers(layer.readout.bias))
    return deviation(layer(torch.from_numpy(values)[None], torch.from_numpy(intervals)[None]).y[0], np.stack(states))


@correspondence(
    architecture="neural rough differential equation",
    explains=("NeuralRDE",),
    level="model",
    equation="dz/dt = (sum_i A_i DX^i + sum_(i<j) area_ij [A_j, A_i]) z / h in each window",
    discretisation="log-ODE method of depth 2 with the brackets given as columns of the field",
    follows="a window of any length is one step whose input are increments and areas, so long series become short ones",
    source="Morrill, Salvi, Kidger, Foster and Lyons (2021), Neural rough differential equations for long time series, "
    "Section 3",
    tolerance=1e-10,
)
def test_a_window_of_a_neural_rde_is_the_exponential_of_increments_and_areas() -> float:
    values, times = series(13, 2)
    matrices = 0.3 * np.random.default_rng(1).normal(size=(3, 4, 4))
    pairs = list(combinations(range(3), 2))
    columns = np.stack([*matrices, *(matrices[j] @ matrices[i] - matrices[i] @ matrices[j] for i, j in pairs)])
    torch.manual_seed(0)
    options = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}
    model = NeuralRDE(2, 4, depth=2, window=4, field=LinearControl(columns), **options).double()
    points = with_time(values, times)
    z = first_state(model, points[0])
    for first in range(0, 12, 4):
        window = points[first : first + 5] - points[first]
        middle, moves = (window[1:] + window[:-1]) / 2, np.diff(window, axis=0)
        areas = [(middle[:, i] * moves[:, j] - middle[:, j] * moves[:, i]).sum() / 2 for i, j in pairs]
        z = expm(np.tensordot(np.concatenate([window[-1], areas]), columns, 1)) @ z
    return deviation(final_state(model, values, times), z)


@correspondence(
    architecture="log neural CDE",
    explains=("LogNCDE",),
    level="model",
    equation="dz = sum_i A_i z dX^i with matrices whose fourth products vanish",
    discretisation="log-ODE method of depth 3, one window for the whole series",
    follows="brackets formed from the learned field, not learned anew, keep the equation the same for every window",
    source="Walker, McLeod, Qin, Cheng, Li and Lyons (2024), Log neural controlled differential equations: the Lie "
    "brackets make a difference, Section 3",
    tolerance=1e-11,
)
def test_a_log_ncde_is_exact_in_one_window_where_brackets_end() -> float:
    """The formula of Baker, Campbell and Hausdorff ends after three letters, and so does the window's logarithm."""
    values, times = series(9, 2)
    matrices = upper(3, 4)
    torch.manual_seed(0)
    model = LogNCDE(2, 4, depth=3, window=8, field=LinearControl(matrices)).double()
    points = with_time(values, times)
    return deviation(final_state(model, values, times), along_lines(matrices, first_state(model, points[0]), points))


@correspondence(
    architecture="log neural CDE along a smooth path",
    explains=("LogNCDE", "NeuralRDE"),
    level="model",
    equation="dz/dt = A(t) z, A(t) = sum_i A_i dX^i/dt",
    discretisation="Magnus integrator of order 2 at depth 1 and of order 4 at depth 2",
    follows="for smooth data depth 2 is worth twice the digits: windows may be as long as the path is smooth",
    source="Iserles, Munthe-Kaas, Norsett and Zanna (2000), Lie-group methods, on Magnus expansions",
    tolerance=0.1,
    error_of="largest distance of a measured order from 2 at depth 1 and 4 at depth 2",
)
def test_log_ncdes_along_smooth_paths_are_magnus_integrators() -> float:
    times = np.linspace(0, 2, 129)
    values = np.stack([np.cos(2 * times), np.sin(times + 0.3)], axis=1)
    matrices = 0.5 * np.random.default_rng(1).normal(size=(3, 4, 4))
    points, worst = with_time(values, times), 0.0
    for depth, order in ((1, 2), (2, 4)):
        errors = []
        for window in (16, 8):
            torch.manual_seed(0)
            options = {"method": "dopri8", "rtol": 1e-10, "atol": 1e-10}
            model = LogNCDE(2, 4, depth=depth, window=window, field=LinearControl(matrices), **options).double()
            exact = along_lines(matrices, first_state(model, points[0]), points)
            errors.append(deviation(final_state(model, values, times), exact))
        worst = max(worst, abs(order_of(errors) - order))
    return worst
