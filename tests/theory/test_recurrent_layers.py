"""Recurrent cells are steps of nonlinear differential equations, whose solutions a general solver finds."""

import math
from collections.abc import Callable

import numpy as np
import torch
from comparison import Array, apart, array, flow, held, order
from correspondence import correspondence
from scipy.optimize import root
from scipy.special import expit
from torch import Tensor, nn

from integrand.core.fields import Relaxation
from integrand.core.layers import LEM, LTC, AntisymmetricRNN, CfC, CoRNN, EquilibriumRNN
from integrand.core.layers.ltc import Synapses
from integrand.core.layers.sequence_layer import SequenceLayer
from integrand.core.numerics import solve_ode

LENGTH, CHANNELS, UNITS = 5, 2, 4
STEPS = 64
"""Steps that an interval is taken in, where an order is measured, and twice as many."""


def sequence() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.normal(size=(LENGTH, CHANNELS)), random.exponential(size=LENGTH)


def outputs_of(layer: SequenceLayer, x: Array, dt: Array) -> Array:
    return array(layer(torch.from_numpy(x)[None], torch.from_numpy(dt)[None]).y[0])


def readout(layer: SequenceLayer, states: Array) -> Array:
    assert isinstance(layer.readout, nn.Linear)
    return states @ array(layer.readout.weight).T + array(layer.readout.bias)


def deviation_of_order(
    layer: SequenceLayer, attribute: str, field: Callable[[Array, Array], Array], parts: int
) -> float:
    """How far from 1 is the order at which steps of ``layer`` approach the solution of ``field``, from rest."""
    x, dt = sequence()
    states = held(field, np.zeros((parts, UNITS)), x, dt)
    expected = readout(layer, states[:, 0])

    def error(pieces: int) -> float:
        setattr(layer, attribute, pieces)
        return apart(outputs_of(layer, x, dt), expected)

    return abs(order(error, STEPS) - 1)


