"""Depth is time: residual networks of every kind are steps of equations, and an equilibrium layer is where they end."""

import math

import numpy as np
import pytest
import torch
from comparison import Array, apart, array, flow, order
from correspondence import correspondence
from torch import Tensor, nn

from integrand.core.fields import Relaxation
from integrand.core.layers import LRU, DeepEquilibrium, EquilibriumRNN, MomentumResidual, ResidualStack
from integrand.core.models import NeuralODE
from integrand.core.numerics import solve_ode

DIM = 3


class Residuals(nn.Module):
    """The branches of a residual network; as a field, branch n holds for n <= t < n + 1."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(DIM, 5), nn.Tanh(), nn.Linear(5, DIM)) for _ in range(depth)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.branches[int(t)](y)


def residual_states(depth: int) -> tuple[Residuals, Tensor, Tensor]:
    """A residual network, its input (4, D), and what each of its layers gives (4, depth + 1, D)."""
    torch.manual_seed(0)
    residuals, x = Residuals(depth).double(), torch.randn(4, DIM, dtype=torch.float64)
    layers = [x]
    for branch in residuals.branches:
        layers.append(layers[-1] + branch(layers[-1]))
    return residuals, x, torch.stack(layers, dim=1)


@correspondence(
    architecture="residual network (ResNet)",
    explains=("NeuralODE",),
    level="model",
    equation="dy/dt = f_n(y) for n <= t < n + 1",
    discretisation="forward Euler, unit steps",
    follows="depth is time: other methods, other steps and memory without activations are open to the same weights",
    source="E (2017), A proposal on machine learning via dynamical systems, Section 2",
    tolerance=1e-14,
)
def test_a_residual_network_is_forward_euler_of_a_neural_ode() -> float:
    residuals, x, layers = residual_states(6)
    states = NeuralODE(residuals, method="euler")(x, torch.arange(7.0, dtype=torch.float64)).states
    return apart(states, layers)


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_every_engine_walks_the_residual_network(engine: str):
    residuals, x, layers = residual_states(6)
    times = torch.arange(7.0, dtype=torch.float64)
    if engine == "native":
        ends = NeuralODE(residuals, method="euler", step_size=1.0)(x, times[[0, -1]]).states
        torch.testing.assert_close(ends[:, -1], layers[:, -1], rtol=1e-14, atol=1e-14)
    states = solve_ode(residuals, x, times, method="euler", engine="torchdiffeq" if engine != "native" else "native")
    torch.testing.assert_close(states.states, layers, rtol=1e-14, atol=1e-14)


def branch() -> tuple[nn.Sequential, Array]:
    """A network f of D numbers, and a start (4, D)."""
    torch.manual_seed(0)
    f = nn.Sequential(nn.Linear(DIM, 5), nn.Tanh(), nn.Linear(5, DIM)).double()
    return f, np.random.default_rng(0).normal(size=(4, DIM))


def dense(f: nn.Sequential, y: Array) -> Array:
    """The same network by numpy."""
    first, last = f[0], f[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    hidden = np.tanh(y @ array(first.weight).T + array(first.bias))
    return hidden @ array(last.weight).T + array(last.bias)


class Scaled(nn.Module):
    """h f(x), a block of a network whose depth is divided into steps of length h."""

    def __init__(self, f: nn.Module, h: float) -> None:
        super().__init__()
        self.f, self.h = f, h

    def forward(self, x: Tensor) -> Tensor:
        return self.h * self.f(x)


@correspondence(
    architecture="momentum residual network (Momentum ResNet)",
    explains=("MomentumResidual",),
    level="layer",
    equation="eps x'' + x' = f(x), eps = h / (1 - g) for momentum g and blocks h f",
    discretisation="symplectic Euler, of order 1",
    follows="it runs backwards, so a gradient needs no activations; paths may cross, as those of x' = f cannot",
    source="Sander, Ablin, Blondel and Peyre (2021), Momentum residual neural networks, Section 3",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_momentum_residual_approaches_a_second_order_equation() -> float:
    (f, x), eps, end = branch(), 0.5, 1.0

    def field(t: float, state: Array) -> Array:
        return np.array([state[1], (dense(f, state[0]) - state[1]) / eps])

    expected = flow(field, np.array([x, np.zeros_like(x)]), end)

    def error(pieces: int) -> float:
        h = end / pieces
        stack = MomentumResidual([Scaled(f, h)] * pieces, gamma=1 - h / eps)
        found = stack(torch.from_numpy(x))
        return apart(np.array([array(found.x), array(found.v) / h]), expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="stack of sequence layers with residuals",
    explains=("ResidualStack",),
    level="layer",
    equation="dx/ds = GLU(W gelu(layer(norm(x)))) in depth s, for whole sequences x",
    discretisation="forward Euler, of order 1",
    follows="a second time: memory runs along the sequence, depth across it; deeper stacks with smaller steps converge",
    source="E (2017), A proposal on machine learning via dynamical systems, Section 2, for residuals; the reading of "
    "this block is ours",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_a_residual_stack_approaches_an_equation_in_depth() -> float:
    torch.manual_seed(0)
    layer = LRU(DIM, d_state=4)
    one = ResidualStack([layer]).double()
    x = np.random.default_rng(0).normal(size=(2, 6, DIM))
    expected = flow(lambda s, x: array(one(torch.from_numpy(x)).y) - x, x, 1.0)

    def error(pieces: int) -> float:
        stack = ResidualStack([layer] * pieces).double()
        for norm, gate in zip(stack.norms, stack.gates, strict=True):
            norm.load_state_dict(one.norms[0].state_dict())
            gate.load_state_dict(one.gates[0].state_dict())
            assert isinstance(gate, nn.Linear)
            for parameter in gate.parameters():  # the half that the GLU is linear in
                parameter.data[:DIM] /= pieces
        return apart(stack(torch.from_numpy(x)).y, expected)

    return abs(order(error, 16) - 1)


@correspondence(
    architecture="deep equilibrium model (DEQ)",
    explains=("DeepEquilibrium",),
    level="layer",
    equation="z' = tanh(W z + U x + b) - z, as t goes to infinity",
    discretisation="none: the steady state is found by a fixed-point method",
    follows="depth is a tolerance; memory does not grow with it, for gradients come from the equilibrium alone",
    source="Bai, Kolter and Koltun (2019), Deep equilibrium models, Section 3",
    tolerance=1e-10,
)
def test_a_deep_equilibrium_model_is_where_an_ode_ends() -> float:
    torch.manual_seed(0)
    cell = Cell().double()
    w, u, b = array(cell.recurrent.weight), array(cell.input.weight), array(cell.input.bias)
    x = np.random.default_rng(0).normal(size=(4, 2))
    layer = DeepEquilibrium(Relaxation(cell), DIM, rtol=1e-13, atol=1e-13)
    expected = flow(lambda t, z: np.tanh(z @ w.T + x @ u.T + b) - z, np.zeros((4, DIM)), 100.0)
    return apart(layer(torch.from_numpy(x)).z, expected)


class Cell(nn.Module):
    """tanh(W z + U x + b) with W small enough for one equilibrium."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.input = nn.Linear(DIM, DIM, bias=False), nn.Linear(2, DIM)
        nn.init.orthogonal_(self.recurrent.weight, gain=0.6)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return torch.tanh(self.recurrent(z) + self.input(x))


