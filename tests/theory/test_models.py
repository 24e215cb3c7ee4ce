"""Models of ordinary equations: which network each of them is, and which equation."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from correspondence import correspondence
from deviation import Array, deviation, numbers, order_of
from scipy.linalg import expm
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from integrand.core.fields import MLP, HigherOrder, Linear
from integrand.core.models import (
    AugmentedODE,
    ContinuousNormalizingFlow,
    ConvertedODE,
    NeuralODE,
    PiecewiseODE,
    SecondOrderODE,
)

TIGHT = {"method": "dopri8", "rtol": 1e-12, "atol": 1e-12}


def affine(layer: Any, y: Array) -> Array:
    """W y + b in rows."""
    return y @ numbers(layer.weight).T + numbers(layer.bias)


def branch(field: MLP, y: Array) -> Array:
    """An MLP of one hidden layer of tanh, written out."""
    return affine(field.layers[2], np.tanh(affine(field.layers[0], y)))


def homogeneous(layer: Any) -> Array:
    """[[A, b], [0, 0]], whose exponential solves y' = A y + b for (y, 1)."""
    a, b = numbers(layer.weight), numbers(layer.bias)
    return np.block([[a, b[:, None]], [np.zeros((1, len(b) + 1))]])


def starts(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape)


@correspondence(
    architecture="residual network that shares its weights",
    explains=("NeuralODE", "MLP"),
    level="model",
    equation="dy/dt = f(y)",
    discretisation="forward Euler, unit steps",
    follows="a block used n times is n units of time of one equation: its depth can be changed after training",
    source="Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Eqs. 1 and 2",
    tolerance=1e-13,
)
def test_unit_euler_steps_of_a_neural_ode_are_a_residual_network_with_shared_weights() -> float:
    torch.manual_seed(0)
    field, y = MLP(3, (5,)).double(), starts(4, 3)
    found = NeuralODE(field, method="euler", step_size=1.0)(torch.from_numpy(y), [0.0, 6.0]).states[:, -1]
    for _ in range(6):
        y = y + branch(field, y)
    return deviation(found, y)


@correspondence(
    architecture="deep residual network with blocks of size 1/n",
    explains=("NeuralODE", "MLP"),
    level="model",
    equation="dy/dt = f(y), 0 <= t <= 1",
    discretisation="forward Euler, n steps of 1/n, in the limit of n",
    follows="a network with scaled blocks has a limit in depth, and half the blocks cost twice the distance to it",
    source="E (2017), A proposal on machine learning via dynamical systems",
    tolerance=0.02,
    error_of="distance of the measured order from 1",
)
def test_a_deep_residual_network_comes_near_its_neural_ode_at_order_one() -> float:
    torch.manual_seed(0)
    field, y0, errors = MLP(3, (5,)).double(), starts(4, 3), []
    exact = numbers(NeuralODE(field, **TIGHT)(torch.from_numpy(y0), [0.0, 1.0]).states[:, -1])
    for depth in (400, 800):
        y = y0
        for _ in range(depth):
            y = y + branch(field, y) / depth
        errors.append(deviation(y, exact))
    return abs(order_of(errors) - 1)


@correspondence(
    architecture="residual network",
    explains=("PiecewiseODE",),
    level="model",
    equation="dy/dt = f_i(t, y) for e_i <= t < e_(i+1)",
    discretisation="forward Euler, one step a piece",
    follows="blocks of their own are an equation whose weights jump in time; a better solver refines each block",
    source="Massaroli, Poli, Park, Yamashita and Asama (2020), Dissecting neural ODEs, on stacked neural ODEs",
    tolerance=1e-13,
)
def test_an_euler_step_of_each_piece_is_a_residual_network_with_its_own_weights() -> float:
    torch.manual_seed(0)
    fields, y = [MLP(3, (5,)).double() for _ in range(4)], starts(4, 3)
    edges = [0.0, 1.0, 1.5, 3.0, 4.0]
    found = PiecewiseODE(fields, edges=edges, method="euler", step_size=2.0)(torch.from_numpy(y))
    states = [y]
    for field, (start, end) in zip(fields, pairwise(edges), strict=True):
        states.append(states[-1] + (end - start) * branch(field, states[-1]))
    return deviation(found, np.stack(states, axis=1))


