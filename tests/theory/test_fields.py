"""Fields: what their solutions are in closed form, and which networks discretise them."""

from typing import Any

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm
from scipy.special import expit
from torch import Tensor, nn

from integrand.core.fields import (
    MLP,
    CardiacCycle,
    FiLMMLP,
    GalerkinMLP,
    GraphDiffusion,
    HyperMLP,
    Linear,
    PeriodicForcing,
    Polynomial,
    Relaxation,
    TimeEmbedding,
    UniversalField,
)
from integrand.core.numerics import solve_ode

TIGHT: dict[str, Any] = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}


def starts(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


def affine(layer: Any, y: Array) -> Array:
    """W y + b in rows."""
    return y @ numbers(layer.weight).T + numbers(layer.bias)


@correspondence(
    architecture="linear layers",
    explains=("Linear",),
    level="field",
    equation="dy/dt = A y, y(t) = exp(A t) y_0",
    discretisation="order 4: sum_(k <= 4) (h A)^k / k!; implicit midpoint: (1 - h A / 2)^-1 (1 + h A / 2)",
    follows="a step is a function of h A: polynomials blow up for large eigenvalues, Cayley's transform does not",
    source="Hairer and Wanner (1996), Solving ordinary differential equations II, Section IV.3",
    tolerance=1e-11,
)
def test_steps_of_a_linear_field_are_approximations_of_the_matrix_exponential() -> float:
    torch.manual_seed(0)
    field, y, h = Linear(4, bias=False).double(), starts(3, 4), 0.3
    a = h * numbers(field.matrix)
    rows = {
        "dopri8": expm(a),
        "rk4": sum(np.linalg.matrix_power(a, k) / np.prod(np.arange(1, k + 1)) for k in range(5)),
        "implicit_midpoint": np.linalg.solve(np.eye(4) - a / 2, np.eye(4) + a / 2),
    }
    worst = 0.0
    for method, matrix in rows.items():
        options: dict[str, Any] = {"rtol": 1e-13, "atol": 1e-13} | ({} if method == "dopri8" else {"step_size": h})
        found = solve_ode(field, torch.from_numpy(y), [0.0, h], method=method, **options).states[:, -1]
        worst = max(worst, deviation(found, y @ np.asarray(matrix).T))
    return worst


EDGES = np.array([[0, 1, 1, 2, 2, 3, 3, 0, 0, 2], [1, 0, 2, 1, 3, 2, 0, 3, 2, 0]])


def attention(field: GraphDiffusion, x: Array) -> Array:
    """The mean of the heads' softmax over the edges into each node, (N, N)."""
    queries, keys = (
        (x @ numbers(each.weight).T).reshape(len(x), field.heads, field.width).transpose(1, 0, 2)
        for each in (field.query, field.key)
    )
    scores = queries @ keys.transpose(0, 2, 1) / np.sqrt(field.width)
    joined = np.zeros((len(x), len(x)))
    joined[EDGES[1], EDGES[0]] = 1
    raised = np.exp(scores) * joined
    return (raised / raised.sum(2, keepdims=True)).mean(0)


@correspondence(
    architecture="graph attention network without activations",
    explains=("GraphDiffusion",),
    level="field",
    equation="dx/dt = (A(x) - I) x",
    discretisation="forward Euler, unit steps: x <- A(x) x",
    follows="attention layers on a graph diffuse: oversmoothing is heat in equilibrium, and shorter steps put it off",
    source="Chamberlain, Rowbottom, Gorinova, Webb, Rossi and Bronstein (2021), GRAND: graph neural diffusion",
    tolerance=1e-13,
)
def test_unit_euler_steps_of_graph_diffusion_are_attention_layers() -> float:
    torch.manual_seed(0)
    field, x = GraphDiffusion(3, torch.from_numpy(EDGES), heads=2, width=4).double(), starts(4, 3)
    found = solve_ode(field, torch.from_numpy(x)[None], [0.0, 3.0], method="euler", step_size=1.0).states[0, -1]
    for _ in range(3):
        x = attention(field, x) @ x
    return deviation(found, x)


@correspondence(
    architecture="linear graph diffusion",
    explains=("GraphDiffusion",),
    level="field",
    equation="dx/dt = (A - I) x, x(t) = exp(t (A - I)) x_0",
    discretisation="exact",
    follows="with attention fixed depth is a heat kernel of the graph, so any depth can be had from one exponential",
    source="Chamberlain, Rowbottom, Gorinova, Webb, Rossi and Bronstein (2021), GRAND: graph neural diffusion",
    tolerance=1e-10,
)
def test_linear_graph_diffusion_is_the_heat_kernel_of_its_attention() -> float:
    torch.manual_seed(0)
    field, x = GraphDiffusion(3, torch.from_numpy(EDGES), heads=2, width=4, linear=True).double(), starts(4, 3)
    at = torch.from_numpy(x)[None]
    found = solve_ode(field, at, [0.0, 2.0], args=field.context(at), **TIGHT).states[0, -1]
    return deviation(found, expm(2.0 * (attention(field, x) - np.eye(4))) @ x)


class Cell(nn.Module):
    """tanh(W z + b), of norm below 1."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.linear(z))


@correspondence(
    architecture="leaky recurrent network, and the iteration of a deep equilibrium model",
    explains=("Relaxation",),
    level="field",
    equation="tau dz/dt = g(z) - z",
    discretisation="forward Euler with steps a tau: z <- (1 - a) z + a g(z); with a = 1 the iteration itself",
    follows="damping an iteration is shortening a step of one ODE, whose rest is the same for every step",
    source="Bai, Kolter and Koltun (2019), Deep equilibrium models, Section 3",
    tolerance=1e-13,
)
def test_euler_steps_of_a_relaxation_are_a_damped_iteration() -> float:
    torch.manual_seed(0)
    cell, tau, worst = Cell().double(), 0.4, 0.0
    for share in (1.0, 0.3):
        z, step = starts(4, 3), share * tau
        field = Relaxation(cell, time_constant=tau)
        found = solve_ode(field, torch.from_numpy(z), [0.0, 6 * step], method="euler", step_size=step).states[:, -1]
        for _ in range(6):
            z = (1 - share) * z + share * np.tanh(affine(cell.linear, z))
        worst = max(worst, deviation(found, z))
    return worst


@correspondence(
    architecture="residual network whose weights vary smoothly with depth",
    explains=("GalerkinMLP",),
    level="field",
    equation="dy/dt = W_2(t) tanh(W_1(t) y + b_1(t)) + b_2(t), weights Chebyshev series of t",
    discretisation="forward Euler, one block a step",
    follows="blocks need not have weights of their own: a few coefficients of depth do, and depth can be changed later",
    source="Massaroli, Poli, Park, Yamashita and Asama (2020), Dissecting neural ODEs, on Galerkin neural ODEs",
    tolerance=1e-13,
)
def test_euler_steps_of_a_galerkin_field_are_a_residual_network_of_smooth_weights() -> float:
    torch.manual_seed(0)
    field, y = GalerkinMLP(3, (5,), terms=4, basis="chebyshev", span=(0.0, 2.0)).double(), starts(4, 3)
    found = solve_ode(field, torch.from_numpy(y), [0.0, 2.0], method="euler", step_size=0.25).states[:, -1]
    series = [[numbers(each) for each in layer.parameters()] for layer in field.layers]
    for block in range(8):
        (first, shift), (last, offset) = (
            [np.polynomial.chebyshev.chebval(block * 0.25 - 1, each) for each in pair] for pair in series
        )
        y = y + 0.25 * (np.tanh(y @ first.T + shift) @ last.T + offset)
    return deviation(found, y)


def waves(t: float, count: int) -> Array:
    """Cosines and sines of t at scales from 1 to 0.1 in equal ratios."""
    angles = t * np.geomspace(1.0, 10.0, count)
    return np.concatenate([np.cos(angles), np.sin(angles)])


@correspondence(
    architecture="residual network whose blocks share their matrices and have gains and thresholds of their own",
    explains=("FiLMMLP", "TimeEmbedding"),
    level="field",
    equation="dy/dt = V tanh((1 + a(t)) (W y + w) + b(t)) + v",
    discretisation="forward Euler, one block a step",
    follows="a network told its time or noise by gains and thresholds is one equation: other steps need no new weights",
    source="Perez, Strub, de Vries, Dumoulin and Courville (2018), FiLM: visual reasoning with a general conditioning "
    "layer, Eq. 2",
    tolerance=1e-12,
)
def test_euler_steps_of_a_modulated_field_are_blocks_with_gains_of_their_own() -> float:
    torch.manual_seed(0)
    field, y = FiLMMLP(3, (5,), time=TimeEmbedding(8, shortest=0.1)).double(), starts(4, 3)
    found = solve_ode(field, torch.from_numpy(y), [0.0, 2.0], method="euler", step_size=0.25).states[:, -1]
    for block in range(8):
        inner = affine(field.film.enter, waves(0.25 * block, 4))
        gain, threshold = np.split(numbers(field.film.leave.weight) @ (inner * expit(inner)), 2)
        y = y + 0.25 * affine(field.leave, np.tanh((1 + gain) * affine(field.layers[0], y) + threshold))
    return deviation(found, y)


@correspondence(
    architecture="residual network whose weights are made by a hypernetwork of depth",
    explains=("HyperMLP", "TimeEmbedding"),
    level="field",
    equation="dy/dt = W_2(t) tanh(W_1(t) y + b_1(t)) + b_2(t), weights linear in tanh(V e(t) + c)",
    discretisation="forward Euler, one block a step",
    follows="a basis of depth can be learned with the weights, and read off afterwards at any depth",
    source="Ha, Dai and Le (2017), HyperNetworks, Section 3.1",
    tolerance=1e-12,
)
def test_euler_steps_of_a_hypernetwork_field_are_blocks_with_weights_of_their_own() -> float:
    torch.manual_seed(0)
    field, y = HyperMLP(3, (5,), rank=2, time=TimeEmbedding(8, shortest=0.1)).double(), starts(4, 3)
    found = solve_ode(field, torch.from_numpy(y), [0.0, 2.0], method="euler", step_size=0.25).states[:, -1]
    series = [[numbers(each) for each in layer.parameters()] for layer in field.layers]
    for block in range(8):
        shares = np.append(1.0, np.tanh(affine(field.enter, waves(0.25 * block, 4))))
        (first, shift), (last, offset) = ([np.tensordot(shares, each, 1) for each in pair] for pair in series)
        y = y + 0.25 * (np.tanh(y @ first.T + shift) @ last.T + offset)
    return deviation(found, y)


@correspondence(
    architecture="simulator of heart beats",
    explains=("CardiacCycle",),
    level="field",
    equation="r' = (1 - r) r, theta' = omega, z' = z_0 - z - sum_i a_i d_i exp(-d_i^2 / (2 b_i^2))",
    discretisation="exact",
    follows="rhythm and shape come apart: a limit cycle keeps time, and a linear equation draws the waves it passes",
    source="McSharry, Clifford, Tarassenko and Smith (2003), A dynamical model for generating synthetic "
    "electrocardiogram signals, Eq. 1",
    tolerance=1e-9,
)
def test_the_cardiac_cycle_is_a_logistic_radius_an_even_angle_and_a_filtered_wave() -> float:
    angles, widths, strengths = np.array([-1.0, 0.1, 1.5]), np.array([0.4, 0.3, 0.5]), np.array([1.2, 5.0, 0.8])
    omega, base, end, radius, voltage = 4.0, 0.2, 1.0, 0.4, -0.3
    given = (torch.from_numpy(each)[None, :, None] for each in (angles, widths, strengths))
    args = (*given, torch.tensor([omega], dtype=torch.float64), torch.tensor([[base]], dtype=torch.float64))
    start = torch.tensor([[radius, 0.0, voltage]], dtype=torch.float64)
    found = solve_ode(CardiacCycle(), start, [0.0, end], args=args, **TIGHT).states[0, -1]

    def push(t: float) -> float:
        off = np.mod(omega * t - angles + np.pi, 2 * np.pi) - np.pi
        return float((strengths * off * np.exp(-(off**2) / (2 * widths**2))).sum())

    filtered = quad(
        lambda s: np.exp(s - end) * push(s), 0, end, epsabs=1e-13, epsrel=1e-13, points=[(np.pi - 1) / omega]
    )
    r = 1 / (1 + (1 / radius - 1) * np.exp(-end))
    z = base + (voltage - base) * np.exp(-end) - filtered[0]
    return deviation(found, np.array([r * np.cos(omega * end), r * np.sin(omega * end), z]))


@correspondence(
    architecture="network with seasonal inputs",
    explains=("PeriodicForcing", "MLP"),
    level="field",
    equation="dy/dt = f(y, cos theta, sin theta), dtheta/dt = omega",
    discretisation="exact",
    follows="features of the calendar are a phase that moves by itself, so forecasts need no future inputs",
    source="Strogatz (2015), Nonlinear dynamics and chaos, Section 1.2",
    tolerance=1e-9,
)
def test_a_field_driven_by_seasons_is_autonomous_with_their_phase() -> float:
    torch.manual_seed(0)
    inner = MLP(2, (6,), control=2).double()
    field, period, phase = PeriodicForcing(inner, [3.0]).double(), 3.0, 0.8
    with torch.no_grad():
        field.frequency.fill_(2 * torch.pi / period)  # in double precision
    y, args = starts(1, 2), torch.full((1, 1), phase, dtype=torch.float64)
    found = solve_ode(field, torch.from_numpy(y), [0.0, 4.0], args=args, **TIGHT)

    def slope(t: float, state: Array) -> Array:
        seen = np.concatenate([state[:2], [np.cos(state[2]), np.sin(state[2])]])
        return np.append(affine(inner.layers[2], np.tanh(affine(inner.layers[0], seen))), 2 * np.pi / period)

    exact = solve_ivp(slope, (0, 4), np.append(y[0], phase), "DOP853", rtol=1e-12, atol=1e-13).y[:2, -1]
    return deviation(found.states[0, -1], exact)


def predator_prey(t: float, y: Array) -> Array:
    return np.array([y[0] - 0.5 * y[0] * y[1], -0.8 * y[1] + 0.3 * y[0] * y[1]])


@correspondence(
    architecture="library of sparse regression, and a grey-box network without remainder",
    explains=("Polynomial", "UniversalField"),
    level="field",
    equation="x' = x - 0.5 x y, y' = -0.8 y + 0.3 x y",
    discretisation="an adaptive method",
    follows="coefficients of a polynomial, and constants of a known part, are the equation's own and can be read",
    source="Brunton, Proctor and Kutz (2016), Discovering governing equations from data by sparse identification of "
    "nonlinear dynamical systems, Eq. 3; Lotka (1925), Elements of physical biology",
    tolerance=1e-9,
)
def test_fields_with_named_terms_solve_the_equations_they_name() -> float:
    library = Polynomial(2).double()
    named = {(0, "y1"): 1.0, (0, "y1 y2"): -0.5, (1, "y2"): -0.8, (1, "y1 y2"): 0.3}
    with torch.no_grad():
        for place, each in enumerate(library.coefficients):
            row, term = divmod(place, len(library.terms))
            each.fill_(named.get((row, library.terms[term]), 0.0))

    def known(t: Tensor, y: Tensor, c: Any) -> Tensor:
        met = y[:, 0] * y[:, 1]
        return torch.stack([y[:, 0] - c["loss"] * met, -0.8 * y[:, 1] + c["gain"] * met], dim=1)

    grey = UniversalField(2, known, {"loss": 0.5, "gain": 0.3}).double()
    with torch.no_grad():
        grey.raw["loss"].fill_(0.5)
        grey.raw["gain"].fill_(0.3)
        for each in grey.network.parameters():
            each.zero_()
    y0 = np.array([2.0, 1.0])
    exact = solve_ivp(predator_prey, (0, 3), y0, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    found = (solve_ode(field, torch.from_numpy(y0)[None], [0.0, 3.0], **TIGHT) for field in (library, grey))
    return max(deviation(each.states[0, -1], exact) for each in found)