@correspondence(
    architecture="monotone equilibrium network",
    explains=("EquilibriumRNN", "DeepEquilibrium", "MonotoneField"),
    level="layer",
    equation="z' = tanh(W z + U x + b) - z with I - W strongly monotone, as t goes to infinity",
    discretisation="one implicit Euler step over a long interval",
    follows="there is one equilibrium for any weights, and an implicit step of any length is safe",
    source="Winston and Kolter (2020), Monotone operator equilibrium networks, Theorem 1",
    tolerance=1e-9,
)
def test_a_long_implicit_step_ends_at_the_equilibrium() -> float:
    torch.manual_seed(0)
    layer = EquilibriumRNN(2, d_state=DIM, rtol=1e-13).double()
    x = torch.randn(4, 1, 2, dtype=torch.float64)
    found = layer(x, 1e14).state
    w, drive = array(layer.field.matrix), array(layer.field.drive(x[:, 0]))
    equilibrium = DeepEquilibrium(layer.field, DIM, rtol=1e-13, atol=1e-13)(x[:, 0]).z
    expected = flow(lambda t, z: np.tanh(z @ w.T + drive) - z, np.zeros((4, DIM)), 100.0)
    return max(apart(found, expected), apart(equilibrium, expected))


class Reversible(nn.Module):
    """A reversible block y1 = x1 + F(x2), y2 = x2 + G(y1), with F and G the slopes of energies."""

    def __init__(self, h: float = 1.0) -> None:
        super().__init__()
        self.w, self.b = nn.Linear(DIM, 5), nn.Linear(DIM, 5)
        self.h = h

    def slope(self, part: nn.Linear, x: Tensor) -> Tensor:
        return torch.tanh(part(x)) @ part.weight

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=-1)
        y1 = x1 + self.h * self.slope(self.w, x2)
        return torch.cat([y1, x2 - self.h * self.slope(self.b, y1)], dim=-1)