@correspondence(
    architecture="stack of neural ODEs",
    explains=("PiecewiseODE",),
    level="model",
    equation="dy/dt = A_i y for e_i <= t < e_(i+1)",
    discretisation="an adaptive method on each piece",
    follows="the stack is a product of flow maps, so each piece can be examined, replaced or inverted on its own",
    source="Massaroli, Poli, Park, Yamashita and Asama (2020), Dissecting neural ODEs, on stacked neural ODEs",
    tolerance=1e-10,
)
def test_a_stack_of_linear_odes_is_a_product_of_matrix_exponentials() -> float:
    torch.manual_seed(0)
    fields, y = [Linear(3, bias=False).double() for _ in range(3)], starts(4, 3)
    found = PiecewiseODE(fields, edges=[0.0, 0.7, 1.0, 2.5], **TIGHT)(torch.from_numpy(y))[:, -1]
    for field, length in zip(fields, (0.7, 0.3, 1.5), strict=True):
        y = y @ expm(length * numbers(field.matrix)).T
    return deviation(found, y)


@correspondence(
    architecture="residual network made wider after its input layer",
    explains=("AugmentedODE",),
    level="model",
    equation="dz/dt = f(z), z(0) = [x, W x + b]",
    discretisation="forward Euler, unit steps",
    follows="width beyond the data is room to move in: paths that must not cross in the data can pass one another",
    source="Massaroli, Poli, Park, Yamashita and Asama (2020), Dissecting neural ODEs, on input-layer augmentation",
    tolerance=1e-13,
)
def test_unit_euler_steps_of_an_augmented_ode_are_a_wider_residual_network() -> float:
    torch.manual_seed(0)
    field, x = MLP(5, (7,)).double(), starts(4, 2)
    model = AugmentedODE(2, 3, start="input", field=field, method="euler", step_size=1.0).double()
    found = model(torch.from_numpy(x), [0.0, 5.0]).outputs[:, -1]
    assert model.lift is not None
    z = np.concatenate([x, affine(model.lift, x)], axis=1)
    for _ in range(5):
        z = z + branch(field, z)
    return deviation(found, z[:, :2])


