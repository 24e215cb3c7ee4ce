"""Models of hidden states: latent equations, and recurrent networks that flow between elements."""

from typing import Any

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers, order_of
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm
from scipy.special import expit
from torch import Tensor, nn

from integrand.core.fields import MLP, GRUField, Linear
from integrand.core.layers import S5
from integrand.core.models import ODERNN, GRUODEBayes, LatentODE, NeuralODE

TIGHT: dict[str, Any] = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}


def affine(layer: Any, y: Array) -> Array:
    """W y + b in rows."""
    return y @ numbers(layer.weight).T + numbers(layer.bias)


def homogeneous(layer: Any) -> Array:
    """[[A, b], [0, 0]], whose exponential solves y' = A y + b for (y, 1)."""
    a, b = numbers(layer.weight), numbers(layer.bias)
    return np.block([[a, b[:, None]], [np.zeros((1, len(b) + 1))]])


def starts(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


@correspondence(
    architecture="variational autoencoder with a latent ODE",
    explains=("LatentODE",),
    level="model",
    equation="dm/dt = A m + b, dP/dt = A P + P A^T",
    discretisation="an adaptive method for each path",
    follows="only the start is random: what is uncertain later is the posterior of the start carried along by the flow",
    source="Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time "
    "series, Section 3.2",
    tolerance=1e-10,
)
def test_a_latent_ode_carries_the_covariance_of_its_start() -> float:
    """Paths for the mean and for each direction of the noise are those of a linear field, their squares the covariance.

    The moments' equation is solved by scipy.
    """
    torch.manual_seed(0)
    model = LatentODE(2, 3, S5(4, d_state=4), NeuralODE(Linear(3), **TIGHT)).double()
    mask = torch.ones(1, 5, dtype=torch.bool)
    noise = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    out = model(torch.from_numpy(starts(1, 5, 2)), torch.rand(1, 5).double(), mask, [0.0, 1.3], noise=noise[None])
    mean, *rest = numbers(out.solution.states[:, -1])
    parts = np.stack(rest) - mean
    field = model.flow.field
    assert isinstance(field, Linear)
    a, b = np.split(homogeneous(field.map[0])[:3], [3], axis=1)

    def slope(t: float, state: Array) -> Array:
        m, p = state[:3], state[3:].reshape(3, 3)
        return np.concatenate([a @ m + b[:, 0], (a @ p + p @ a.T).ravel()])

    start = np.concatenate([numbers(out.mean[0]), np.diag(numbers(out.std[0]) ** 2).ravel()])
    exact = solve_ivp(slope, (0, 1.3), start, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    return deviation(np.concatenate([mean, (parts.T @ parts).ravel()]), exact)


@correspondence(
    architecture="prior term of a variational autoencoder",
    explains=("LatentODE",),
    level="model",
    equation="KL(q || p) = int q log(q / p) dz",
    discretisation="exact",
    follows="one number at the start counts for the whole path: a flow neither adds nor loses information",
    source="Kingma and Welling (2014), Auto-encoding variational Bayes, Appendix B",
    tolerance=1e-10,
)
def test_the_divergence_of_a_latent_start_is_the_integral_that_defines_it() -> float:
    torch.manual_seed(0)
    model = LatentODE(2, 3, S5(4, d_state=4), NeuralODE(Linear(3), **TIGHT)).double()
    mask = torch.ones(1, 5, dtype=torch.bool)
    out = model(torch.from_numpy(starts(1, 5, 2)), torch.rand(1, 5).double(), mask, [0.0, 1.0])
    total = 0.0
    for m, s in zip(numbers(out.mean[0]), numbers(out.std[0]), strict=True):

        def part(z: float, m: float = m, s: float = s) -> float:
            log_q, log_p = -(((z - m) / s) ** 2) / 2 - np.log(s), -(z**2) / 2
            return np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q - log_p)

        total += quad(part, m - 12 * s, m + 12 * s, epsabs=1e-13, epsrel=1e-13)[0]
    return deviation(out.kl, np.array([total]))


def gru(cell: nn.GRUCell, x: Array, h: Array) -> Array:
    """A gated recurrent unit written out, as an Euler step of length 1 of h' = (1 - z) (n - h)."""
    from_x = np.split(x @ numbers(cell.weight_ih).T + numbers(cell.bias_ih), 3, axis=1)
    from_h = np.split(h @ numbers(cell.weight_hh).T + numbers(cell.bias_hh), 3, axis=1)
    reset, keep = expit(from_x[0] + from_h[0]), expit(from_x[1] + from_h[1])
    return h + (1 - keep) * (np.tanh(from_x[2] + reset * from_h[2]) - h)


@correspondence(
    architecture="ODE-RNN",
    explains=("ODERNN",),
    level="model",
    equation="h' = A h + b between elements; at each, h jumps by h' = (1 - z) (n - h) over unit time",
    discretisation="an adaptive method between, one step of forward Euler at elements",
    follows="gaps of any length are time that passes, and what an element does is a short, damped motion of its own",
    source="Rubanova, Chen and Duvenaud (2019), Latent ordinary differential equations for irregularly-sampled time "
    "series, Algorithm 1",
    tolerance=1e-10,
)
def test_an_ode_rnn_is_matrix_exponentials_and_damped_euler_steps() -> float:
    torch.manual_seed(0)
    layer = ODERNN(2, d_state=3, hidden=(), method="dopri8").double()
    layer.flow.rtol = layer.flow.atol = 1e-12
    x, dt = starts(2, 6, 2), np.random.default_rng(1).exponential(size=(2, 6))
    field = layer.flow.field
    assert isinstance(field, MLP)
    generator = homogeneous(field.layers[0])
    h, outputs = np.zeros((2, 3)), []
    for place in range(6):
        moved = [expm(dt[row, place] * generator) @ np.append(h[row], 1.0) for row in range(2)]
        h = gru(layer.cell, x[:, place], np.stack(moved)[:, :3])
        outputs.append(affine(layer.readout, h))
    return deviation(layer(torch.from_numpy(x), torch.from_numpy(dt)).y, np.stack(outputs, axis=1))


def relaxation(field: GRUField, h: Array) -> Array:
    """(1 - z) (g - h) of a GRU without input, whose reset acts before the matrix."""
    reset, keep = np.split(expit(affine(field.gates, h)), 2, axis=1)
    goal = np.tanh(affine(field.candidate, reset * h))
    return (1 - keep) * (goal - h)


@correspondence(
    architecture="gated recurrent unit without input",
    explains=("GRUField", "GRUODEBayes"),
    level="model",
    equation="h' = (1 - z(h)) (g(h) - h)",
    discretisation="forward Euler, unit steps",
    follows="a gate is a rate: the update gate says how fast a unit forgets, in units of the time between elements",
    source="De Brouwer, Simm, Arany and Moreau (2019), GRU-ODE-Bayes: continuous modeling of sporadically-observed "
    "time series, on the derivation of GRU-ODE",
    tolerance=1e-13,
)
def test_a_gru_without_input_is_a_unit_euler_step_of_its_field() -> float:
    torch.manual_seed(0)
    field, h = GRUField(3).double(), np.tanh(starts(5, 3))
    found = NeuralODE(field, method="euler", step_size=1.0)(torch.from_numpy(h), [0.0, 3.0]).states[:, -1]
    for _ in range(3):
        reset, keep = np.split(expit(affine(field.gates, h)), 2, axis=1)
        goal = np.tanh(affine(field.candidate, reset * h))
        h = keep * h + (1 - keep) * goal  # the cell as it is usually written
    return deviation(found, h)


@correspondence(
    architecture="GRU-ODE-Bayes between observations",
    explains=("GRUODEBayes", "GRUField"),
    level="model",
    equation="h' = (1 - z(h)) (g(h) - h)",
    discretisation="exponential midpoint rule, in the limit of its steps",
    follows="the state stays within [-1, 1] for gaps of any length, and more steps a gap bring it to the equation",
    source="De Brouwer, Simm, Arany and Moreau (2019), GRU-ODE-Bayes; Hochbruck and Ostermann (2010), "
    "Exponential integrators",
    tolerance=0.05,
    error_of="distance of the measured order from 2",
)
def test_the_flow_of_gru_ode_bayes_comes_near_its_equation_at_order_two() -> float:
    torch.manual_seed(0)
    model = GRUODEBayes(2, d_state=3).double()
    with torch.no_grad():
        for each in model.field.parameters():
            each.mul_(3)  # so that the rates change along the way
        model.initial.copy_(torch.tensor([1.0, -0.7, 0.4]))
    times, nothing = torch.tensor([0.0, 4.0]).double(), torch.zeros(1, 2, 2)
    start = np.tanh(numbers(model.initial))

    def slope(t: float, h: Array) -> Array:
        return relaxation(model.field, h[None])[0]

    exact = solve_ivp(slope, (0, 4), start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    errors = []
    for steps in (40, 80):
        model.steps = steps
        state: Tensor = model(nothing.double(), times, nothing.bool()).state.h
        errors.append(deviation(state[0], exact))
    return abs(order_of(errors) - 2)
