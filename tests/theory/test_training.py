"""Learning is a differential equation in the weights, and an optimiser is how it is solved."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from comparison import Array, apart, array, flow, order
from correspondence import correspondence
from scipy.linalg import expm, solve_continuous_lyapunov
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from integrand.core.numerics import solve_ode

START = np.array([1.0, -0.5, 0.8])
END = 1.0
"""Time that is learned for: steps times the learning rate."""


def loss(w: Tensor) -> Tensor:
    """Smooth and not quadratic: log cosh of a bowl, a ridge of sines."""
    return (w - 0.3).square().sum().cosh().log() + 0.5 * torch.sin(w[0] * w[1] + w[2])


def slope(w: Array) -> Array:
    """Its gradient by hand."""
    centred = w - 0.3
    wave = 0.5 * math.cos(w[0] * w[1] + w[2])
    return 2 * math.tanh(centred @ centred) * centred + wave * np.array([w[1], w[0], 1.0])


def curvature(w: Array, along: Array) -> Array:
    """The second derivative times a direction, by a complex step of the gradient written out."""
    z = w + 1e-30j * along
    centred = z - 0.3
    wave = 0.5 * np.cos(z[0] * z[1] + z[2])
    gradient = 2 * np.tanh(centred @ centred) * centred + wave * np.array([z[1], z[0], 1.0])
    return gradient.imag / 1e-30


def test_the_gradient_by_hand_is_the_gradient():
    w = torch.from_numpy(START).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(w), w)
    np.testing.assert_allclose(slope(START), gradient.numpy(), rtol=1e-14)


Make = Callable[[list[Tensor], float], torch.optim.Optimizer]


def trained(make: Make, steps: int, function: Callable[[Tensor], Tensor] = loss, start: Array = START) -> Array:
    """The weights after ``steps`` steps of the optimiser that ``make`` gives for a step of END / steps."""
    w = torch.from_numpy(start.copy()).requires_grad_()
    optimiser = make([w], END / steps)
    for _ in range(steps):
        optimiser.zero_grad()
        function(w).backward()
        optimiser.step()
    return array(w)


def sgd(weights: list[Tensor], step: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(weights, lr=step)


@correspondence(
    architecture="gradient descent",
    level="training",
    equation="w' = -grad L(w), gradient flow",
    discretisation="forward Euler, the learning rate being the step: of order 1",
    follows="the largest stable learning rate is 2 over the sharpness, the edge of Euler's stability region",
    source="Hairer and Wanner (1996), Solving ordinary differential equations II, Section IV.2, for the region",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_gradient_descent_approaches_gradient_flow() -> float:
    expected = flow(lambda t, w: -slope(w), START, END)
    return abs(order(lambda steps: apart(trained(sgd, steps), expected), 64) - 1)


BOWL = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


def bowl(w: Tensor) -> Tensor:
    return w @ torch.from_numpy(BOWL) @ w / 2


@correspondence(
    architecture="gradient descent on a quadratic",
    level="training",
    equation="w' = -A w, w(t) = exp(-A t) w(0)",
    discretisation="forward Euler; its error is -(h t / 2) A^2 exp(-A t) w(0) and terms of order h^2",
    follows="how far a training run is from its flow is known in advance, direction by direction: stiff ones first",
    source="Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I, Section II.8",
    tolerance=1e-5,
    error_of="difference of the error constant, extrapolated to step zero, from theory, relative",
)
def test_the_error_constant_of_gradient_descent_is_eulers() -> float:
    decayed = expm(-BOWL * END) @ START

    def constant(steps: int) -> Array:
        return (trained(sgd, steps, bowl) - decayed) * steps / END

    extrapolated = 2 * constant(2000) - constant(1000)
    return apart(extrapolated, -END / 2 * BOWL @ BOWL @ decayed)


@pytest.mark.parametrize(("factor", "grows"), [(0.99, False), (1.01, True)])
def test_gradient_descent_is_stable_up_to_two_over_the_sharpness(factor: float, grows: bool):
    sharpness = np.linalg.eigvalsh(BOWL).max()
    w = torch.from_numpy(START.copy()).requires_grad_()
    optimiser = torch.optim.SGD([w], lr=factor * 2 / sharpness)
    for _ in range(1000):
        optimiser.zero_grad()
        bowl(w).backward()
        optimiser.step()
    assert (w.detach().norm() > 10 * np.linalg.norm(START)) == grows


@correspondence(
    architecture="gradient descent with steps of finite length",
    level="training",
    equation="w' = -grad (L + h |grad L|^2 / 4), the modified equation",
    discretisation="forward Euler of gradient flow, seen to order 2",
    follows="a large learning rate regularises: it is drawn to flat places by a term known in closed form",
    source="Barrett and Dherin (2021), Implicit gradient regularization, Theorem 3.1",
    tolerance=0.1,
    error_of="measured order less 2, beside the modified flow",
)
def test_gradient_descent_follows_a_modified_flow_to_second_order() -> float:
    def error(steps: int) -> float:
        h = END / steps
        expected = flow(lambda t, w: -slope(w) - h / 2 * curvature(w, slope(w)), START, END)
        return apart(trained(sgd, steps), expected)

    return abs(order(error, 64) - 2)


@correspondence(
    architecture="learning rate schedule",
    level="training",
    equation="dw/ds = -grad L(w) with s(t) the integral of the learning rate's shape: gradient flow in another time",
    discretisation="forward Euler with steps that differ: of order 1",
    follows="warm-up and decay change when a place is reached, not the path: in the limit only the integral counts",
    source="Hairer, Norsett and Wanner (1993), Solving ordinary differential equations I, Section "
    "I.7, for Euler's method",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_a_schedule_is_a_change_of_time() -> float:
    passed = END - math.sin(2 * END) / 2  # the integral of 2 sin(t)^2
    expected = flow(lambda t, w: -slope(w), START, passed)

    def error(steps: int) -> float:
        w = torch.from_numpy(START.copy()).requires_grad_()
        optimiser = torch.optim.SGD([w], lr=END / steps)
        shape = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 2 * math.sin(step * END / steps) ** 2)
        for _ in range(steps):
            optimiser.zero_grad()
            loss(w).backward()
            optimiser.step()
            shape.step()
        return apart(array(w), expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="network whose last layer learns (neural tangent kernel)",
    level="training",
    equation="f' = -K (f - y), of outputs f at the data, K = Phi Phi^T the kernel of the features",
    discretisation="gradient descent in the weights, forward Euler: of order 1",
    follows="the spectrum of K tells what is learned first; stopping early leaves the rest unlearned",
    source="Jacot, Gabriel and Hongler (2018), Neural tangent kernel: convergence and generalization in neural "
    "networks",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_outputs_of_a_lazy_network_follow_a_kernel_flow() -> float:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 6), nn.Tanh()).double()
    x = torch.randn(5, 2, dtype=torch.float64)
    features, y = network(x).detach(), torch.sin(x.sum(1))
    begun = np.random.default_rng(0).normal(size=6)
    kernel = features.numpy() @ features.numpy().T
    expected = y.numpy() + expm(-kernel * END) @ (features.numpy() @ begun - y.numpy())

    def error(steps: int) -> float:
        w = trained(sgd, steps, lambda w: (features @ w - y).square().sum() / 2, begun)
        return apart(features.numpy() @ w, expected)

    return abs(order(error, 64) - 1)


@correspondence(
    architecture="gradient descent with momentum (heavy ball)",
    level="training",
    equation="w'' + c w' = -grad L(w), a heavy ball with friction",
    discretisation="symplectic Euler with step h = sqrt(learning rate), momentum 1 - c h: of order 1",
    follows="momentum is one minus friction times step: what is tuned at one learning rate is known at another",
    source="Polyak (1964), Some methods of speeding up the convergence of iteration methods",
    tolerance=0.1,
    error_of="measured order less 1",
)
def test_momentum_approaches_a_heavy_ball() -> float:
    friction = 0.7

    def heavy(weights: list[Tensor], step: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(weights, lr=step**2, momentum=1 - friction * step)

    def field(t: float, state: Array) -> Array:
        w, v = state
        return np.array([v, -friction * v - slope(w)])

    expected = flow(field, np.array([START, 0 * START]), END)[0]
    return abs(order(lambda steps: apart(trained(heavy, steps), expected), 64) - 1)


@correspondence(
    architecture="AdamW, Adam with decoupled weight decay",
    level="training",
    equation="m' = (g - m) / t1, v' = (g^2 - v) / t2, w' = -m / (sqrt(v) + eps) - lambda w, g = grad L(w)",
    discretisation="exponential Euler for the averages, forward Euler for the weights: of order 1",
    follows="betas are exp(-learning rate / time constant); decay acts in time, outside the preconditioner",
    source="da Silva and Gazeau (2020), A general system of differential equations to model first-order adaptive "
    "algorithms; the decay: Loshchilov and Hutter (2019), Decoupled weight decay regularization",
    tolerance=0.1,
    error_of="measured order less 1, past the correction of bias",
)
def test_adamw_approaches_a_system_of_three() -> float:
    times, eps, decay = (0.3, 0.8), 0.1, 0.4
    squares = np.full(3, 0.2)

    def adamw(weights: list[Tensor], step: float) -> torch.optim.Optimizer:
        betas = (math.exp(-step / times[0]), math.exp(-step / times[1]))
        made = torch.optim.AdamW(weights, lr=step, betas=betas, eps=eps, weight_decay=decay)
        begun = {"step": torch.tensor(1e9), "exp_avg": torch.zeros(3).double(), "exp_avg_sq": torch.from_numpy(squares)}
        made.state[weights[0]] = {name: value.clone() for name, value in begun.items()}
        return made

    def field(t: float, state: Array) -> Array:
        w, m, v = state
        g = slope(w)
        return np.array([-m / (np.sqrt(v) + eps) - decay * w, (g - m) / times[0], (g**2 - v) / times[1]])

    expected = flow(field, np.array([START, 0 * START, squares]), END)[0]
    return abs(order(lambda steps: apart(trained(adamw, steps), expected), 64) - 1)


@correspondence(
    architecture="proximal point method",
    level="training",
    equation="w' = -grad L(w), gradient flow",
    discretisation="implicit Euler: w_n minimises L(w) + |w - w_{n-1}|^2 / (2 h)",
    follows="no learning rate is too large on a convex loss; what is paid is a minimisation in every step",
    source="Rockafellar (1976), Monotone operators and the proximal point algorithm; Parikh and Boyd (2014), Proximal "
    "algorithms, Section 4.1",
    tolerance=1e-9,
)
def test_an_implicit_step_is_a_proximal_point() -> float:
    def steep(w: Tensor) -> Tensor:
        return bowl(w) + w.exp().sum()

    def field(t: Tensor, w: Tensor) -> Tensor:
        return -torch.func.vmap(torch.func.grad(steep))(w)

    h = 5.0  # explicit steps of this length blow up
    start = torch.from_numpy(START)[None]
    stepped = solve_ode(field, start, [0.0, h], method="implicit_euler", step_size=h, rtol=1e-12, atol=1e-12)

    def value(w: Array) -> float:
        return w @ BOWL @ w / 2 + np.exp(w).sum() + (w - START) @ (w - START) / (2 * h)

    def gradient(w: Array) -> Array:
        return BOWL @ w + np.exp(w) + (w - START) / h

    def second(w: Array) -> Array:
        return BOWL + np.diag(np.exp(w)) + np.eye(3) / h

    found = minimize(value, START, jac=gradient, hess=second, method="trust-exact", options={"gtol": 1e-13})
    return apart(stepped.states[0, -1], found.x)


@correspondence(
    architecture="stochastic gradient descent (SGD)",
    level="training",
    equation="dw = -grad L(w) dt + sqrt(h S) dB, S a gradient's covariance; at a minimum an Ornstein-Uhlenbeck process",
    discretisation="Euler-Maruyama with step h, the learning rate; weakly of order 1",
    follows="the temperature is the learning rate over the batch: halving the rate is doubling the batch",
    source="Mandt, Hoffman and Blei (2017), Stochastic gradient descent as approximate Bayesian inference, Section 3; "
    "Li, Tai and E (2017), Stochastic modified equations and adaptive stochastic gradient algorithms",
    tolerance=0.1,
    error_of="measured order less 1, of the covariance it settles in",
)
def test_stochastic_gradient_descent_settles_like_an_ornstein_uhlenbeck_process() -> float:
    noise = np.array([[1.0, 0.3, 0.0], [0.3, 0.5, 0.1], [0.0, 0.1, 0.4]])
    roots = np.linalg.cholesky(noise)

    def covariance(h: float) -> Array:
        """Of the iterates, over h: the weights are linear in each gradient's noise, whose effects add up."""
        total = np.zeros((3, 3))
        for direction in roots.T:
            w = torch.zeros(3, dtype=torch.float64, requires_grad=True)
            optimiser = torch.optim.SGD([w], lr=h)
            w.grad = torch.from_numpy(direction.copy())
            for _ in range(math.ceil(50 / h)):
                optimiser.step()
                total += np.outer(array(w), array(w))
                w.grad = torch.from_numpy(BOWL) @ w.detach()
        return total / h

    expected = solve_continuous_lyapunov(BOWL, noise)
    return abs(order(lambda pieces: apart(covariance(0.4 / pieces), expected), 16) - 1)


@correspondence(
    architecture="exponential moving average of weights (EMA)",
    level="training",
    equation="a' = (w(t) - a) / tau, with w held between steps",
    discretisation="exact, where the decay is exp(-h / tau)",
    follows="it is a state-space layer along training: tau is a time, the decay follows from that between calls",
    source="Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging, for averages; the "
    "equation is elementary",
    tolerance=1e-12,
)
def test_an_average_of_weights_is_a_low_pass_filter() -> float:
    tau, h = 0.4, 0.25
    torch.manual_seed(0)
    model = nn.Linear(2, 3, bias=False).double()
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(math.exp(-h / tau)))
    ema.update_parameters(model)  # the first call copies
    average, found, expected = array(model.weight), [], []
    for _ in range(6):
        model.weight.data = torch.randn_like(model.weight)
        ema.update_parameters(model)
        found.append(array(next(ema.module.parameters())))
        weights = array(model.weight)
        average = flow(lambda t, a, w=weights: (w - a) / tau, average, h)
        expected.append(average)
    return apart(np.array(found), np.array(expected))