@correspondence(
    architecture="neural ODE with one added dimension",
    explains=("AugmentedODE",),
    level="model",
    equation="dz/dt = pi J z, z(0) = [x, 0], J the rotation by a quarter turn",
    discretisation="exact",
    follows="x -> -x, which no ODE on a line can be, is half a turn in the plane: one added zero makes it learnable",
    source="Dupont, Doucet and Teh (2019), Augmented neural ODEs, Proposition 1 and Section 4",
    tolerance=1e-10,
)
def test_an_added_dimension_turns_the_line_round() -> float:
    field, x = Linear(2, bias=False).double(), starts(6, 1)
    with torch.no_grad():
        field.matrix.copy_(torch.pi * torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    return deviation(AugmentedODE(1, 1, field=field, **TIGHT)(torch.from_numpy(x), [0.0, 1.0]).outputs[:, -1], -x)


@correspondence(
    architecture="neural ODE of order m",
    explains=("SecondOrderODE", "HigherOrder"),
    level="model",
    equation="q''' = -6 q - 11 q' - 6 q''",
    discretisation="as a system of first order, by any method",
    follows="data that are positions need no velocities: those are states that the model keeps for itself",
    source="Massaroli, Poli, Park, Yamashita and Asama (2020), Dissecting neural ODEs, on higher orders",
    tolerance=1e-10,
)
def test_an_equation_of_third_order_is_the_sum_of_its_three_exponentials() -> float:
    """The roots of r^3 + 6 r^2 + 11 r + 6 are -1, -2 and -3; the start fixes the share of each."""
    field = HigherOrder(
        1, order=3, acceleration=lambda t, q, rest: -6 * q - 11 * rest[:, :1] - 6 * rest[:, 1:]
    ).double()
    y0, times, roots = starts(4, 3), np.array([0.0, 0.4, 1.0, 3.0]), np.array([-1.0, -2.0, -3.0])
    model = SecondOrderODE(1, order=3, field=field, **TIGHT)
    q0, rest = torch.from_numpy(y0).split([1, 2], dim=1)
    found = model(q0, torch.from_numpy(times), derivatives=rest).positions[..., 0]
    shares = np.linalg.solve(np.vander(roots, increasing=True).T, y0.T)
    return deviation(found, np.einsum("kb,tk->bt", shares, np.exp(np.outer(times, roots))))


@correspondence(
    architecture="residual network with momentum",
    explains=("SecondOrderODE", "HigherOrder", "MomentumResidual"),
    level="model",
    equation="eps q'' + q' = f(q)",
    discretisation="symplectic Euler, steps h with momentum 1 - h / eps, in the limit of h",
    follows="momentum is inertia: velocity is a state, paths may cross, and a pass can be run back without storage",
    source="Sander, Ablin, Blondel and Peyre (2021), Momentum residual neural networks, Section 3",
    tolerance=0.02,
    error_of="distance of the measured order from 1",
)
def test_a_momentum_network_comes_near_an_equation_of_second_order() -> float:
    torch.manual_seed(0)
    force, q0, v0, eps, errors = MLP(2, (5,)).double(), starts(4, 2), 0.3 * starts(4, 2)[::-1].copy(), 0.5, []
    field = HigherOrder(2, acceleration=lambda t, q, v: (force(t, q) - v) / eps)
    motion = SecondOrderODE(2, field=field, **TIGHT)(torch.from_numpy(q0), [0.0, 2.0], derivatives=torch.from_numpy(v0))
    for depth in (400, 800):
        step = 2.0 / depth
        momentum, x, v = 1 - step / eps, q0, step * v0
        for _ in range(depth):
            v = momentum * v + (1 - momentum) * step * branch(force, x)
            x = x + v
        errors.append(deviation(x, numbers(motion.positions[:, -1])))
    return abs(order_of(errors) - 1)


@correspondence(
    architecture="continuous normalising flow",
    explains=("ContinuousNormalizingFlow", "Linear"),
    level="model",
    equation="dy/dt = A y + b, d log p / dt = -tr A",
    discretisation="an adaptive method from data back to noise",
    follows="the change of a density needs a trace, not a determinant, and costs no more than the paths themselves",
    source="Chen, Rubanova, Bettencourt and Duvenaud (2018), Neural ordinary differential equations, Theorem 1",
    tolerance=1e-10,
)
def test_a_linear_flow_gives_the_normal_density_that_the_matrix_exponential_does() -> float:
    torch.manual_seed(0)
    field, end, x = Linear(3).double(), 1.5, starts(6, 3)
    moved = np.asarray(expm(end * homogeneous(field.map[0])))
    normal: Any = multivariate_normal(moved[:3, 3], moved[:3, :3] @ moved[:3, :3].T)  # pyright: ignore[reportArgumentType]
    found = ContinuousNormalizingFlow(field, 3, end=end, **TIGHT).log_prob(torch.from_numpy(x))
    return deviation(found, normal.logpdf(x))


@correspondence(
    architecture="residual flow",
    explains=("ContinuousNormalizingFlow", "MLP"),
    level="model",
    equation="d log p / dt = -div f along dy/dt = f(y)",
    discretisation="forward Euler, n blocks y + f(y) / n with log |det(1 + J / n)|, in the limit of n",
    follows="an invertible residual network's log-determinants are a quadrature of one divergence: thinner blocks, "
    "the same density",
    source="Chen, Behrmann, Duvenaud and Jacobsen (2019), Residual flows for invertible generative modeling, Section 2",
    tolerance=0.05,
    error_of="distance of the measured order from 1",
)
def test_log_determinants_of_residual_blocks_sum_to_the_divergence() -> float:
    torch.manual_seed(0)
    field, z, errors = MLP(2, (5,)).double(), starts(3, 2), []
    exact = numbers(ContinuousNormalizingFlow(field, 2, **TIGHT).push(torch.from_numpy(z)).log_det)
    first, last = (numbers(field.layers[place].weight) for place in (0, 2))  # pyright: ignore[reportArgumentType]
    shift = numbers(field.layers[0].bias)  # pyright: ignore[reportArgumentType]
    for depth in (200, 400):
        y, total = z, np.zeros(len(z))
        for _ in range(depth):
            slopes = 1 - np.tanh(y @ first.T + shift) ** 2
            jacobian = np.einsum("ih,bh,hj->bij", last, slopes, first)
            total += np.linalg.slogdet(np.eye(2) + jacobian / depth)[1]
            y = y + branch(field, y) / depth
        errors.append(deviation(total, exact))
    return abs(order_of(errors) - 1)


class AffineBlock(nn.Linear):
    """x + A x + b."""

    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


@correspondence(
    architecture="residual network that torch exported",
    explains=("ConvertedODE",),
    level="model",
    equation="dx/dt = A(t) x + b(t), with the weights of block l for l <= t < l + 1",
    discretisation="forward Euler, a step a block; solved by an adaptive method in its place",
    follows="a trained network can be solved more finely than it was trained, which tells whether it is an equation",
    source="Queiruga, Erichson, Taylor and Mahoney (2020), Continuous-in-depth neural networks",
    tolerance=1e-9,
)
def test_a_converted_network_is_the_equation_that_its_blocks_step() -> float:
    torch.manual_seed(0)
    blocks = [AffineBlock(3, 3) for _ in range(4)]
    y = starts(5, 3)
    network, x = nn.Sequential(*blocks).double().eval(), torch.from_numpy(y)
    found = ConvertedODE(network, [x], method="dopri8", steps=None, rtol=1e-12, atol=1e-12)(x)
    lifted = np.hstack([y, np.ones((5, 1))])
    for block in blocks:
        lifted = lifted @ expm(homogeneous(block)).T
    return deviation(found, lifted[:, :3])
