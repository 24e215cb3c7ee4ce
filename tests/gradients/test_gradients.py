"""Gradients of solves against closed forms and finite differences, in float64."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from integrand.core.fields import MLP, PeriodicForcing
from integrand.core.models.neural_ode import NeuralODE
from integrand.core.numerics import solve_ode

torch64 = torch.float64
# dopri5 within 1e-10 takes about a hundred steps on these problems; derivatives of a step err as the step does.
SOLVES = [
    {"method": "dopri5", "rtol": 1e-10, "atol": 1e-12},
    {"method": "dopri5", "rtol": 1e-10, "atol": 1e-12, "gradient": "adjoint"},
    {"method": "dopri8", "rtol": 1e-10, "atol": 1e-12},
    {"method": "rk4", "step_size": 0.005},
    {"method": "rk4", "step_size": 0.005, "engine": "torchdiffeq", "gradient": "adjoint"},
]
solves = pytest.mark.parametrize("options", SOLVES, ids=lambda o: f"{o['method']}-{o.get('gradient', 'direct')}")


class Decay(nn.Module):
    """y' = -(a + k) y with a learned and k an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.8, dtype=torch64))

    def forward(self, t: Tensor, y: Tensor, k: Tensor) -> Tensor:
        return -(self.a + k) * y


@solves
@pytest.mark.parametrize("own", [False, True])
def test_gradients_of_a_linear_equation_are_the_known_ones(options: dict, own: bool):
    """y = y0 exp(-r s) with r = a + k and s = t_i - t_0, so each derivative is at hand."""
    field = Decay()
    y0 = torch.tensor([[1.0], [-2.0]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[0.0], [0.5]], dtype=torch64, requires_grad=True)
    times = torch.tensor([0.1, 0.6, 1.4], dtype=torch64)
    times = (times * torch.tensor([[1.0], [0.8]], dtype=torch64) if own else times).requires_grad_()
    weights = torch.tensor([[0.3, -1.0, 2.0], [1.0, 0.7, -0.4]], dtype=torch64)
    states = solve_ode(field, y0, times, args=k, **options).states[..., 0]
    actual = torch.autograd.grad((weights * states).sum(), (y0, k, field.a, times))

    with torch.no_grad():
        span, rate = (times - times[..., :1]).expand(2, 3), field.a + k
        y = y0 * torch.exp(-rate * span)
        by_y0 = (weights * torch.exp(-rate * span)).sum(1, keepdim=True)
        by_k = (weights * -span * y).sum(1, keepdim=True)
        by_time = weights * -rate * y
        by_time[:, 0] = -by_time[:, 1:].sum(1)  # the first time moves the start: y(t_0) stays y0
        expected = (by_y0, by_k, by_k.sum(), by_time if own else by_time.sum(0))
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-8)


class Driven(nn.Module):
    """A small nonlinear field with time and arguments in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = PeriodicForcing(MLP(2, (2,), time=True, control=2), [1.7]).double()

    def forward(self, t: Tensor, y: Tensor, phase: Tensor) -> Tensor:
        return self.net(t, y, phase)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "rk4"},
        {"method": "heun", "step_size": 0.2},
        {"method": "rk4", "engine": "torchdiffeq", "step_size": 0.3},
        {"method": "dopri5", "rtol": 1e-8, "atol": 1e-10},
    ],
    ids=str,
)
@pytest.mark.parametrize("own", [False, True])
def test_direct_gradients_agree_with_finite_differences(options: dict, own: bool):
    """With respect to the start, the times, the arguments and every parameter, also through ``interpolate``."""
    field = Driven()
    names, parameters = zip(*field.named_parameters(), strict=True)
    times = torch.tensor([0.0, 0.5, 0.9], dtype=torch64)
    times = torch.stack([times, 1.1 * times + 0.2]) if own else times

    asked = times[..., :-1] + 0.21

    def solve(y0, times, phase, *values):
        def call(t, y, phase):
            return torch.func.functional_call(field, dict(zip(names, values, strict=True)), (t, y, phase))

        solution = solve_ode(call, y0, times, args=phase, **options)
        return solution.states, solution.interpolate(asked)

    y0 = torch.tensor([[0.5, -0.2], [1.0, 0.3]], dtype=torch64)
    phase = torch.tensor([[0.1], [2.0]], dtype=torch64)
    inputs = tuple(tensor.detach().clone().requires_grad_() for tensor in (y0, times, phase, *parameters))
    # An adaptive solve moves its steps with the inputs: differences of 1e-4 see the tolerance as 1e-8 / 1e-4.
    adaptive = options["method"] == "dopri5"
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-4 if adaptive else 1e-6, atol=1e-4 if adaptive else 1e-6)


def test_second_derivatives():
    """Of y0 exp(-r s): d2/dr2 = s^2 y and d2/(dr dy0) = -s y / y0; and against finite differences for a network."""
    field = Decay()
    y0 = torch.tensor([[2.0]], dtype=torch64, requires_grad=True)
    k = torch.tensor([[0.3]], dtype=torch64, requires_grad=True)
    for options in (SOLVES[0], SOLVES[3]):
        last = solve_ode(field, y0, [0.0, 0.9], args=k, **options).states[0, -1, 0]
        (slope,) = torch.autograd.grad(last, k, create_graph=True)
        by_k, by_y0 = torch.autograd.grad(slope, (k, y0))
        y = 2 * torch.exp(-0.9 * (field.a + k)).detach()
        torch.testing.assert_close(by_k, 0.81 * y, rtol=1e-7, atol=0)
        torch.testing.assert_close(by_y0, -0.9 * y / 2, rtol=1e-7, atol=0)

    driven = Driven()
    start = torch.tensor([[0.5, -0.2]], dtype=torch64, requires_grad=True)
    phase = torch.tensor([[0.1]], dtype=torch64, requires_grad=True)

    def solve(y0, phase):
        return solve_ode(driven, y0, [0.0, 0.5, 1.0], args=phase, method="rk4").states

    assert torch.autograd.gradgradcheck(solve, (start, phase))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("gradient", ["direct", "adjoint"])
def test_copies_of_a_neural_ode_have_the_same_values_and_gradients(copied, gradient):
    torch.manual_seed(0)
    model = NeuralODE(MLP(2, (8,), time=True), method="dopri5", rtol=1e-6, gradient=gradient)
    y0, times = torch.randn(3, 2), torch.linspace(0, 1, 4)
    model(y0, times).states.sum().backward()  # a copy made after use
    other = copied(model)
    other.zero_grad()
    solution = other(y0, times)
    solution.states.sum().backward()
    assert torch.equal(solution.states, model(y0, times).states)
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        assert mine is not theirs, name
        assert mine.grad is not None, name
        assert mine.grad.abs().max() > 0, name
        assert torch.equal(mine.grad, theirs.grad), name


def test_a_neural_ode_hands_its_options_on():
    y0, times = torch.ones(1, 2), [0.0, 1.0]
    field = MLP(2, (8,))
    assert int(NeuralODE(field, method="rk4", step_size=0.25)(y0, times).stats.evaluations) == 16
    costs = [int(NeuralODE(field, rtol=tol, atol=tol)(y0, times).stats.evaluations) for tol in (1e-2, 1e-6)]
    assert costs[0] < costs[1]
    forced = NeuralODE(PeriodicForcing(MLP(2, (8,), control=2), [1.0]), method="rk4")
    assert not torch.equal(forced(y0, times, torch.zeros(1, 1)).states, forced(y0, times, torch.ones(1, 1)).states)
