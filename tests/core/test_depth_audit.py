"""Steps that converge, stacks that do not, and the limits that are known in closed form."""

import math

import pytest
import torch
from torch import Tensor, nn

from integrand.core.analysis import depth_audit, finer_stack
from integrand.core.errors import InputError
from integrand.core.fields import MLP, Linear
from integrand.core.layers import S5, MomentumResidual, ResidualStack
from integrand.core.models import NeuralODE

X = torch.linspace(-1, 1, 17).unsqueeze(1)
F64 = torch.float64


def ask(module: nn.Module) -> Tensor:
    return module(X.to(next(module.parameters())), [0.0, 1.0]).states[:, -1]


def ask_motion(module: nn.Module) -> Tensor:
    return module(X.to(next(module.parameters()))).x


def rate_of(module: nn.Module, rate: float) -> nn.Module:
    with torch.no_grad():
        next(module.parameters()).fill_(rate)
    return module


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_observed_order_is_the_methods(method: str, order: int):
    torch.manual_seed(0)
    found = depth_audit(NeuralODE(MLP(1, (8,), time=True), method=method, step_size=0.125), ask)
    assert found.verdict == "sound", found.statement
    assert found.numbers["order"] == pytest.approx(order, abs=0.2)
    assert found.numbers["order of the method"] == order


@pytest.mark.parametrize(("steps", "verdict"), [(2, "doubtful"), (64, "sound")])
def test_the_distance_from_the_limit_is_the_error_of_the_steps(steps: int, verdict: str):
    """y' = -y by Euler: (1 - 1/n)^n against 1/e."""
    found = depth_audit(rate_of(NeuralODE(Linear(1, bias=False), method="euler", step_size=1 / steps), -1.0), ask)
    exact = abs((1 - 1 / steps) ** steps * math.e - 1)
    assert found.numbers["distance from the limit"] == pytest.approx(exact, rel=0.02)
    assert found.verdict == verdict


def test_a_step_beyond_stability_is_not_an_equation():
    """y' = -40 y by Euler with 4 steps is multiplied by (-9)^4, by the equation by e^-40."""
    found = depth_audit(rate_of(NeuralODE(Linear(1, bias=False), method="euler", step_size=0.25), -40.0), ask)
    assert found.verdict == "flawed"
    assert "stack of layers" in found.statement


def test_adaptive_steps_are_at_the_limit():
    found = depth_audit(rate_of(NeuralODE(Linear(1, bias=False), rtol=1e-6, atol=1e-8), -1.0), ask)
    assert found.verdict == "sound"
    assert found.numbers["distance from the limit"] < 1e-5


def test_momentum_refined_converges_to_the_damped_equation():
    """eps x'' + x' = -a x from x = 1, x' = 0, to time n, with the roots of eps r^2 + r + a."""
    a, gamma, depth = 0.3, 0.5, 6
    block = rate_of(nn.Linear(1, 1, bias=False), -a)
    stack = MomentumResidual([block] * depth, gamma=gamma).double()
    eps = 1 / (1 - gamma)
    split = complex(1 - 4 * a * eps) ** 0.5
    r, s = (-1 + split) / (2 * eps), (-1 - split) / (2 * eps)
    exact = ((s * math.e ** (r * depth) - r * math.e ** (s * depth)) / (s - r)).real
    one = torch.ones(1, 1, dtype=F64)
    errors = [abs(finer_stack(stack, k)(one).x.item() - exact) for k in (32, 64)]
    assert errors[1] < 0.02 * abs(1 - exact)
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert torch.equal(finer_stack(stack, 1)(one).x, stack(one).x)
    v = torch.full((1, 1), 0.3, dtype=F64)
    assert torch.allclose(finer_stack(stack, 1)(one, v).v, stack(one, v).v)
    found = depth_audit(stack, ask_motion)
    assert found.numbers["distance from the limit"] == pytest.approx(abs(stack(one).x.item() / exact - 1), rel=0.1)


def test_a_gentle_stack_of_blocks_is_an_equation_and_a_violent_one_is_not():
    def stack(rate: float) -> nn.Module:
        return MomentumResidual([rate_of(nn.Linear(1, 1, bias=False), rate) for _ in range(4)], gamma=0.01)

    assert depth_audit(stack(-0.02), ask_motion).verdict == "sound"
    assert depth_audit(stack(-12.0), ask_motion).verdict == "flawed"


def test_a_residual_stack_refined_is_eulers_method_with_shorter_steps():
    torch.manual_seed(0)
    stack = ResidualStack([S5(4, d_state=4), S5(4, d_state=4)]).double().eval()
    x = torch.randn(3, 6, 4, dtype=F64)

    def block(level: int, x: Tensor) -> Tensor:
        y = stack.layers[level](stack.norms[level](x)).y
        return nn.functional.glu(stack.gates[level](nn.functional.gelu(y)), dim=-1)

    expected = x
    for level in (0, 0, 0, 1, 1, 1):
        expected = expected + block(level, expected) / 3
    torch.testing.assert_close(finer_stack(stack, 3)(x).y, expected)
    torch.testing.assert_close(finer_stack(nn.Sequential(stack), 1)[0](x).y, stack(x).y)
    found = depth_audit(stack, lambda module: module(x).y[:, -1])
    assert found.numbers["order"] == pytest.approx(1, abs=0.2)


def test_what_has_no_steps_is_told_so_and_mistakes_have_one_line():
    assert depth_audit(nn.Linear(1, 1), lambda module: module(X.double())).verdict == "told"
    with pytest.raises(InputError, match="let ask cast its inputs"):
        depth_audit(NeuralODE(MLP(1, (4,))), lambda module: ask(module).float())
    with pytest.raises(InputError, match="refine=0"):
        finer_stack(nn.Linear(1, 1), 0)