def reversible() -> Reversible:
    torch.manual_seed(0)
    return Reversible().double()


@correspondence(
    architecture="reversible residual network (RevNet)",
    level="layer",
    equation="x1' = dK/dx2, x2' = -dV/dx1, where the branches are slopes of K and V",
    discretisation="symplectic Euler",
    follows="volume and the symplectic form are kept, so signals and gradients neither fade nor blow up",
    source="Haber and Ruthotto (2017), Stable architectures for deep neural networks, Section 3; the block: Gomez, "
    "Ren, Urtasun and Grosse (2017), The reversible residual network",
    tolerance=1e-13,
    error_of="largest entry of J^T Omega J - Omega over ten blocks",
)
def test_a_reversible_network_is_symplectic() -> float:
    block = reversible()

    def network(x: Tensor) -> Tensor:
        for _ in range(10):
            x = block(x)
        return x

    start = torch.randn(2 * DIM, dtype=torch.float64)
    jacobian = array(torch.autograd.functional.jacobian(network, start))
    form = np.kron([[0.0, 1.0], [-1.0, 0.0]], np.eye(DIM))
    assert np.abs(jacobian - np.eye(2 * DIM)).max() > 0.5
    return float(np.abs(jacobian.T @ form @ jacobian - form).max())


@correspondence(
    architecture="reversible residual network with half a block at each end",
    level="layer",
    equation="x1' = dK/dx2, x2' = -dV/dx1",
    discretisation="leapfrog (Stoermer-Verlet), of order 2",
    follows="the order of the method is an architectural choice: the same branches, wired symmetrically, gain one",
    source="Chang et al. (2018), Reversible architectures for arbitrarily deep residual neural networks",
    tolerance=0.1,
    error_of="measured order less 2",
)
def test_a_symmetric_reversible_network_is_leapfrog() -> float:
    block = reversible()
    weights = [(array(part.weight), array(part.bias)) for part in (block.w, block.b)]
    start = np.random.default_rng(0).normal(size=(4, 2 * DIM))

    def field(t: float, x: Array) -> Array:
        (w, b), (u, c) = weights
        x1, x2 = np.split(x, 2, axis=1)
        return np.hstack([np.tanh(x2 @ w.T + b) @ w, -np.tanh(x1 @ u.T + c) @ u])

    expected = flow(field, start, 1.0)

    def error(pieces: int) -> float:
        block.h = 1 / pieces
        x1, x2 = torch.from_numpy(start).chunk(2, dim=-1)
        # Half of the first branch goes from the beginning to the end: the blocks between are as they were.
        x = torch.cat([x1 - block.h / 2 * block.slope(block.w, x2), x2], dim=-1)
        for _ in range(pieces):
            x = block(x)
        x1, x2 = x.chunk(2, dim=-1)
        return apart(torch.cat([x1 + block.h / 2 * block.slope(block.w, x2), x2], dim=-1), expected)

    return abs(order(error, 32) - 2)


@correspondence(
    architecture="convolutional residual network",
    level="layer",
    equation="u_t = kappa u_xx on a ring, where the kernel is kappa (1, -2, 1) dt / dx^2",
    discretisation="forward Euler in time, central differences in space, of order 2 in dx",
    follows="kernels are stencils: a residual layer is stable where 2 kappa dt <= dx^2, and a coarser grid rescales it",
    source="Ruthotto and Haber (2020), Deep neural networks motivated by partial differential equations",
    tolerance=0.1,
    error_of="measured order in dx less 2",
)
def test_a_convolutional_residual_network_is_the_heat_equation() -> float:
    kappa, ratio, end = 0.05, 0.4, 0.5

    def error(points: int) -> float:
        x = np.arange(points) / points
        layers = round(end * kappa * points**2 / ratio)  # dt = ratio dx^2 / kappa, and the time that they make
        convolution = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False).double()
        convolution.weight.data = torch.tensor([[[ratio, -2 * ratio, ratio]]], dtype=torch.float64)
        u = torch.from_numpy(np.cos(2 * math.pi * x) + 0.5 * np.sin(4 * math.pi * x))[None, None]
        with torch.no_grad():
            for _ in range(layers):
                u = u + convolution(u)
        time = layers * ratio / points**2 / kappa
        fade = [math.exp(-kappa * (2 * math.pi * k) ** 2 * time) for k in (1, 2)]
        return apart(u[0, 0], fade[0] * np.cos(2 * math.pi * x) + fade[1] * 0.5 * np.sin(4 * math.pi * x))

    return abs(order(error, 40) - 2)