@correspondence(
    architecture="antisymmetric RNN",
    explains=("AntisymmetricRNN",),
    level="layer",
    equation="h' = E tanh((W - W^T - gamma I) h + V x(t) + b)",
    discretisation="forward Euler, of order 1",
    follows="more steps to an interval approach one solution; Euler amplifies what turns fast, by its stability region",
    source="Chang, Chen, Haber and Chi (2019), AntisymmetricRNN: a dynamical system view on recurrent neural networks, "
    "Eq. 12",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_the_antisymmetric_rnn_approaches_its_ode() -> float:
    torch.manual_seed(0)
    layer = AntisymmetricRNN(CHANNELS, d_state=UNITS, step=0.5, gamma=0.1).double()
    w, v, b = array(layer.recurrent), array(layer.input.weight), array(layer.input.bias)
    matrix = w - w.T - 0.1 * np.eye(UNITS)
    return deviation_of_order(layer, "substeps", lambda h, x: 0.5 * np.tanh(h @ matrix.T + v @ x + b), 1)


@correspondence(
    architecture="antisymmetric RNN at rest",
    explains=("AntisymmetricRNN",),
    level="layer",
    equation="h' = (W - W^T - gamma I) h, the linearised equation",
    discretisation="forward Euler; the spectrum is that of the equation",
    follows="gradients neither vanish nor explode but for gamma: the equation rotates",
    source="Chang, Chen, Haber and Chi (2019), AntisymmetricRNN: a dynamical system view on recurrent neural networks, "
    "Section 3",
    tolerance=1e-12,
    error_of="largest real part of an eigenvalue plus gamma, of (dh_l / dh_{l-1} - 1) / E",
)
def test_the_antisymmetric_rnn_rotates_at_rest() -> float:
    torch.manual_seed(0)
    layer = AntisymmetricRNN(CHANNELS, d_state=UNITS, step=0.5, gamma=0.1).double()
    nn.init.zeros_(layer.input.bias)
    still = torch.zeros(1, 1, CHANNELS, dtype=torch.float64)

    def step(h: Tensor) -> Tensor:
        return layer(still, state=h.unsqueeze(0)).state[0]

    jacobian = array(torch.autograd.functional.jacobian(step, torch.zeros(UNITS, dtype=torch.float64)))
    eigenvalues = np.linalg.eigvals((jacobian - np.eye(UNITS)) / 0.5)
    assert np.abs(eigenvalues.imag).max() > 0.1
    return float(np.abs(eigenvalues.real + 0.1).max())


@correspondence(
    architecture="coRNN, coupled oscillatory RNN",
    explains=("CoRNN",),
    level="layer",
    equation="y'' = tanh(W y + U y' + V x(t) + b) - gamma y - epsilon y'",
    discretisation="implicit-explicit Euler, of order 1: damping implicit, coupling explicit, then the position",
    follows="states are bounded by the damping and the springs, whatever the coupling learns",
    source="Rusch and Mishra (2021), Coupled oscillatory recurrent neural network (coRNN): an accurate and (gradient) "
    "stable architecture for learning long time dependencies, Eqs. 1 to 3",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_cornn_approaches_damped_driven_oscillators() -> float:
    torch.manual_seed(0)
    layer = CoRNN(CHANNELS, d_state=UNITS, step=1.0, gamma=2.7, epsilon=0.7).double()
    weight, b = array(layer.coupling.weight), array(layer.coupling.bias)
    v, w, u = np.split(weight, [CHANNELS, CHANNELS + UNITS], axis=1)

    def field(state: Array, x: Array) -> Array:
        y, z = state
        return np.array([z, np.tanh(w @ y + u @ z + v @ x + b) - 2.7 * y - 0.7 * z])

    return deviation_of_order(layer, "substeps", field, 2)


@correspondence(
    architecture="LEM, long expressive memory",
    explains=("LEM",),
    level="layer",
    equation="z' = s(W1 y + V1 x + b1) (tanh(Wz y + Vz x + bz) - z), y' = s(W2 y + V2 x + b2) (tanh(Wy z + ...) - y)",
    discretisation="implicit-explicit Euler, of order 1; or exponential Euler, of order 1 too",
    follows="gates are learned speeds; the exponential form keeps states within [-1, 1] over any interval",
    source="Rusch, Mishra, Erichson and Mahoney (2022), Long expressive memory for sequence modeling, Section 2",
    tolerance=0.1,
    error_of="measured order less 1, the larger deviation of the two forms",
)
def test_lem_approaches_a_system_of_two_times() -> float:
    deviations = []
    for discretization in ("euler", "exponential"):
        torch.manual_seed(0)
        layer = LEM(CHANNELS, d_state=UNITS, discretization=discretization).double()
        into, b = np.split(array(layer.input.weight), 4), np.split(array(layer.input.bias), 4)
        w, exchange = np.split(array(layer.recurrent.weight), 3), array(layer.exchange.weight)

        def field(state: Array, x: Array, into=into, b=b, w=w, exchange=exchange) -> Array:
            y, z = state
            drive = [matrix @ x + bias for matrix, bias in zip(into, b, strict=True)]
            fast = expit(w[1] @ y + drive[1]) * (np.tanh(w[0] @ y + drive[0]) - z)
            return np.array([expit(w[2] @ y + drive[2]) * (np.tanh(exchange @ z + drive[3]) - y), fast])

        deviations.append(deviation_of_order(layer, "substeps", field, 2))
    return max(deviations)


def conducted(synapses: Synapses, senders: Array, receivers: Array) -> Array:
    """The current sum_i w_ij sigmoid(sigma_ij (v_i - mu_ij)) (E_ij - v_j) into each receiver."""
    names = ("conductance", "steepness", "threshold", "reversal")
    w, sigma, mu, reversal = (array(getattr(synapses, name)) for name in names)
    opened = np.logaddexp(0, w) * expit(sigma * (senders[:, None] - mu))
    return (opened * (reversal - receivers)).sum(0)


@correspondence(
    architecture="LTC, liquid time-constant network",
    explains=("LTC",),
    level="layer",
    equation="c v_j' = g (v_leak - v_j) + sum_i s_ij(v) (E_ij - v_j) + sum_i r_ij(x) (E'_ij - v_j), leaky neurons",
    discretisation="linearly implicit Euler, of order 1: conductances as they were, potentials as they will be",
    follows="a potential stays among those it is pulled towards, for every interval: the step is a mean",
    source="Hasani, Lechner, Amini, Rus and Grosu (2021), Liquid time-constant networks, Eq. 1 and Algorithm 1",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_ltc_approaches_leaky_neurons_with_synapses() -> float:
    torch.manual_seed(0)
    layer = LTC(CHANNELS, d_state=UNITS).double()
    c, g = np.logaddexp(0, array(layer.capacitance)), np.logaddexp(0, array(layer.leak))
    rest = array(layer.rest)

    def field(state: Array, x: Array) -> Array:
        (v,) = state
        current = g * (rest - v) + conducted(layer.recurrent, v, v) + conducted(layer.sensory, x, v)
        return current[None] / c

    return deviation_of_order(layer, "unfolds", field, 1)


def heads_of(layer: CfC, x: Array, h: Array) -> list[Array]:
    v = np.concatenate([x, h])
    for dense in layer.backbone:
        assert isinstance(dense, nn.Linear)
        v = np.tanh(array(dense.weight) @ v + array(dense.bias))
    return np.split(array(layer.heads.weight) @ v + array(layer.heads.bias), 1 if layer.mode == "pure" else 4)


@correspondence(
    architecture="CfC, closed-form continuous-time network",
    explains=("CfC",),
    level="layer",
    equation="h' = a (h - p) (q - h) / (q - p), logistic growth between the rest states p = tanh f and q = tanh g",
    discretisation="exact over each interval, with f, g, a and b as the element before left them",
    follows="the gate in time is the logistic equation's solution: h goes to q where a > 0, back to p where a < 0",
    source="Hasani et al. (2022), Closed-form continuous-time neural networks, for the gate; the equation is ours",
    tolerance=1e-10,
)
def test_cfc_is_logistic_growth_between_two_states() -> float:
    torch.manual_seed(0)
    layer = CfC(CHANNELS, d_state=UNITS, backbone=(7,), activation="tanh").double()
    (x, dt), h, states = sequence(), np.zeros(UNITS), []
    for inputs, interval in zip(x, dt, strict=True):
        f, g, a, b = heads_of(layer, inputs, h)
        p, q = np.tanh(f), np.tanh(g)
        begin = p + (q - p) * expit(b)
        h = flow(lambda t, h, a=a, p=p, q=q: a * (h - p) * (q - h) / (q - p), begin, interval)
        states.append(h)
    return apart(outputs_of(layer, x, dt), readout(layer, np.array(states)))


@correspondence(
    architecture="CfC in its pure form",
    explains=("CfC", "LTC"),
    level="layer",
    equation="h' = (|k| + |f|) (A - h), h(0) = A - A f: a liquid neuron whose conductance f(x, h) is frozen",
    discretisation="exact over each interval, with f as the element before left it",
    follows="what a liquid network integrates in many steps costs one evaluation, where its conductances change little",
    source="Hasani et al. (2022), Closed-form continuous-time neural networks, Eq. 2",
    tolerance=1e-10,
)
def test_pure_cfc_is_a_relaxation_with_frozen_conductance() -> float:
    torch.manual_seed(0)
    layer = CfC(CHANNELS, d_state=UNITS, mode="pure", backbone=(7,), activation="tanh").double()
    target, rate = array(layer.target), np.abs(array(layer.rate))
    (x, dt), h, states = sequence(), np.zeros(UNITS), []
    for inputs, interval in zip(x, dt, strict=True):
        (f,) = heads_of(layer, inputs, h)
        h = flow(lambda t, h, f=f: (rate + np.abs(f)) * (target - h), target - target * f, interval)
        states.append(h)
    return apart(outputs_of(layer, x, dt), readout(layer, np.array(states)))


def gru_field(cell: nn.GRUCell, x: Array) -> Callable[[Array], Array]:
    """(1 - z(x, h)) (n(x, h) - h), of states (B, H)."""
    from_x = np.split(x @ array(cell.weight_ih).T + array(cell.bias_ih), 3, axis=1)

    def field(h: Array) -> Array:
        from_h = np.split(h @ array(cell.weight_hh).T + array(cell.bias_hh), 3, axis=1)
        reset, update = expit(from_x[0] + from_h[0]), expit(from_x[1] + from_h[1])
        return (1 - update) * (np.tanh(from_x[2] + reset * from_h[2]) - h)

    return field


@correspondence(
    architecture="GRU cell",
    level="layer",
    equation="h' = (1 - z(x, h)) (n(x, h) - h), damped",
    discretisation="forward Euler, unit steps",
    follows="beyond 1 a unit falls, within it stays there: the equation is bounded, and any step up to 1 keeps it so",
    source="Jordan, Sokol and Park (2021), Gated recurrent units viewed through the lens of continuous time dynamical "
    "systems, Eq. 6",
    tolerance=1e-14,
)
def test_a_gru_cell_is_an_euler_step_of_a_damped_ode() -> float:
    torch.manual_seed(0)
    cell = nn.GRUCell(3, 4).double()
    x, h = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    field = gru_field(cell, x.numpy())
    return apart(cell(x, h), h.numpy() + field(h.numpy()))


def test_the_ode_of_a_gru_cell_is_damped():
    """|n| < 1, so that what lies beyond 1 falls, and what lies within stays there; Euler's steps are the solver's."""
    torch.manual_seed(0)
    cell = nn.GRUCell(3, 4).double()
    x, h = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    numpy_field = gru_field(cell, x.numpy())

    def field(t: Tensor, h: Tensor) -> Tensor:
        return torch.from_numpy(numpy_field(h.numpy()))

    torch.testing.assert_close(
        solve_ode(field, h, [0.0, 1.0], method="euler").states[:, -1], cell(x, h), rtol=1e-14, atol=1e-14
    )
    tolerance = 1e-8
    times = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0]
    states = solve_ode(field, 50 * h, times, method="dopri5", rtol=tolerance, atol=tolerance).states
    beyond = states.abs().clamp(min=1)
    assert (beyond[:, 0] > 2).any()
    assert (beyond.diff(dim=1) <= 1e-4).all()  # errors of ten thousand steps of the tolerance
    assert (beyond[:, -1] < beyond[:, 0])[beyond[:, 0] > 1.01].all()


@correspondence(
    architecture="recurrent cell of Elman",
    explains=("Relaxation",),
    level="layer",
    equation="h' = tanh(W h + U x(t) + b) - h, leaky units driven by the sequence",
    discretisation="forward Euler, unit steps; shorter ones approach the solution at order 1",
    follows="a step as long as the time constant keeps nothing of the old state but what tanh sees; shorter ones leak",
    source="Elman (1990), Finding structure in time, for the cell; Funahashi and Nakamura (1993), Approximation of "
    "dynamical systems by continuous time recurrent neural networks, for the equation",
    tolerance=0.1,
    error_of="measured order less 1, from the cell itself at one step to a unit of time",
)
def test_a_recurrent_cell_is_an_euler_step_of_leaky_units() -> float:
    torch.manual_seed(0)
    cell = nn.RNNCell(CHANNELS, UNITS).double()
    u, w = array(cell.weight_ih), array(cell.weight_hh)
    b = array(cell.bias_ih) + array(cell.bias_hh)
    (x, _), field = sequence(), Relaxation(Turned(cell))
    states = held(lambda h, x: np.tanh(w @ h + u @ x + b) - h, np.zeros(UNITS), x, np.ones(LENGTH))

    def steps(pieces: int) -> Array:
        h, found = torch.zeros(1, UNITS, dtype=torch.float64), []
        for element in torch.from_numpy(x):
            h = solve_ode(field, h, [0.0, 1.0], args=element[None], method="euler", step_size=1 / pieces).states[:, -1]
            found.append(h[0])
        return array(torch.stack(found))

    h, expected = torch.zeros(1, UNITS, dtype=torch.float64), []
    for element in torch.from_numpy(x):
        h = cell(element[None], h)
        expected.append(h[0])
    assert apart(steps(1), torch.stack(expected)) < 1e-14
    return abs(order(lambda pieces: apart(steps(pieces), states), STEPS) - 1)


class Turned(nn.Module):
    """A recurrent cell called with its state first."""

    def __init__(self, cell: nn.RNNCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return self.cell(x, z)


def equilibrium_rnn() -> EquilibriumRNN:
    torch.manual_seed(0)
    return EquilibriumRNN(CHANNELS, d_state=UNITS, time_constant=0.7, rtol=1e-12).double()


@correspondence(
    architecture="equilibrium RNN",
    explains=("EquilibriumRNN",),
    level="layer",
    equation="tau h' = -h + tanh(W h + U x(t) + b), with W monotone",
    discretisation="implicit Euler",
    follows="stable for every interval; a long one gives the equilibrium of its input and forgets the past",
    source="Hairer and Wanner (1996), Solving ordinary differential equations II, Section IV.3, for the method; "
    "Winston and Kolter (2020), Monotone operator equilibrium networks, for W",
    tolerance=1e-10,
)
def test_the_equilibrium_rnn_is_implicit_euler() -> float:
    layer, (x, dt) = equilibrium_rnn(), sequence()
    matrix, tau = array(layer.field.matrix), math.exp(layer.log_tau.item())
    drives = array(layer.field.drive(torch.from_numpy(x)))
    h, states = np.zeros(UNITS), []
    for drive, interval in zip(drives, dt, strict=True):

        def short(new: Array, old: Array = h, drive: Array = drive, share: float = interval / tau) -> Array:
            return new - old - share * (np.tanh(matrix @ new + drive) - new)

        found = root(short, h, tol=1e-14)
        h = found.x
        states.append(h)
    return apart(outputs_of(layer, x, dt), readout(layer, np.array(states)))
